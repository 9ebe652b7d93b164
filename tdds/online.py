"""TDDS of a training run while it goes on, with no trajectory stored."""

from __future__ import annotations

from typing import Any

import numpy as np

from tdds import kernels, store
from tdds.engine import FOUND_LATER, check_finite, checked_tile, what_lacks
from tdds.planning import BLOCK_BYTES, row_bytes
from tdds.scores import TDDS
from tdds.sources import EpochStream, Trajectory, as_array, decode
from tdds.validation import check_alike, check_labels


class EpochwiseTDDS:
    """TDDS of a training run as it goes: one epoch at a time, no trajectory stored.

    Holds the last epoch, and K - 1 differences and the moving average of each sample.

    Parameters
    ----------
    score : TDDS
    kind : {"probs", "logits", "log_probs"}, default "probs"
        What the epochs are; 1-D epochs are losses.

    Attributes
    ----------
    n_epochs : int
        Epochs taken so far, at most T.
    scores : (n_samples,) float64 array or None
        None before the K-th epoch.
    """

    def __init__(self, score: TDDS, *, kind: str | None = None) -> None:
        self.score = score
        self.kind = kind
        self.n_epochs = 0
        self.scores: np.ndarray | None = None
        self._previous: np.ndarray | None = None
        self._diffs = np.empty((0, 0))

    @np.errstate(**FOUND_LATER)
    def update(self, epoch: Any, labels: Any = None) -> None:
        """Take the next epoch, (n_samples, n_classes), or (n_samples,) of losses; those past T are ignored.

        Raises
        ------
        TrajectoryError
            The shape differs from the first epoch's, or a row is no distribution; the state is then as before.
        ValueError
            Labels are needed, or do not fit.
        """
        if self.n_epochs == self.score.T:
            return
        values = np.array(as_array(epoch))
        if self._previous is not None:
            check_alike(values, self.n_epochs, self._previous.shape, self._previous.dtype, "before")
        current = EpochStream([values], kind=self.kind)
        if labels is not None:
            current.labels = check_labels(labels, current.n_samples, current.n_classes)
        if lack := what_lacks(current, self.score):
            raise ValueError(f"tdds {lack}")
        diffs = self._differences(values, current)
        held = np.zeros((len(values), self.score.windows.width)) if self._previous is None else self._diffs
        held = np.column_stack([held[:, 1:], diffs])
        n_windows = self.n_epochs + 1 - self.score.K + 1
        if n_windows >= 1:
            scores = np.zeros(len(values)) if self.scores is None else self.scores.copy()
            gains = self.score.gains(n_windows - 1, n_windows)
            kernels.moving_average(self.score.windows(held), gains, scores)
            check_finite("tdds", scores)
            self.scores = scores
        self._diffs, self._previous = held, values
        self.n_epochs += 1

    def _differences(self, values: np.ndarray, current: Trajectory) -> np.ndarray:
        """The series at `values`, (n_samples,): the difference from the epoch before, 0 at the first epoch, or e_t."""
        series = self.score.series(current.kind)
        held = [self._previous, values] if series.between_epochs and self._previous is not None else [values]
        out = np.zeros(len(values))
        step = max(1, BLOCK_BYTES // (4 * row_bytes(current)))
        for start in range(0, len(values), step):
            rows = slice(start, start + step)
            pair = np.stack([epoch[rows] for epoch in held], axis=1)
            stored: np.ndarray = np.asarray(decode(pair, current.dtype, current.buffer_dtype), current.buffer_dtype)
            tile = checked_tile(store.widen(stored), current, start, self.n_epochs + 1 - len(held))
            if len(held) > series.between_epochs:
                out[rows] = series(tile)[:, 0]
        return out
