"""A classifier that prunes its own training data: train, score on the way, prune, train anew."""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils import assert_all_finite, column_or_1d, get_tags, indexable
from sklearn.utils._param_validation import Interval
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, has_fit_parameter, validate_data

from tdds.engine import progress_bar
from tdds.epochs import Training, check_can_record, record
from tdds.rows import take_rows
from tdds.samplers import count_kept
from tdds.scores import default_K
from tdds.selector import CoresetSelector
from tdds.validation import random_generator


class CoresetClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Train a classifier on the coreset that its own training run points out.

    `fit` does three things. It *records*: a clone of `estimator` is trained epoch by epoch on all samples, and says
    after each epoch what it predicts for every one of them; these predictions are scored as they come and stored
    nowhere. It *prunes*: `CoresetSelector` keeps a coreset. It *refits*: a second clone is trained from scratch by one
    call of its own `fit` on the kept samples, under its own stopping rule (`max_iter`, `tol`, ...). Its `fit` gets
    `sample_weight_` as `sample_weight`; where it takes none, it trains unweighted whatever `weighting` says.

    That costs n_epochs passes over all samples and as many predictions of all of them, then one fit on the kept: with
    SGDClassifier 3 times its own `fit` on scikit-learn's digits, 25 times on the 178 wines (``python
    benchmarks/classifier.py``, 2 cores, AMD EPYC, 2026-11-24). It pays where the coreset is used again, or where the
    samples that go are noise. In memory it adds a shuffled copy of `X` and one number a sample and epoch.

    Parameters
    ----------
    estimator : classifier
        With `predict_proba`, and `partial_fit` (one call on all samples, newly shuffled, is an epoch), or
        `staged_predict_proba` (boosting: one `fit`, whose stages are the epochs; CatBoost as well), or rounds that
        `predict_proba` counts (LightGBM, XGBoost), or scikit-learn's callbacks (`LogisticRegression` from version 1.9:
        the iterations of its solver are the epochs). Naive Bayes only counts, so it hardly moves after its first
        epoch: its trajectory says little.
    n_epochs : int, default 30
        Epochs that are recorded; of boosting and solvers, the first. A T below it ends the recording there.
    method : str, default "tdds"
        What a sample is worth, see `CoresetSelector`, as for all parameters down to `weighting`.
    sampler : str or Sampler, default "class_balanced"
        How scores become a coreset. Not "top" as for the selectors, which may lose a class altogether.
    T : int, optional
        Only the first T epochs count; all, or as many as the method's authors take, where left out.
    K : int, optional
        Width of a window, in epochs, of "tdds", "dyn_unc" and "dual". Left out, 10, or all epochs where they are fewer.
    beta : float in [0, 1], default 0.9
        Weight of the newest window of "tdds".
    pruning_rate : float in [0, 1), default 0.5
        Share of the samples that is *removed*: 0.9 keeps a tenth.
    n_select : int, optional
        Number of samples to keep; `pruning_rate` is then not looked at.
    formulation : {"paper", "reference", "datacull"}, default "paper"
    loss : {"kl", "ce", "el2n"}, default "kl"
    magnitude : bool, default True
    margin_of : {"probs", "logits"}, default "probs"
    weighting : {"none", "per_sample", "root", "batch_mean"}, default "none"
        What `sample_weight_` holds. The few largest weights of TDDS outweigh the rest, which costs simple classifiers
        far more than it brings (``python benchmarks/classifier.py``).
    random_state : int, Generator, RandomState or None, default None
        Seed of the order in each epoch, of samplers that draw and, unless None, of both clones of `estimator`.
    verbose : int, default 0
        Above 0, a progress bar on the standard error while the epochs are recorded.

    Attributes
    ----------
    estimator_ : classifier
        Fitted on the coreset.
    selector_ : CoresetSelector
        Fitted on the recorded epochs: ``selector_.select(X, y)`` gives the coreset.
    scores_ : (n_samples,) float64 array
    support_ : (n_samples,) bool array
        True where a sample is kept.
    sample_indices_ : (n_kept,) int array
        Ascending.
    sample_weight_ : (n_kept,) float64 array
        Weight of each kept sample (Eq. 13), in the order of `sample_indices_`.
    classes_ : (n_classes,) array
        Of all samples. A class of which none is kept has probability 0, and `fit` warns.
    n_features_in_ : int
    feature_names_in_ : (n_features,) array of str
        Where `X` has names.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import SGDClassifier
    >>> from tdds import CoresetClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = CoresetClassifier(SGDClassifier(loss="log_loss"), sampler="class_balanced", random_state=0).fit(X, y)
    >>> len(model.sample_indices_), model.predict_proba(X).shape
    (75, (150, 3))
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = CoresetSelector._parameter_constraints | {
        "n_epochs": [Interval(Integral, 1, None, closed="left")],
        "K": [Integral, None],
    }

    def __init__(
        self,
        estimator,
        *,
        n_epochs=30,
        method="tdds",
        sampler="class_balanced",
        T=None,
        K=None,
        beta=0.9,
        pruning_rate=0.5,
        n_select=None,
        formulation="paper",
        loss="kl",
        magnitude=True,
        margin_of="probs",
        weighting="none",
        random_state=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.n_epochs = n_epochs
        self.method = method
        self.sampler = sampler
        self.T = T
        self.K = K
        self.beta = beta
        self.pruning_rate = pruning_rate
        self.n_select = n_select
        self.formulation = formulation
        self.loss = loss
        self.magnitude = magnitude
        self.margin_of = margin_of
        self.weighting = weighting
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y):
        """Record a training run on all samples, prune, and train a fresh clone on the coreset.

        Parameters
        ----------
        X : (n_samples, n_features) array, sparse matrix, DataFrame or list
            Whatever `estimator` takes.
        y : (n_samples,) labels
            Of any type that scikit-learn knows as classes.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            `estimator` cannot be trained epoch by epoch, or gives no probabilities.
        ValueError
            A parameter is out of range, or does not fit the data or `n_epochs`.
        TrajectoryError
            `estimator` predicted something that is no distribution: training diverged.
        """
        self._validate_params()
        check_can_record(self.estimator)
        validate_data(self, X, y, skip_check_array=True)
        X, y = indexable(X, y)
        y = column_or_1d(y, warn=True)
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y holds {len(self.classes_)} class; expected 2 or more.")
        rng = random_generator(self.random_state)

        options = self.get_params(deep=False) | {"random_state": int(rng.integers(2**31)), "verbose": 0}
        del options["estimator"], options["n_epochs"]
        if self.K is None:
            options["K"] = default_K(self.n_epochs if self.T is None else min(self.T, self.n_epochs))
        selector = CoresetSelector(**options)
        selector._refuse_features()
        count_kept(len(y), self.pruning_rate, self.n_select)
        self._check_n_epochs(selector)
        self.selector_ = selector.fit(self._epochs(X, y, rng), labels)
        for name in ("scores_", "support_", "sample_indices_", "sample_weight_"):
            setattr(self, name, getattr(self.selector_, name))

        X_kept, y_kept = take_rows(X, self.sample_indices_), y[self.sample_indices_]
        self._warn_of_lost_classes(y_kept)
        model = self._clone(rng)
        weighted = has_fit_parameter(model, "sample_weight")
        self.estimator_ = model.fit(X_kept, y_kept, **({"sample_weight": self.sample_weight_} if weighted else {}))
        return self

    def predict(self, X):
        """The class of each row, by the classifier that was trained on the coreset.

        Parameters
        ----------
        X : (n_rows, n_features)

        Returns
        -------
        (n_rows,) array

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        return np.ravel(self.estimator_.predict(X))  # CatBoost gives a column

    def predict_proba(self, X):
        """The probability of each of `classes_`, by the classifier that was trained on the coreset.

        Parameters
        ----------
        X : (n_rows, n_features)

        Returns
        -------
        (n_rows, n_classes) array
            0 for a class of which no sample was kept.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        known = self.estimator_.predict_proba(X)
        if known.shape[1] == len(self.classes_):
            return known
        probs = np.zeros((len(known), len(self.classes_)), dtype=known.dtype)
        probs[:, np.searchsorted(self.classes_, self.estimator_.classes_)] = known
        return probs

    def _check_n_epochs(self, selector):
        """Raise before anything is trained where T or K asks for more epochs than are recorded."""
        for score in selector._asked().values():
            try:
                score.check(self.n_epochs)
            except ValueError as error:
                raise ValueError(f"n_epochs={self.n_epochs}: {error}") from None

    def _epochs(self, X, y, rng):
        """Train a clone on all samples and yield what it says of them after each epoch."""
        training = Training(self._clone(rng), X, y, self.classes_, self.n_epochs, rng)
        with progress_bar("Recording", self.n_epochs, self.verbose, unit="epochs") as advance:
            for epoch in record(training):
                advance(1)
                yield epoch

    def _clone(self, rng):
        model = clone(self.estimator)
        if self.random_state is not None:
            seeded = [name for name in sorted(model.get_params()) if name.split("__")[-1] == "random_state"]
            model.set_params(**{name: int(rng.integers(2**31)) for name in seeded})
        return model

    def _warn_of_lost_classes(self, y_kept):
        lost = np.setdiff1d(self.classes_, y_kept)
        if len(lost):
            warnings.warn(
                f"The coreset holds no sample of {len(lost)} of {len(self.classes_)} classes, which will never be "
                f"predicted: {', '.join(map(str, lost[:5]))}{', ...' * (len(lost) > 5)}. Prune less, or pass "
                "sampler='class_balanced'.",
                UserWarning,
                stacklevel=3,
            )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags
