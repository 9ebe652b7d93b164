"""What is read of a trajectory: one number a sample at each epoch, or between each epoch and the next."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from tdds import kernels


class Tile(NamedTuple):
    """What a series is computed from: some samples at some epochs, checked."""

    values: np.ndarray  # (n_samples, n_epochs, n_classes) probabilities, C-contiguous; losses are (n_samples, n_epochs)
    labels: np.ndarray | None  # (n_samples,) int64

    def at(self, epochs: slice) -> Tile:
        """The tile of these epochs alone."""
        return Tile(np.ascontiguousarray(self.values[:, epochs]), self.labels)


class Series(Protocol):
    """Numbers of every sample along the epochs; hashable, so that equal series are computed once."""

    needs_probs: ClassVar[bool]
    needs_labels: ClassVar[bool]
    between_epochs: ClassVar[bool]

    def __call__(self, tile: Tile) -> np.ndarray:
        """(n_samples, n_epochs) float64, or (n_samples, n_epochs - 1) where the series lies between epochs."""


class Windows(Protocol):
    """Numbers of every window of `width` numbers of a series; hashable, so that equal ones are computed once."""

    @property
    def width(self) -> int: ...

    def __call__(self, series: np.ndarray) -> np.ndarray:
        """From (n_samples, n) numbers to float64, (n_samples, n - width + 1)."""


@dataclass(frozen=True)
class WindowedVariances:
    """Eq. 11 of every window of `width` numbers of the series, of their absolute values where `magnitude` says so."""

    width: int
    magnitude: bool = True
    root: bool = False

    def __call__(self, series: np.ndarray) -> np.ndarray:
        values = np.abs(series) if self.magnitude else np.ascontiguousarray(series)
        return _filled(kernels.windowed_variance, values, self.root, fewer=self.width - 1)


class _Series:
    """What most series do: one number an epoch, from the probabilities alone."""

    needs_probs: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = False
    between_epochs: ClassVar[bool] = False


@dataclass(frozen=True)
class KLDifferences(_Series):
    """Eq. 10: dl_t = sum_c p_{t+1,c} log(p_{t+1,c} / p_{t,c}), less what rounding leaves of sum_c p_{t+1,c} - p_{t,c}.

    `inner_magnitude`: the sum of the absolute values of the first terms.

    `single`: of float32 probabilities the terms are computed in float32.
    """

    inner_magnitude: bool = False
    single: bool = False
    between_epochs: ClassVar[bool] = True
    _WORDS: ClassVar[dict[str, str]] = {"e": "u2", "H": "i2"}  # float16 and bfloat16, as the kernel tells them apart

    def __call__(self, tile: Tile) -> np.ndarray:
        single = self.single and tile.values.dtype == np.float32
        return _filled(kernels.kl_differences, tile.values, single, self.inner_magnitude, fewer=1)

    def of_stored(self, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The series of probabilities as they are stored, and the sums of their rows, from reading each once."""
        sums = np.empty((stored.shape[0], stored.shape[1]))
        words = stored.view(self._WORDS.get(stored.dtype.char, stored.dtype))
        single = self.single and stored.dtype != np.float64
        return _filled(kernels.stored_kl_differences, words, single, self.inner_magnitude, sums, fewer=1), sums


@dataclass(frozen=True)
class CEDifferences(_Series):
    """Eq. 9: dl_t = log(p_{t+1,y} / p_{t,y})."""

    needs_labels: ClassVar[bool] = True
    between_epochs: ClassVar[bool] = True

    def __call__(self, tile: Tile) -> np.ndarray:
        return _filled(kernels.ce_differences, *tile, fewer=1)


@dataclass(frozen=True)
class LossDifferences(_Series):
    """dl_t = l_{t+1} - l_t of logged per-sample losses."""

    needs_probs: ClassVar[bool] = False
    between_epochs: ClassVar[bool] = True

    def __call__(self, tile: Tile) -> np.ndarray:
        return np.subtract(tile.values[:, 1:], tile.values[:, :-1], dtype=np.float64)


@dataclass(frozen=True)
class Losses(_Series):
    """l_t as logged."""

    needs_probs: ClassVar[bool] = False

    def __call__(self, tile: Tile) -> np.ndarray:
        return tile.values.astype(np.float64)


@dataclass(frozen=True)
class TargetProbability(_Series):
    """p_{t,y}."""

    needs_labels: ClassVar[bool] = True

    def __call__(self, tile: Tile) -> np.ndarray:
        return _filled(kernels.label_probabilities, *tile)


@dataclass(frozen=True)
class CrossEntropy(_Series):
    """l_t = -log(p_{t,y} + eps), eps = 1e-8."""

    needs_labels: ClassVar[bool] = True

    def __call__(self, tile: Tile) -> np.ndarray:
        return -np.log(TargetProbability()(tile) + kernels.EPS)


@dataclass(frozen=True)
class ErrorNorm(_Series):
    """e_t = sqrt(sum_c (p_{t,c} - onehot(y)_c)^2)."""

    needs_labels: ClassVar[bool] = True

    def __call__(self, tile: Tile) -> np.ndarray:
        return _filled(kernels.error_norms, *tile)


@dataclass(frozen=True)
class Margin(_Series):
    """p_{t,y} - max_{c != y} p_{t,c}; `of_logits`: log p_{t,y} - log max_{c != y} p_{t,c}, with p >= `floor`."""

    of_logits: bool = False
    floor: float = sys.float_info.min
    needs_labels: ClassVar[bool] = True

    def __call__(self, tile: Tile) -> np.ndarray:
        return _filled(kernels.margins, *tile, self.of_logits, self.floor)


@dataclass(frozen=True)
class Correct(_Series):
    """1 where argmax_c p_{t,c} = y, else 0; a tie goes to the lowest class."""

    needs_labels: ClassVar[bool] = True

    def __call__(self, tile: Tile) -> np.ndarray:
        return _filled(kernels.correct, *tile)


@dataclass(frozen=True)
class Entropy(_Series):
    """-sum_c p_{t,c} log p_{t,c}, where 0 log 0 = 0."""

    def __call__(self, tile: Tile) -> np.ndarray:
        return _filled(kernels.entropies, tile.values)


@dataclass(frozen=True)
class TopMargin(_Series):
    """The largest p_{t,c} less the second largest."""

    def __call__(self, tile: Tile) -> np.ndarray:
        return _filled(kernels.top_margins, tile.values)


@dataclass(frozen=True)
class MaxProbability(_Series):
    """max_c p_{t,c}."""

    def __call__(self, tile: Tile) -> np.ndarray:
        return tile.values.max(axis=2).astype(np.float64)


def _filled(kernel: Callable[..., None], values: np.ndarray, *arguments: Any, fewer: int = 0) -> np.ndarray:
    """What `kernel` makes of `values`, (n_samples, n_epochs, ...): a number a sample and epoch, or `fewer` of them."""
    out = np.empty((values.shape[0], values.shape[1] - fewer))
    kernel(values, *arguments, out)
    return out
