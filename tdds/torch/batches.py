"""A batch on its way from the training loop: checked, as probabilities, on the host, in the background."""

from __future__ import annotations

import math
import os
import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from tdds.store import LOG8_RANGE
from tdds.validation import check_choice

DTYPES = {name: getattr(torch, name) for name in ("float16", "float32", "float64", "bfloat16")}
STORED_DTYPES = DTYPES | {"log8": torch.uint8}  # its codes
_QUEUED = 16  # batches on their way; the training loop waits for the disk beyond them


class Background:
    """A thread that does what it is given in order; after something fails it drops the rest until told otherwise."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._tasks: queue.Queue[Any] = queue.Queue(_QUEUED)
        self._thread = threading.Thread(target=self._run, name="tdds", daemon=True)
        self._thread.start()

    def put(self, function: Callable[..., object], *tensors: Tensor) -> None:
        """Call `function` with the tensors on the host, which it may keep, once they are there."""
        if not self._thread.is_alive():
            raise ValueError("This recorder is closed.")
        on_host = [to_host(tensor) for tensor in tensors]
        copied = [
            torch.cuda.current_stream(tensor.device).record_event(torch.cuda.Event(blocking=True))
            for tensor in tensors
            if tensor.is_cuda
        ]
        self._tasks.put((function, on_host, copied))

    def wait(self) -> None:
        """Wait until everything so far is done."""
        if self._thread.is_alive():
            self._tasks.join()

    def stop(self) -> None:
        """Do what is left, and end the thread."""
        if self._thread.is_alive():
            self._tasks.put(None)
            if threading.current_thread() is not self._thread:  # where our owner was forgotten in a task of its own
                self._thread.join()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            function, tensors, copied = task
            try:
                if self.error is None:
                    for event in copied:
                        event.synchronize()
                    function(*tensors)
            except BaseException as error:
                self.error = error
            finally:
                del task, function, tensors, copied  # or they would live until the next
                self._tasks.task_done()


def as_batch(index: Any, values: Tensor, n_samples: int, n_classes: int | None) -> tuple[Tensor, Tensor]:
    """`index` as an int64 tensor of its own, checked where that needs no waiting for the device, and `values`."""
    if not isinstance(values, Tensor) or not values.is_floating_point():
        what = f"a tensor of {values.dtype}" if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"Predictions must be a floating point tensor, got {what}.")
    samples = index if isinstance(index, Tensor) else torch.from_numpy(np.array(index))
    whole = not (samples.is_floating_point() or samples.is_complex() or samples.dtype == torch.bool)
    if not whole and samples.numel():  # an empty list is one of floats
        raise TypeError(f"index must hold integers, the sample of each row; got {samples.dtype}.")
    if samples.ndim == 0:  # one sample
        samples, values = samples[None], values[None]
    expected = (len(samples),) if n_classes is None else (len(samples), n_classes)
    if samples.ndim != 1 or values.shape != expected:
        raise ValueError(
            f"index has shape {tuple(samples.shape)} and the predictions {tuple(values.shape)}; expected (n_rows,) and "
            f"{'(n_rows,)' if n_classes is None else f'(n_rows, {n_classes})'}."
        )
    samples = samples.detach().to(torch.int64, copy=True)
    if samples.device.type == "cpu" and len(samples):
        rows = samples.numpy()
        if rows.min() < 0 or rows.max() >= n_samples:
            row = int(np.argmax((rows < 0) | (rows >= n_samples)))
            raise ValueError(f"index names sample {rows[row]} (row {row}), expected 0 to {n_samples - 1}.")
    return samples, values.detach()


def check_logits(values: Tensor) -> None:
    """Raise where all rows, of several classes, are probabilities; waits for the device.

    Raises
    ------
    ValueError
    """
    if values.ndim == 2 and values.shape[1] > 1 and len(values):
        sums = values.detach().sum(dim=1, dtype=torch.float32)
        if bool((values >= 0).all() & ((sums - 1).abs() < 0.01).all()):
            raise ValueError(
                "Each row of the predictions is 0 or more and sums to 1: these are probabilities, and softmax would be "
                "taken of them; pass the logits, or probabilities.log()."
            )


def as_kind(values: Tensor, kind: str, dtype: torch.dtype) -> Tensor:
    """What is stored, in memory of its own; the writer casts logarithms and losses, which may not fit `dtype`."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    if dtype == torch.uint8:  # as tdds.store.probs_to_log8
        bits = torch.log_softmax(values, dim=1, dtype=wide).clamp_min(-LOG8_RANGE * math.log(2)) / -math.log(2)
        return (255 * (bits / LOG8_RANGE).sqrt()).round().to(torch.uint8)
    if kind == "probs":
        return torch.softmax(values, dim=1, dtype=wide).to(dtype)
    if kind == "log_probs":
        return torch.log_softmax(values, dim=1, dtype=wide)
    return values.to(wide, copy=True)


def to_host(tensor: Tensor) -> Tensor:
    """The tensor on the host; from a GPU into pinned memory, where it arrives later."""
    if tensor.device.type == "cpu":
        return tensor
    host = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=tensor.is_cuda)
    return host.copy_(tensor, non_blocking=tensor.is_cuda)


def dtype_name(dtype: str | torch.dtype, known: Iterable[str]) -> str:
    """The name of `dtype`, a dtype or its name; raises where it is none of `known`."""
    name = str(dtype).removeprefix("torch.")
    check_choice("dtype", name, tuple(known))
    return name


def rank_and_world_size(
    rank: int | None, world_size: int | None, names: tuple[str, str] = ("part", "n_parts")
) -> tuple[int, int]:
    """As they are given, both or neither, under `names`; else of `torch.distributed`, or 0 and 1.

    Raises
    ------
    ValueError
        One of the two is given.
    RuntimeError
        The environment says that this is one of several processes, and they are not initialised.
    """
    if (rank is None) != (world_size is None):
        raise ValueError(f"{names[0]}={rank} and {names[1]}={world_size}; pass both, or neither.")
    if rank is not None and world_size is not None:
        return rank, world_size
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise RuntimeError(
            f"WORLD_SIZE={os.environ['WORLD_SIZE']}, but torch.distributed is not initialised: call "
            f"init_process_group() first, or pass {names[0]}= and {names[1]}=."
        )
    return 0, 1
