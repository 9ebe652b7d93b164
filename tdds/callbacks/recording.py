"""What the callbacks for PyTorch share: a recorder, opened when training starts, that is given whole epochs only."""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor

from tdds.torch import TrajectoryRecorder


class Recording:
    """A recorder in the hands of a training loop that is not ours.

    Parameters
    ----------
    sink : path-like, or object with update, end_epoch and n_epochs
    **options
        Of `TrajectoryRecorder`, where `sink` is a path.

    Attributes
    ----------
    recorder : TrajectoryRecorder, or `sink`
        None until training starts, where `sink` is a path.

    Raises
    ------
    TypeError
        Options beside a sink that is made already.
    """

    def __init__(self, sink: Any, **options: Any) -> None:
        self._ours = not hasattr(sink, "update")
        if options and not self._ours:
            raise TypeError(f"{', '.join(options)}: options of a recorder to be opened, but {sink!r} is one.")
        self._sink, self._options = sink, options
        self.recorder: Any = None if self._ours else sink
        self._recording = False  # every batch of this epoch so far

    def _open(self, n_epochs: int | None) -> None:
        """Open the recorder, after the `n_epochs` that the checkpoint knows of; None without a checkpoint."""
        if self._ours:
            self._close()  # what an earlier training left that failed
            resume = {} if n_epochs is None else {"resume": True, "keep_epochs": n_epochs}
            self.recorder = TrajectoryRecorder(self._sink, **{**self._options, **resume})
        elif n_epochs not in (None, self.recorder.n_epochs):
            raise ValueError(
                f"The checkpoint knows of {n_epochs} recorded epochs, {self.recorder!r} of {self.recorder.n_epochs}: "
                "save its state_dict beside each checkpoint, and load it before training goes on."
            )

    def _begin_epoch(self) -> None:
        self._recording = True

    def _update(self, index: Any, logits: Tensor) -> None:
        if self._recording:
            self.recorder.update(index, logits)

    def _end_epoch(self) -> None:
        """After the last batch, and before a validation or a checkpoint can follow it."""
        if self._recording:
            self.recorder.end_epoch()
        else:
            self._warn("was resumed in its middle")
        self._recording = False

    def _stop_epoch(self) -> None:
        """When the loop is done with an epoch: one that still is being recorded lacks batches."""
        if self._recording:
            self._abandon()
            self._warn("stopped before its last batch")

    def _close(self) -> None:
        if self._ours and self.recorder is not None:
            self._abandon()
            self.recorder.close()

    def _abandon(self) -> None:
        self._recording = False
        if hasattr(self.recorder, "abandon_epoch"):
            self.recorder.abandon_epoch()

    def _warn(self, what: str) -> None:
        warnings.warn(
            f"An epoch of training {what} and is not recorded; the next will be epoch {self.recorder.n_epochs} of "
            f"{self.recorder!r}.",
            RuntimeWarning,
            stacklevel=3,
        )
