"""`.npz` files of strangers: nothing in them is unpickled, and nothing unpacked that memory does not hold."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tdds.validation import TrajectoryError, check_fits_memory, file_errors

_MOST_TIMES, _ALWAYS_FINE = 200, 1 << 28  # what may be unpacked: so many times the file, or so many bytes


@contextmanager
def open_npz(path: str | os.PathLike[str], what: str = "a trajectory") -> Iterator[np.lib.npyio.NpzFile]:
    """The file at `path`, open; what goes wrong inside is a TrajectoryError with its name."""
    with file_errors(path, what), open(path, "rb") as raw:
        if raw.read(2) != b"PK" or not zipfile.is_zipfile(raw):
            raise TrajectoryError(f"{path}: is no .npz file, or was cut short.")
        raw.seek(0)
        with np.load(raw, allow_pickle=False) as held:
            yield held


def read_arrays(path: str | os.PathLike[str], held: np.lib.npyio.NpzFile, names: Collection[str]) -> list[np.ndarray]:
    """The arrays of those `names` in an open file.

    Raises
    ------
    TrajectoryError
        They unpack to more than the machine's memory, or to so much more than the file that they are no data; or one
        is no array.
    """
    assert held.zip is not None  # it is open
    members = [member for member in held.zip.infolist() if member.filename.removesuffix(".npy") in names]
    n_bytes = sum(member.file_size for member in members)
    check_fits_memory(path, n_bytes)
    if n_bytes > max(_ALWAYS_FINE, _MOST_TIMES * Path(path).stat().st_size):
        raise TrajectoryError(
            f"{path}: unpacks to {n_bytes:,} bytes, more than {_MOST_TIMES} times the file; expected data. "
            "Save the arrays unpacked if they are."
        )
    arrays = [held[name] for name in names]
    for name, array in zip(names, arrays, strict=True):
        if not isinstance(array, np.ndarray):
            raise TrajectoryError(f"{path}: {name!r} is no array.")
    return arrays
