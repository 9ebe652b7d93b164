"""What a classifier says of its training data after each epoch: four ways to hear it, whichever it has.

scikit-learn has `partial_fit`, `staged_predict_proba` and, from version 1.9, callbacks; LightGBM and XGBoost predict
with their first rounds alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import signature
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import MetaEstimatorMixin
from sklearn.pipeline import Pipeline
from sklearn.utils import shuffle


class Training(NamedTuple):
    """What is recorded: at most `n_epochs` of the training of `model` on `X` and `y`, whose labels are `classes`."""

    model: Any
    X: Any
    y: np.ndarray
    classes: np.ndarray
    n_epochs: int
    rng: np.random.Generator


def record(training: Training) -> Iterator[np.ndarray]:
    """Train, and yield (n_samples, n_classes) probabilities of all samples after each epoch.

    Raises
    ------
    TypeError
        The model reported no iteration to its callbacks.
    """
    way = _way(training.model)
    assert way is not None, "see check_can_record"
    return islice(way(training), training.n_epochs)


def check_can_record(estimator: Any) -> None:
    """Raise where `estimator` cannot say what it predicts after each epoch.

    Raises
    ------
    TypeError
    """
    lacks = [] if hasattr(estimator, "predict_proba") else ["predict_proba"]
    if _way(estimator) is None:
        lacks.append("partial_fit, staged_predict_proba or callbacks")
    if lacks:
        raise TypeError(
            f"{type(estimator).__name__} has no {' and no '.join(lacks)}: its predictions cannot be recorded epoch by "
            "epoch. Wrap a classifier such as SGDClassifier(loss='log_loss') or MLPClassifier; of a Pipeline, wrap the "
            "last step alone."
        )


def _way(estimator: Any) -> Callable[[Training], Iterator[np.ndarray]] | None:
    if hasattr(estimator, "partial_fit"):
        return _by_partial_fit
    if hasattr(estimator, "staged_predict_proba"):
        return _by_stages
    if _ROUNDS.keys() & _parameters_of_predict_proba(estimator):
        return _by_rounds
    if hasattr(estimator, "set_callbacks") and not isinstance(estimator, (Pipeline, MetaEstimatorMixin)):
        return _by_callbacks
    return None


def _by_partial_fit(training: Training) -> Iterator[np.ndarray]:
    """An epoch is one call of `partial_fit` on all samples, newly shuffled."""
    model, X, y, classes, _, rng = training
    while True:
        model.partial_fit(*shuffle(X, y, random_state=int(rng.integers(2**31))), classes=classes)
        yield model.predict_proba(X)


def _by_stages(training: Training) -> Iterator[np.ndarray]:
    """An epoch is one stage of boosting, of scikit-learn or CatBoost."""
    return training.model.fit(training.X, training.y).staged_predict_proba(training.X)


#: How LightGBM and XGBoost call the number of rounds to predict with, how it is said, and how many there are.
_ROUNDS: dict[str, tuple[Callable[[int], Any], Callable[[Any], int]]] = {
    "num_iteration": (lambda n: n, lambda model: model.n_iter_),
    "iteration_range": (lambda n: (0, n), lambda model: model.get_booster().num_boosted_rounds()),
}


def _by_rounds(training: Training) -> Iterator[np.ndarray]:
    """An epoch is one round of boosting: a fitted model predicts with the first of them alone."""
    model = training.model.fit(training.X, training.y)
    (name,) = _ROUNDS.keys() & _parameters_of_predict_proba(model)
    said, count = _ROUNDS[name]
    for n in range(1, count(model) + 1):
        yield model.predict_proba(training.X, **{name: said(n)})


def _parameters_of_predict_proba(estimator: Any) -> set[str]:
    return set(signature(estimator.predict_proba).parameters) if hasattr(estimator, "predict_proba") else set()


class _Iterations:
    """A callback of scikit-learn's that keeps what the model predicts after each of its first iterations."""

    def __init__(self, training: Training) -> None:
        self.X, self.n_epochs = training.X, training.n_epochs
        self.epochs: list[np.ndarray] = []

    def setup(self, estimator: Any, context: Any) -> None: ...

    def teardown(self, estimator: Any, context: Any) -> None: ...

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None: ...

    def on_fit_task_end(self, estimator: Any, context: Any, *, fitted_estimator: Any = None) -> bool:
        if context.parent is not None and fitted_estimator is not None and len(self.epochs) < self.n_epochs:
            self.epochs.append(fitted_estimator.predict_proba(self.X))
        return len(self.epochs) == self.n_epochs


def _by_callbacks(training: Training) -> Iterator[np.ndarray]:
    """An epoch is one iteration of the solver; all of them are held in memory."""
    iterations = _Iterations(training)
    training.model.set_callbacks(iterations).fit(training.X, training.y)
    if not iterations.epochs:
        raise TypeError(
            f"{training.model!r} reported no iteration to its callbacks; wrap another classifier or solver."
        )
    return iter(iterations.epochs)
