"""Record a trajectory from a training loop."""

from __future__ import annotations

import os
import warnings
import weakref
from collections.abc import Iterable
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tdds.store import TrajectoryWriter
from tdds.torch.batches import (
    STORED_DTYPES,
    Background,
    as_batch,
    as_kind,
    check_logits,
    dtype_name,
    rank_and_world_size,
)
from tdds.torch.online import OnlineTDDS
from tdds.validation import TrajectoryError, check_choice


class TrajectoryRecorder:
    """Record what a model predicts for every training sample, epoch by epoch, into a store.

    Softmax and cast happen on the device, the copy to the host does not wait for it, and one thread writes. At most 16
    batches are on their way; beyond them `update` waits for the disk.

    Parameters
    ----------
    path : path-like
        Directory of the store; open it with `tdds.open_trajectory`.
    n_samples : int
        Of the whole data set, whatever this process sees of it.
    n_classes : int or None
        None for ``kind="losses"``.
    kind : {"probs", "logits", "log_probs", "losses"}, default "probs"
        What is stored: the softmax of the logits, the logits themselves, or the logarithm of the softmax, taken in
        float32 (float64 for ``dtype="float64"``); or losses, one a sample.
    dtype : {"float16", "float32", "float64", "bfloat16", "log8"} or torch.dtype, default "float16"
        What is stored. Float16 rounds a probability p to within p / 2048, and below 6e-5 to within 3e-8; "log8" takes
        half as much disk, one byte, and rounds to within 1 to 7 % of p (docs/store.md says when that is enough).
    labels, ids : array-like of shape (n_samples,), optional
        As for `tdds.TrajectoryWriter`.
    part, n_parts : int, optional
        This process and how many record together. Left out: rank and world size of `torch.distributed` where it is
        initialised, else 0 and 1. Nobody waits for anybody; reading merges the parts.
    resume : bool, default False
        Continue after the last epoch that is whole in all parts. Parts that record together open the store before any
        of them ends an epoch, as a collective operation of the training loop makes sure of.
    on_error : {"raise", "warn"}, default "raise"
        What an error in writing (disk full, a prediction that is nan) does to the training loop: it raises at the next
        `update` or `end_epoch`; or it warns, the epoch is not recorded, and training and recording go on. Where there
        are several parts this one then records no more, since its epochs would not be those of the others.
    split : str, optional
        Record into this sub-directory: "train", "validation".
    keep_epochs : int, optional
        With `resume`: keep only the first so many epochs, those that the training checkpoint has seen.

    Attributes
    ----------
    path : Path
    n_epochs : int
        Epochs on disk; the next is number `n_epochs`.

    Raises
    ------
    FileExistsError, TrajectoryError, TypeError, ValueError
        As for `tdds.TrajectoryWriter`.
    RuntimeError
        The environment says that this is one of several processes, and `torch.distributed` is not initialised.

    Examples
    --------
    >>> import tempfile
    >>> import torch
    >>> from tdds.torch import IndexedDataset, TrajectoryRecorder
    >>> data = torch.utils.data.TensorDataset(torch.randn(20, 4), torch.randint(3, (20,)))
    >>> model = torch.nn.Linear(4, 3)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> folder = tempfile.TemporaryDirectory()
    >>> with TrajectoryRecorder(folder.name, n_samples=20, n_classes=3) as recorder:
    ...     for epoch in range(3):
    ...         for index, x, y in torch.utils.data.DataLoader(IndexedDataset(data), batch_size=8, shuffle=True):
    ...             logits = model(x)
    ...             recorder.update(index, logits)
    ...             torch.nn.functional.cross_entropy(logits, y).backward()
    ...             optimizer.step()
    ...             optimizer.zero_grad()
    ...         recorder.end_epoch()
    >>> import tdds
    >>> tdds.score_trajectory(folder.name, K=3).shape
    (20,)
    >>> folder.cleanup()
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        n_samples: int,
        n_classes: int | None,
        *,
        kind: str = "probs",
        dtype: str | torch.dtype = "float16",
        labels: Any = None,
        ids: Any = None,
        part: int | None = None,
        n_parts: int | None = None,
        resume: bool = False,
        on_error: str = "raise",
        split: str | None = None,
        keep_epochs: int | None = None,
    ) -> None:
        check_choice("on_error", on_error, ("raise", "warn"))
        part, n_parts = rank_and_world_size(part, n_parts)
        name = dtype_name(dtype, STORED_DTYPES)
        self._writer = TrajectoryWriter(
            path,
            n_samples,
            n_classes,
            kind=kind,
            dtype=name,
            labels=labels,
            ids=ids,
            split=split,
            part=part,
            n_parts=n_parts,
            resume=resume,
            keep_epochs=keep_epochs,
        )
        self.path = self._writer.path
        self.on_error = on_error
        self._n_parts = n_parts
        self._kind, self._dtype = kind, STORED_DTYPES[name]
        self._shape = n_samples, None if kind == "losses" else n_classes
        self._warned = False
        self._checked = kind in ("logits", "losses")  # that the first batch holds logits
        self._write = partial(_write, self._writer)
        self._background = Background()
        weakref.finalize(self, self._background.stop)

    @property
    def n_epochs(self) -> int:
        return self._writer.n_epochs

    def __repr__(self) -> str:
        return f"<TrajectoryRecorder {self.path}: {self.n_epochs} epochs>"

    def update(self, index: Any, logits: Tensor) -> None:
        """Record a batch; returns before it is written.

        Parameters
        ----------
        index : int tensor on any device, array or list, shape (n_rows,)
            The sample of each row, from 0. One that comes twice in an epoch keeps the later value.
        logits : tensor of shape (n_rows, n_classes), or (n_rows,) of losses
            Of any floating type and device, with or without gradient.

        Raises
        ------
        TypeError, ValueError
            The batch has the wrong type or shape, the first holds probabilities in the place of logits, or the recorder
            is closed.
        TrajectoryError
            Writing failed since the last call, unless ``on_error="warn"``.
        """
        samples, logits = as_batch(index, logits, *self._shape)
        if not self._checked:
            check_logits(logits)
            self._checked = True
        if not self._failed():
            values = as_kind(logits, self._kind, self._dtype)
            self._background.put(self._write, samples, values)

    def end_epoch(self) -> None:
        """Wait until the epoch is on disk, whole.

        Raises
        ------
        TrajectoryError
            Writing failed, or there is nothing to write, unless ``on_error="warn"``.
        """
        if not self._failed():
            self._background.put(self._writer.end_epoch)
            self._background.wait()
        if self._failed() and self._n_parts == 1:
            self.abandon_epoch()

    def abandon_epoch(self) -> None:
        """Drop what was recorded since the last whole epoch, after an error too; the next `update` starts it anew."""
        self._background.wait()
        self._writer.abandon_epoch()
        self._background.error = None
        self._warned = False

    def close(self) -> None:
        """Stop the thread and close the store.

        Raises
        ------
        TrajectoryError
            Batches were recorded that `end_epoch` has not ended, or writing failed, unless ``on_error="warn"``.
        """
        self._background.stop()
        try:
            if self._failed():  # and said so
                self._writer.abandon_epoch()
        finally:
            try:
                self._writer.close()
            except TrajectoryError as error:
                if self.on_error == "raise":
                    raise
                warnings.warn(str(error), RuntimeWarning, stacklevel=2)

    def __enter__(self) -> TrajectoryRecorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is not None:
            self.abandon_epoch()
        self.close()

    def _failed(self) -> bool:
        """Whether this epoch is lost; says so once, in the manner of `on_error`."""
        error = self._background.error
        if error is None:
            return False
        what = f"Recording epoch {self.n_epochs} into {self.path} failed: {error}"
        if self.on_error == "raise":
            raise TrajectoryError(
                f"{what}\nEarlier epochs are whole. Call abandon_epoch() to go on with the next."
            ) from error
        if not self._warned:
            self._warned = True
            stops = "this epoch is not recorded" if self._n_parts == 1 else "this part records no more"
            warnings.warn(f"{what}\nEarlier epochs are whole; {stops}, training goes on.", RuntimeWarning, stacklevel=3)
        return True


def evaluate(model: torch.nn.Module, loader: Iterable[Any], recorder: TrajectoryRecorder | OnlineTDDS) -> None:
    """Record one epoch in evaluation mode, without gradients; every module is then back in the mode it was in.

    Parameters
    ----------
    model : Module
    loader : iterable of (index, x, ...)
        As a DataLoader of an `IndexedDataset` gives them; x is moved to the device of the model's first parameter.
    recorder : TrajectoryRecorder or OnlineTDDS
        Its `update` is called for each batch, then its `end_epoch`.

    Raises
    ------
    TrajectoryError, TypeError, ValueError
        As the recorder's methods.
    """
    modes = [(module, module.training) for module in model.modules()]
    parameter = next(model.parameters(), None)
    model.eval()
    try:
        with torch.no_grad():
            for index, x, *_ in loader:
                recorder.update(index, model(x if parameter is None else x.to(parameter.device, non_blocking=True)))
    finally:
        for module, mode in modes:
            module.training = mode
    recorder.end_epoch()


def _write(writer: TrajectoryWriter, samples: Tensor, values: Tensor) -> None:
    bits = values.dtype == torch.bfloat16  # which NumPy lacks
    writer.write(samples.numpy(), values.view(torch.int16).numpy().view(np.uint16) if bits else values.numpy())
