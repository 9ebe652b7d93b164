"""One value a sample, read from a file: labels, ids, features or names."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from tdds import store
from tdds.npz import open_npz, read_arrays
from tdds.validation import TrajectoryError, check_fits_memory, file_errors


def read_column(place: str, what: str = "labels") -> np.ndarray:
    """Labels, ids or names from ``x.npy``, ``x.npz::name``, ``x.h5::name``, or a text file with one value a line.

    Parameters
    ----------
    place : str
    what : {"labels", "ids", "features", "class_names"}, default "labels"
        What it holds, and the array's name where `place` gives none.

    Returns
    -------
    array

    Raises
    ------
    FileNotFoundError, TrajectoryError
        There is no such file, or it does not hold that.
    """
    file, _, name = place.partition("::")
    path = Path(file)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file.")
    held_by_name = path.suffix in (".npz", ".h5", ".hdf5")
    if name and not held_by_name:
        raise TrajectoryError(f"{place}: only arrays in .npz and HDF5 files have names; leave ::{name} out.")
    name = name or what
    with file_errors(path, f"a file of {what}"):
        if path.suffix == ".npy":
            return np.array(np.load(path, mmap_mode="r", allow_pickle=False))  # a map is as long as the file
        if path.suffix == ".npz":
            with open_npz(path, f"a file of {what}") as held:
                if name not in held:
                    raise TrajectoryError(
                        f"{path}: holds no {name!r}, but {', '.join(held.files) or 'nothing'}; say which, as "
                        f"{path}::NAME."
                    )
                return read_arrays(path, held, [name])[0]
        if held_by_name:
            with store.open_file(path) as opened:
                dataset = store.own_dataset(opened, name)
                check_fits_memory(path, dataset.nbytes)
                return store.read_ids(dataset)
        lines = [line for line in map(str.strip, path.read_text(encoding="utf-8-sig").split("\n")) if line]
        return np.array([int(line) for line in lines]) if all(_is_integer(line) for line in lines) else np.array(lines)


def _is_integer(text: str) -> bool:
    return re.fullmatch("0|-?[1-9][0-9]*", text) is not None  # "000123" is a name
