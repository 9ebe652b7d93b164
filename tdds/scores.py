"""What a sample is worth: one small object per method, its formula in its docstring.

A score is a *series*, one number an epoch or between two epochs, and a reduction of that series to one number a
sample. The engine computes each distinct series once, however many scores stand on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from tdds import kernels
from tdds.validation import check_choice, check_real, check_windows

#: Where the absolute value stands (inside the sum over classes?) and whether the root of Eq. 11 is taken.
FORMULATIONS = {"paper": (False, False), "reference": (True, True), "datacull": (True, False)}


class Series(Protocol):
    """Numbers of every sample along the epochs; hashable, so that equal series are computed once."""

    needs_labels: ClassVar[bool]

    def __call__(self, values: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        """From (n_samples, n_epochs, n_classes) probabilities, or losses, to (n_samples, n_epochs - 1) float64."""


class Score(Protocol):
    """A method: what it reads, what it makes of it, which end of it is kept."""

    keeps: ClassVar[str]

    def check(self, n_epochs: int | None, *, in_memory: bool = False) -> int | None:
        """The number of epochs read, None for all of a stream; raises where the parameters do not fit `n_epochs`."""

    def series(self, kind: str) -> Series:
        """The series of a trajectory of `kind`."""

    def reduce(self, series: np.ndarray) -> np.ndarray:
        """One float64 a sample from its series."""


@dataclass(frozen=True)
class KLDifferences:
    """Eq. 10: dl_t = sum_c p_{t+1,c} log(p_{t+1,c} / p_{t,c}); `inner_magnitude`: each term's absolute value."""

    inner_magnitude: bool = False
    needs_labels: ClassVar[bool] = False

    def __call__(self, values: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        out = np.empty((values.shape[0], values.shape[1] - 1))
        kernels.kl_differences(values, self.inner_magnitude, out)
        return out


@dataclass(frozen=True)
class CEDifferences:
    """Eq. 9: dl_t = log(p_{t+1,y} / p_{t,y})."""

    needs_labels: ClassVar[bool] = True

    def __call__(self, values: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        out = np.empty((values.shape[0], values.shape[1] - 1))
        kernels.ce_differences(values, labels, out)
        return out


@dataclass(frozen=True)
class LossDifferences:
    """dl_t = l_{t+1} - l_t of logged per-sample losses."""

    needs_labels: ClassVar[bool] = False

    def __call__(self, values: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        return np.subtract(values[:, 1:], values[:, :-1], dtype=np.float64)


@dataclass(frozen=True)
class TDDS:
    """Temporal Dual-Depth Scoring: the moving average of the windowed variance of abs(dl_t), Eq. 8 to 12.

    Unrolled, Eq. 12 weighs the windows beta (1 - beta)^j, newest first: at beta = 0.9 the last window carries 90 %,
    the last two 99 %. T decides which K epochs count.
    """

    T: int | None = None
    K: int = 10
    beta: float = 0.9
    formulation: str = "paper"
    loss: str = "kl"
    magnitude: bool = True
    keeps: ClassVar[str] = "largest"

    def __post_init__(self) -> None:
        check_windows(self.T, self.K, None)
        check_real("beta", self.beta, 0, 1)
        check_choice("formulation", self.formulation, tuple(FORMULATIONS))
        check_choice("loss", self.loss, ("kl", "ce"))

    def check(self, n_epochs: int | None, *, in_memory: bool = False) -> int | None:
        return check_windows(self.T, self.K, n_epochs, in_memory=in_memory)

    def series(self, kind: str) -> Series:
        if kind == "losses":
            return LossDifferences()
        if self.loss == "ce":
            return CEDifferences()
        return KLDifferences(inner_magnitude=FORMULATIONS[self.formulation][0] and self.magnitude)

    def variances(self, diffs: np.ndarray) -> np.ndarray:
        """Eq. 11 of every window of K epochs, (n_samples, n_windows)."""
        if self.magnitude:
            diffs = np.abs(diffs)
        out = np.empty((len(diffs), diffs.shape[1] - (self.K - 1) + 1))
        kernels.windowed_variance(np.ascontiguousarray(diffs), FORMULATIONS[self.formulation][1], out)
        return out

    def gains(self, first: int, stop: int) -> np.ndarray:
        """The weight with which each window from `first` to `stop` enters Eq. 12."""
        return np.full(stop - first, float(self.beta)) if self.beta else 1.0 / np.arange(first + 1, stop + 1)

    def reduce(self, series: np.ndarray) -> np.ndarray:
        variances = self.variances(series)
        scores = np.zeros(len(series))
        kernels.moving_average(variances, self.gains(0, variances.shape[1]), scores)
        return scores


#: Every method by name.
METHODS: dict[str, Any] = {"tdds": TDDS}
