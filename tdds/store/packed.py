"""The packed form: one HDF5 file, samples first, for moving and for fastest scoring."""

from __future__ import annotations

import os
import uuid
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tdds._version import __version__
from tdds.store.hdf5 import FORMAT_VERSION, PACKED_FORMAT, NewFile, write_attributes, write_names
from tdds.store.values import STORED, dtype_name, encode

_CHUNK_BYTES = 1 << 20
_BLOCK_BYTES = 1 << 26


def pack(
    trajectory: Any,
    path: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    overwrite: bool = False,
    progress: Callable[[int], object] = lambda n: None,
) -> None:
    """Write a trajectory of any source into one HDF5 file, samples first, in bounded memory.

    Logs in arrival order that are larger than a block, 64 MiB, are first copied in sorted runs beside the file, so that
    they are read from front to back; the copy takes as much disk as the values, until the file is whole.

    Parameters
    ----------
    trajectory : Trajectory
        Of a known number of epochs.
    path : path-like
        The file; it appears when it is whole.
    dtype : {"float16", "float32", "float64", "bfloat16", "log8"}, optional
        What is stored; as the trajectory where left out.
    overwrite : bool, default False
    progress : callable, optional
        Called with the number of samples just written.

    Raises
    ------
    ValueError
        When the number of epochs is not known.
    FileExistsError
        When `path` is there and `overwrite` is False.
    TrajectoryError
        When the source is damaged, or a value is no number of its kind: sample and epoch are named.
    OSError
        When the disk is full, or worse; nothing is left behind.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; pass overwrite=True, or another path.")
    if trajectory.n_epochs is None:
        raise ValueError(f"{trajectory!r} does not know its number of epochs; pack an array or a file.")
    stored = dtype_name(dtype or trajectory.dtype, trajectory.kind)
    row = trajectory.n_epochs, *trajectory.row_shape
    shape = (trajectory.n_samples, *row)
    sample_bytes = int(np.prod(row)) * np.dtype(STORED[stored]).itemsize
    chunk_rows = min(shape[0], max(1, _CHUNK_BYTES // sample_bytes))
    block_rows = max(1, _BLOCK_BYTES // (sample_bytes * chunk_rows)) * chunk_rows
    in_runs = trajectory.in_runs(path.parent) if block_rows < shape[0] else nullcontext(trajectory)
    new = NewFile(path, path.stem)
    try:
        values = new.h5.create_dataset("values", shape, STORED[stored], chunks=(chunk_rows, *row))
        write_attributes(values, axes="NTC"[: len(shape)], kind=trajectory.kind, dtype=stored)
        crc32 = []
        with in_runs as source, source.reader() as read:
            for start in range(0, shape[0], block_rows):
                block = np.empty((min(block_rows, shape[0] - start), *row), trajectory.buffer_dtype)
                read(start, start + len(block), 0, block)
                for low in range(0, len(block), chunk_rows):
                    first = start + low
                    place = partial(_place, first)
                    part = encode(block[low : low + chunk_rows], trajectory.kind, stored, place)
                    values[first : first + len(part)] = part
                    crc32.append(zlib.crc32(np.ascontiguousarray(part)))
                new.check()
                progress(len(block))
        new.h5.create_dataset("crc32", data=np.array(crc32, "<u4"))
        write_names(new.h5, trajectory.labels, trajectory.ids)
        write_attributes(
            new.h5,
            format=PACKED_FORMAT,
            format_version=FORMAT_VERSION,
            run_id=uuid.uuid4().hex,
            created_by=__version__,
            source=trajectory.name,
        )
        new.publish()
    finally:
        new.discard()


def _place(first: int, at: tuple[int, ...]) -> str:
    return f"Sample {first + at[0]} at epoch {at[1]}"
