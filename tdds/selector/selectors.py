"""The two selectors: TDDS with its own parameters, and any score with any sampler."""

from __future__ import annotations

from dataclasses import asdict
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from tdds.engine import MEMORY_LIMIT
from tdds.online import EpochwiseTDDS
from tdds.samplers import SAMPLERS, Top, count_kept
from tdds.scores import FORMULATIONS, LOSSES, MARGINS, METHODS, TDDS, make_score, preset
from tdds.selector.base import Selector


class TDDSSelector(Selector):
    """Keep the samples whose contribution to training varied most.

    Reads how each sample's predicted probabilities moved from epoch to epoch: the windowed variance of the change,
    averaged over the windows with most weight on the last.

    Parameters
    ----------
    T : int, optional
        Only the first T epochs count; all where left out. At beta = 0.9 the last K of them carry 90 % of the score,
        so T decides which stage of training is looked at.
    K : int, default 10
        Width of a window, in epochs; at least 3.
    beta : float in [0, 1], default 0.9
        Weight of the newest window in the moving average; 0 is the simple average of all windows.
    pruning_rate : float in [0, 1), default 0.5
        Share of the samples that is *removed*: 0.9 keeps a tenth.
    n_select : int, optional
        Number of samples to keep; `pruning_rate` is then not looked at.
    formulation : {"paper", "reference", "datacull"}, default "paper"
        The paper's equations, what the authors' script computes, or what datacull 1.0.2 computes.
    loss : {"kl", "ce", "el2n"}, default "kl"
        Change by Kullback-Leibler divergence (Eq. 10) or by the label's log probability (Eq. 9, needs `y`); "el2n" has
        the distance of the prediction from the label in the place of the change (needs `y`).
    magnitude : bool, default True
        Take the absolute value of the change (Eq. 8).
    weighting : {"none", "root", "per_sample", "batch_mean"}, default "none"
        What `sample_weight_` holds; see `tdds.samplers.importance_weights`.
    axes : {"NTC", "TNC", "NT", "TN"}, optional
        Axes of an array; samples first where left out.
    kind : {"probs", "logits", "log_probs"}, optional
        What the values are; what the source says, else probs, where left out.
    missing : {"error", "carry"}, default "error"
        Logs that lack a sample at an epoch raise, or repeat the epoch before.
    memory_limit : float, default 256
        Bound of the buffers, all threads together, in MiB.
    n_jobs : int, optional
        Threads, as in scikit-learn.
    verbose : int, default 0
        Above 0, a progress bar on the standard error, where that is a terminal.

    Attributes
    ----------
    scores_ : (n_samples,) float64 array
    support_ : (n_samples,) bool array
        True where a sample is kept.
    sample_indices_ : (n_kept,) int array
        Ascending indices of the kept samples in the original data.
    sample_weight_ : (n_kept,) float64 array
        Weight of each kept sample in training, in the order of `sample_indices_`: 1, or as `weighting` says (Eq. 13).
    threshold_ : float
        The least kept score.
    n_features_in_ : int
        Number of epochs of the trajectory.

    References
    ----------
    X. Zhang et al., "Spanning Training Progress: Temporal Dual-Depth Scoring (TDDS) for Enhanced Dataset Pruning",
    CVPR 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from tdds import TDDSSelector
    >>> rng = np.random.default_rng(0)
    >>> prob_trajectory = rng.dirichlet(np.ones(10), size=(200, 30))  # samples, epochs, classes
    >>> X = rng.normal(size=(200, 4))
    >>> TDDSSelector(T=30, K=10, beta=0.9, pruning_rate=0.9).fit(prob_trajectory).transform(X).shape
    (20, 4)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = Selector._shared_constraints | {
        "T": [Integral, None],
        "K": [Integral],
        "beta": [Interval(Real, 0, 1, closed="both")],
        "formulation": [StrOptions(set(FORMULATIONS))],
        "loss": [StrOptions(set(LOSSES))],
        "magnitude": ["boolean"],
    }

    def __init__(
        self,
        T=None,
        K=10,
        beta=0.9,
        pruning_rate=0.5,
        *,
        n_select=None,
        formulation="paper",
        loss="kl",
        magnitude=True,
        weighting="none",
        axes=None,
        kind=None,
        missing="error",
        memory_limit=MEMORY_LIMIT,
        n_jobs=None,
        verbose=0,
    ):
        self.T = T
        self.K = K
        self.beta = beta
        self.pruning_rate = pruning_rate
        self.n_select = n_select
        self.formulation = formulation
        self.loss = loss
        self.magnitude = magnitude
        self.weighting = weighting
        self.axes = axes
        self.kind = kind
        self.missing = missing
        self.memory_limit = memory_limit
        self.n_jobs = n_jobs
        self.verbose = verbose

    @classmethod
    def from_preset(cls, name, pruning_rate=0.5, **parameters):
        """The selector with T and K as the paper publishes them for a data set, a network and a pruning rate.

        Parameters
        ----------
        name : {"cifar10-resnet18", "cifar100-resnet18", "imagenet-resnet34", "imagenet-swint"}
        pruning_rate : float in [0, 1), default 0.5
            Where nothing is published for it, T and K are those of the nearest published rate below, with a warning.
        **parameters
            Other parameters than T and K; beta is 0.9, the paper's.

        Returns
        -------
        TDDSSelector

        Raises
        ------
        ValueError, TypeError
            There is no such preset, or the rate is out of range.

        Examples
        --------
        >>> from tdds import TDDSSelector
        >>> TDDSSelector.from_preset("cifar100-resnet18", pruning_rate=0.9)
        TDDSSelector(K=5, T=10, pruning_rate=0.9)
        """
        T, K = preset(name, pruning_rate)
        return cls(T, K, pruning_rate=pruning_rate, **parameters)

    def partial_fit(self, epoch_probs, y=None):
        """Take one epoch while training runs; no trajectory is stored anywhere.

        The fitted attributes exist from the K-th epoch on and equal those of `fit` to rounding; those of a `fit` before
        go with the first epoch. Epochs past T are ignored. Holds the last epoch, and K numbers a sample.

        Parameters
        ----------
        epoch_probs : (n_samples, n_classes) array, or (n_samples,) of losses
        y : (n_samples,) integers, optional
            Labels; needed by ``loss="ce"`` and ``loss="el2n"``, at every call.

        Returns
        -------
        self

        Raises
        ------
        TrajectoryError
            The shape differs from the first epoch's, or a row is no distribution; the selector is then as before.
        ValueError
            A parameter is out of range, labels are needed, or a parameter of the score was changed since the first
            epoch; those of the choice, `pruning_rate`, `n_select` and `weighting`, may change.
        """
        self._validate_params()
        if np.ndim(epoch_probs):
            count_kept(len(epoch_probs), self.pruning_rate, self.n_select)
        begun = getattr(self, "_online", None)
        online = begun or EpochwiseTDDS(self._score(), kind=self.kind)
        self._check_unchanged(online)
        online.update(epoch_probs, y)
        if begun is None:
            for name in [name for name in vars(self) if name.endswith("_")]:
                delattr(self, name)
        self._online = online
        self.n_features_in_ = online.n_epochs
        return self if online.scores is None else self._keep(online.scores)

    def _check_unchanged(self, online):
        asked = asdict(self._score()) | {"kind": self.kind}
        for name, value in (asdict(online.score) | {"kind": online.kind}).items():
            if asked[name] != value:
                raise ValueError(
                    f"{name}={asked[name]!r}, but the epochs so far were scored with {name}={value!r}; set it back, or "
                    "begin anew with sklearn.base.clone(selector)."
                )

    def _score(self):
        return TDDS(self.T, self.K, self.beta, self.formulation, self.loss, self.magnitude)

    def _sampler(self):
        return Top()


class CoresetSelector(Selector):
    """Keep a coreset by any score and any sampler.

    Parameters
    ----------
    method : str or Score, default "tdds"
        "tdds", "entropy", "forgetting", "el2n", "aum", "dyn_unc", "dual", "eva", "margin", "least_confidence",
        "confidence", "variability", "loss", "moderate" or "random": what a sample is worth, see `tdds.scores`.
        Or a score of your own, which has its parameters already (docs/extending.md).
    sampler : {"top", "random", "class_balanced", "stratified", "beta"} or Sampler, default "top"
        How scores become a coreset, see `tdds.samplers`; an object such as ``Stratified(cutoff=0.2)`` for other
        parameters than the usual ones.
    pruning_rate : float in [0, 1), default 0.5
        Share of the samples that is *removed*: 0.9 keeps a tenth.
    T : int, optional
        Only the first T epochs count. Left out, all, but the first 10 for "el2n" and the first 30 for "dual".
    K : int, default 10
        Width of a window, in epochs, of "tdds", "dyn_unc" and "dual"; the others have none.
    beta : float in [0, 1], default 0.9
        Weight of the newest window of "tdds"; 0 is the simple average of all windows.
    n_select : int, optional
        Number of samples to keep; `pruning_rate` is then not looked at.
    formulation : {"paper", "reference", "datacull"}, default "paper"
        The paper's equations of "tdds", what the authors' script computes, or what datacull 1.0.2 computes.
    loss : {"kl", "ce", "el2n"}, default "kl"
        What "tdds" takes the variance of.
    magnitude : bool, default True
        "tdds" takes the absolute value of the change (Eq. 8).
    margin_of : {"probs", "logits"}, default "probs"
        What the margin of "aum" is taken of.
    weighting : {"none", "root", "per_sample", "batch_mean"}, default "none"
        What `sample_weight_` holds; see `tdds.samplers.importance_weights`. Of a method that keeps the smallest, the
        scores are turned first.
    random_state : int, Generator, RandomState or None, default None
        Seed of the random method and of samplers that draw.
    axes : {"NTC", "TNC", "NT", "TN"}, optional
        Axes of an array; samples first where left out.
    kind : {"probs", "logits", "log_probs"}, optional
        What the values are; what the source says, else probs, where left out.
    missing : {"error", "carry"}, default "error"
        Logs that lack a sample at an epoch raise, or repeat the epoch before.
    memory_limit : float, default 256
        Bound of the buffers, all threads together, in MiB.
    n_jobs : int, optional
        Threads, as in scikit-learn.
    verbose : int, default 0
        Above 0, a progress bar on the standard error, where that is a terminal.

    Attributes
    ----------
    scores_ : (n_samples,) float64 array
        The method's own values, not turned.
    support_ : (n_samples,) bool array
        True where a sample is kept.
    sample_indices_ : (n_kept,) int array
        Ascending indices of the kept samples in the original data.
    sample_weight_ : (n_kept,) float64 array
        Weight of each kept sample in training, in the order of `sample_indices_`: 1, or as `weighting` says (Eq. 13).
    threshold_ : float
        The score of the least preferred sample that is kept: the least, or the greatest where the method keeps the
        smallest, or the one farthest from its class's median.
    n_features_in_ : int
        Number of epochs of the trajectory.

    Examples
    --------
    >>> import numpy as np
    >>> from tdds import CoresetSelector
    >>> rng = np.random.default_rng(0)
    >>> prob_trajectory = rng.dirichlet(np.ones(10), size=(200, 30))  # samples, epochs, classes
    >>> y = rng.integers(10, size=200)
    >>> selector = CoresetSelector(method="el2n", sampler="stratified", pruning_rate=0.9, random_state=0)
    >>> selector.fit(prob_trajectory, y).transform(y).shape
    (20,)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = TDDSSelector._parameter_constraints | {
        "method": [StrOptions(set(METHODS)), HasMethods(["series", "reduce", "finish"])],
        "sampler": [StrOptions(set(SAMPLERS)), HasMethods(["__call__"])],
        "margin_of": [StrOptions(set(MARGINS))],
        "random_state": ["random_state", np.random.Generator],
    }

    def __init__(
        self,
        method="tdds",
        sampler="top",
        pruning_rate=0.5,
        *,
        T=None,
        K=10,
        beta=0.9,
        n_select=None,
        formulation="paper",
        loss="kl",
        magnitude=True,
        margin_of="probs",
        weighting="none",
        random_state=None,
        axes=None,
        kind=None,
        missing="error",
        memory_limit=MEMORY_LIMIT,
        n_jobs=None,
        verbose=0,
    ):
        self.method = method
        self.sampler = sampler
        self.pruning_rate = pruning_rate
        self.T = T
        self.K = K
        self.beta = beta
        self.n_select = n_select
        self.formulation = formulation
        self.loss = loss
        self.magnitude = magnitude
        self.margin_of = margin_of
        self.weighting = weighting
        self.random_state = random_state
        self.axes = axes
        self.kind = kind
        self.missing = missing
        self.memory_limit = memory_limit
        self.n_jobs = n_jobs
        self.verbose = verbose

    def _score(self):
        return make_score(**{name: value for name, value in self.get_params(deep=False).items() if name != "sampler"})

    def _sampler(self):
        sampler = SAMPLERS[self.sampler]() if isinstance(self.sampler, str) else self.sampler
        if isinstance(sampler, type) or not (hasattr(sampler, "second") and hasattr(sampler, "needs_labels")):
            raise TypeError(
                f"sampler={sampler!r} is no sampler; expected one of {', '.join(map(repr, SAMPLERS))}, or an object "
                "with `second`, `needs_labels` and a call, such as Stratified(cutoff=0.2)."
            )
        return sampler
