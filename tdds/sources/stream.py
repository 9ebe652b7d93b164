"""Epochs that come one after the other and are gone."""

from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any

import numpy as np

from tdds.sources.base import Read, Trajectory, as_array, check_not_empty, decode, float_name, resolve_kind
from tdds.validation import TrajectoryError, check_alike


class EpochStream(Trajectory):
    """An iterable of epochs, (n_samples, n_classes) each, or (n_samples,) of losses, read once and in order."""

    def __init__(self, epochs: Iterable[Any], *, kind: str | None = None) -> None:
        self.n_epochs = len(epochs) if isinstance(epochs, Sized) else None
        self.name = "stream"
        self._epochs = iter(epochs)
        self._next: np.ndarray = np.empty(0)
        self._pulled = 0
        if not self.holds(0):
            raise TrajectoryError("The iterable of epochs is empty.")
        first: Any = self._next
        if first.ndim not in (1, 2):
            raise TrajectoryError(
                f"Epoch 0 has shape {first.shape}; expected (n_samples, n_classes), or (n_samples,) of losses."
            )
        self.n_samples = len(first)
        self.n_classes = first.shape[1] if first.ndim == 2 else None
        self.kind = resolve_kind(kind, losses=first.ndim == 1, default="probs")
        self._dtype, self.dtype = first.dtype, float_name(first.dtype)
        check_not_empty(self)

    @property
    def chunk(self) -> tuple[int, int]:
        return self.n_samples, 1

    def holds(self, epoch: int) -> bool:
        if self._pulled == epoch:
            values = next(self._epochs, None)
            if values is None:
                self.n_epochs = epoch
                return False
            self._next, self._pulled = as_array(values), epoch + 1
        return self._pulled == epoch + 1

    def part(self, start: int, stop: int) -> Trajectory:
        return self

    @contextmanager
    def reader(self) -> Iterator[Read]:
        if self._pulled > 1:
            raise TrajectoryError("The iterable of epochs was read before; it can be read once.")
        shape = self.n_samples, *self.row_shape

        def read(start: int, stop: int, epoch: int, out: np.ndarray) -> None:
            for e in range(out.shape[1]):
                if not self.holds(epoch + e):
                    raise TrajectoryError(f"The iterable of epochs ended after {self.n_epochs}.")
                check_alike(self._next, epoch + e, shape, self._dtype, "epoch 0")
                out[:, e] = decode(self._next, self.dtype, out.dtype)

        yield read
