"""imbalanced-learn: samplers that keep a coreset, for its pipelines, where a step may drop rows of X and y.

A trajectory reaches the sampler by scikit-learn's metadata routing::

    sklearn.set_config(enable_metadata_routing=True)
    sampler = TDDSSampler(K=10, pruning_rate=0.7).set_fit_resample_request(trajectory=True)
    imblearn.pipeline.make_pipeline(StandardScaler(), sampler, SGDClassifier()).fit(X, y, trajectory=probs)

An array of trajectories, samples first, is sliced with X and y by cross-validation and grid search.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

try:
    from imblearn.base import BaseSampler
    from imblearn.utils import check_target_type
except ModuleNotFoundError:
    raise ImportError("tdds.imblearn needs imbalanced-learn: pip install 'tdds-coreset[imblearn]'") from None

from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from tdds.rows import check_rows, take_rows
from tdds.selector import CoresetSelector, Selector, TDDSSelector
from tdds.sources import Trajectory

__all__ = ["CoresetSampler", "TDDSSampler"]


class _CoresetSampler(BaseSampler):
    """Keeps of `X` and `y` the rows that a selector of the same parameters chooses."""

    _selector: ClassVar[type]
    __metadata_request__fit: ClassVar = {"trajectory": UNUSED}  # a pipeline calls fit_resample

    def fit(self, X, y, *, trajectory=None):
        """Choose the samples; `fit_resample` without the resampled data.

        Parameters
        ----------
        X, y, trajectory
            As for `fit_resample`.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError, TrajectoryError, FileNotFoundError
            As for `fit_resample`.
        """
        self._fit_resample(X, y, trajectory)
        return self

    def fit_resample(self, X, y, *, trajectory=None):
        """Keep the samples that `trajectory` speaks for.

        Parameters
        ----------
        X : n_samples rows of any kind that a selector's `transform` takes, of any number of axes
        y : (n_samples,) labels
            Integers in [0, n_classes), or names, which count as the trajectory's classes in sorted order. A method that
            reads them needs one of each class then; a sampler, such as "class_balanced", does not.
        trajectory : anything that `open_trajectory` opens
            Of these samples, in this order.

        Returns
        -------
        X_resampled, y_resampled
            The kept rows, in their order; of frames with their index.

        Raises
        ------
        ValueError
            `trajectory` did not arrive, is of another number of samples, or a parameter is out of range.
        TrajectoryError, TypeError, FileNotFoundError
            As for `CoresetSelector.fit`.
        """
        return self._fit_resample(X, y, trajectory)

    def _fit_resample(self, X, y, trajectory=None):
        check_classification_targets(y)
        names, _ = check_target_type(y, indicate_one_vs_all=True)
        if trajectory is None:
            raise ValueError(
                f"{type(self).__name__} got no trajectory. In a pipeline: "
                "sklearn.set_config(enable_metadata_routing=True), "
                f"{type(self).__name__}(...).set_fit_resample_request(trajectory=True), and "
                "pipeline.fit(X, y, trajectory=...); without routing imbalanced-learn drops it."
            )
        validate_data(self, X, skip_check_array=True)
        selector = self._selector(**self.get_params(deep=False))
        selector._validate_params()
        selector._refuse_features()
        trajectory = selector._open(trajectory)
        for rows in (X, y):
            check_rows(rows, trajectory.n_samples)
        selector.fit(trajectory, _as_labels(np.asarray(names), selector, trajectory))
        self.selector_ = selector
        self.sample_indices_ = selector.sample_indices_
        return take_rows(X, self.sample_indices_), take_rows(y, self.sample_indices_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.sampler_tags.sample_indices = True
        tags.input_tags.string = True
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        return tags


class TDDSSampler(_CoresetSampler):
    """Keep the samples whose contribution to training varied most: `TDDSSelector` as an imbalanced-learn sampler.

    The parameters are those of `TDDSSelector`. Weights do not pass through a pipeline: its classifier trains without
    them.

    Attributes
    ----------
    sample_indices_ : (n_kept,) int array
        Ascending indices of the kept samples.
    selector_ : TDDSSelector
        With scores, weights and the threshold.
    n_features_in_, feature_names_in_
        Of `X`, where it has them.

    Examples
    --------
    >>> import numpy as np
    >>> from tdds.imblearn import TDDSSampler
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(200, 3, 8, 8)), rng.choice(["cat", "dog"], size=200)
    >>> trajectory = rng.dirichlet(np.ones(2), size=(200, 12))  # samples, epochs, classes
    >>> X_kept, y_kept = TDDSSampler(K=5, pruning_rate=0.7).fit_resample(X, y, trajectory=trajectory)
    >>> X_kept.shape, y_kept.shape
    ((60, 3, 8, 8), (60,))
    """

    _selector = TDDSSelector
    _parameter_constraints = TDDSSelector._parameter_constraints
    __init__ = TDDSSelector.__init__


class CoresetSampler(_CoresetSampler):
    """Keep a coreset by any score and any sampler: `CoresetSelector` as an imbalanced-learn sampler.

    The parameters are those of `CoresetSelector`; ``sampler="class_balanced"`` keeps the proportions of the classes.

    Attributes
    ----------
    sample_indices_ : (n_kept,) int array
        Ascending indices of the kept samples.
    selector_ : CoresetSelector
        With scores, weights and the threshold.
    n_features_in_, feature_names_in_
        Of `X`, where it has them.

    Examples
    --------
    >>> import numpy as np
    >>> from tdds.imblearn import CoresetSampler
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(200, 4)), np.repeat([0, 1], [160, 40])
    >>> trajectory = rng.dirichlet(np.ones(2), size=(200, 12))
    >>> sampler = CoresetSampler("el2n", "class_balanced", pruning_rate=0.5)
    >>> np.bincount(sampler.fit_resample(X, y, trajectory=trajectory)[1])
    array([80, 20])
    """

    _selector = CoresetSelector
    _parameter_constraints = CoresetSelector._parameter_constraints
    __init__ = CoresetSelector.__init__


def _as_labels(names: np.ndarray, selector: Selector, trajectory: Trajectory) -> np.ndarray:
    """`names` as integers from 0: numbers as they are; words by their place in sorted order."""
    if names.dtype.kind not in "OUS":
        return names
    classes, labels = np.unique(names, return_inverse=True)
    if selector._reads_classes(trajectory.kind) and len(classes) != trajectory.n_classes:
        raise ValueError(
            f"y holds {len(classes)} names, the trajectory {trajectory.n_classes} classes: which name is which class "
            f"is not known; pass integers from 0 to {(trajectory.n_classes or 1) - 1} for y."
        )
    return labels
