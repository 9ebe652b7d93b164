"""What both selectors do: fit a score and a sampler to a trajectory, and keep rows of what belongs to it."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

from tdds.engine import compute_scores
from tdds.rows import check_rows, take_rows
from tdds.samplers import WEIGHTINGS, count_kept, draw_coreset
from tdds.scores import make_score
from tdds.sources import open_trajectory
from tdds.validation import KINDS, check_labels


class Selector(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):  # type: ignore[call-arg]
    """Fits a score and a sampler to a trajectory, and keeps rows of what belongs to it."""

    random_state: Any = None

    # The first argument is always there: nothing to route.
    __metadata_request__fit: ClassVar = {"prob_trajectory": UNUSED}
    __metadata_request__partial_fit: ClassVar = {"epoch_probs": UNUSED}

    _shared_constraints: ClassVar[dict[str, list[Any]]] = {
        "pruning_rate": [Interval(Real, 0, 1, closed="left")],
        "n_select": [Interval(Integral, 1, None, closed="left"), None],
        "weighting": [StrOptions(set(WEIGHTINGS))],
        "axes": [str, None],
        "kind": [StrOptions(set(KINDS)), None],
        "missing": [StrOptions({"error", "carry"})],
        "memory_limit": [Interval(Real, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    }

    def fit(self, prob_trajectory, y=None, *, trajectory=None, features=None):
        """Score every sample and choose those that stay.

        Parameters
        ----------
        prob_trajectory : array, path, iterable of epochs or Trajectory
            Anything that `open_trajectory` opens; arrays are (n_samples, n_epochs, n_classes), or
            (n_samples, n_epochs) of losses. Where a store is damaged, what ``open_trajectory(path, damaged="skip")``
            opens.
        y : (n_samples,) integers, optional
            Labels in [0, n_classes), where the score or the sampler needs them; left out, the trajectory's own. Where
            neither does, anything of that length: a Pipeline hands y to every step.
        trajectory : anything that `open_trajectory` opens, optional
            Scored in the place of the first argument, which is then the data that it belongs to: what a Pipeline with
            metadata routing hands over.
        features : (n_samples, n_features) array, optional
            What a trained model makes of each sample; needed by ``method="moderate"``.

        Returns
        -------
        self

        Raises
        ------
        TrajectoryError
            The trajectory is damaged, incomplete, or holds rows that are no distributions.
        ValueError, TypeError
            A parameter is out of range, or does not fit the trajectory.
        FileNotFoundError
            There is nothing at that path.
        """
        self._validate_params()
        sampler = self._sampler()
        data, source = (None, prob_trajectory) if trajectory is None else (prob_trajectory, trajectory)
        trajectory = self._open(source)
        if y is not None and self._reads_labels(trajectory.kind):
            trajectory = open_trajectory(trajectory, labels=y)
        elif y is not None:
            check_labels(np.zeros(len(y)), trajectory.n_samples, None, trajectory.n_epochs)
        if data is not None:
            check_rows(data, trajectory.n_samples)
        count_kept(trajectory.n_samples, self.pruning_rate, self.n_select)
        if trajectory.labels is None:
            if sampler.needs_labels:
                raise ValueError(f"sampler={self.sampler!r} needs labels; pass y, one integer a sample.")
            if self._prefers_by_class():
                raise ValueError(f"method={self.method!r} needs labels; pass y, one integer a sample.")
        scores, *second = compute_scores(
            trajectory,
            self._asked(),
            features=features,
            memory_limit=self.memory_limit,
            n_jobs=self.n_jobs,
            verbose=self.verbose,
        ).values()
        self.n_features_in_ = trajectory.n_epochs
        self._online = None
        return self._keep(scores, second=second[0] if second else None, labels=trajectory.labels)

    def transform(self, X):
        """Keep the rows of `X` that were chosen, in their order.

        Parameters
        ----------
        X : n_samples rows
            The training data that the trajectory belongs to, not the trajectory: an array, sparse matrix, frame, list,
            h5py dataset, zarr array, Arrow table, Hugging Face or torch Dataset.

        Returns
        -------
        The same kind of container, n_kept rows; of a torch Dataset a Subset.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            X has another number of rows.
        TypeError
            X has no rows to take: filter a stream by `sample_indices_` instead.
        """
        check_is_fitted(self, "support_")
        check_rows(X, len(self.support_))
        return take_rows(X, self.sample_indices_)

    def fit_transform(self, X, y=None, *, trajectory=None, features=None):
        """Fit on `trajectory`, or on `X` itself where it is left out, and keep the chosen rows of `X`.

        Parameters
        ----------
        X : n_samples rows, or a trajectory as an array
        y : (n_samples,) integers, optional
        trajectory : anything that `open_trajectory` opens, optional
        features : (n_samples, n_features) array, optional
            As for `fit`.

        Returns
        -------
        The kept rows of `X`.

        Raises
        ------
        TrajectoryError, ValueError, TypeError, FileNotFoundError
            As for `fit` and `transform`.
        """
        return self.fit(X, y, trajectory=trajectory, features=features).transform(X)

    def set_output(self, *, transform=None):
        """Change nothing: whatever is asked for, the container that comes in goes out.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, optional
            Not looked at; a Pipeline passes it to every step.

        Returns
        -------
        self
        """
        return self

    def select(self, *arrays):
        """Keep the chosen rows of several containers at once, in the style of `train_test_split`.

        Parameters
        ----------
        *arrays : containers of n_samples rows each

        Returns
        -------
        list of containers of n_kept rows each; `sample_weight_` lines up with them

        Raises
        ------
        NotFittedError, ValueError
            As for `transform`.
        """
        return [self.transform(array) for array in arrays]

    def get_support(self, indices=False):
        """Which samples are kept.

        Parameters
        ----------
        indices : bool, default False

        Returns
        -------
        (n_samples,) bool array, or with `indices` (n_kept,) ascending integers

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        check_is_fitted(self, "support_")
        return self.sample_indices_ if indices else self.support_

    def _open(self, source):
        return open_trajectory(source, axes=self.axes, kind=self.kind, missing=self.missing)

    def _asked(self):
        """The scores to compute, by name: the one that decides and, where the sampler looks at another, that one.

        Where `T` is left out, "confidence" beside a score is of the epochs of that score.
        """
        score, second = self._score(), self._sampler().second
        if second is None:
            return {score.name: score}
        beside = make_score(second, T=self.T, default_T=score.check(None) or None)
        return {score.name: score, f"The sampler's {second}": beside}

    def _reads_classes(self, kind):
        """Whether a score of a trajectory of `kind` takes a label for the place of its class."""
        return any(getattr(score.series(kind), "needs_labels", False) for score in self._asked().values())

    def _reads_labels(self, kind):
        return self._sampler().needs_labels or self._prefers_by_class() or self._reads_classes(kind)

    def _refuse_features(self):
        """Raise where the score needs features, which only `fit` takes."""
        if self._score().needs_features:
            raise ValueError(f"method={self.method!r} needs features; fit a CoresetSelector, whose fit takes them.")

    def _prefers_by_class(self):
        """Whether the samples nearest the median of their class are kept."""
        return self._score().keeps == "median"

    def _keep(self, scores, **beside):
        coreset = draw_coreset(
            scores,
            self._score().keeps,
            self._sampler(),
            count_kept(len(scores), self.pruning_rate, self.n_select),
            weighting=self.weighting,
            random_state=self.random_state,
            **beside,
        )
        self.scores_ = scores
        self.sample_indices_ = coreset.indices
        self.support_ = np.zeros(len(scores), dtype=bool)
        self.support_[coreset.indices] = True
        self.sample_weight_ = coreset.weights
        self.threshold_ = coreset.threshold
        return self

    def __sklearn_is_fitted__(self):
        return hasattr(self, "support_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags
