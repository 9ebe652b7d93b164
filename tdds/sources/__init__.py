"""Where trajectories come from: whatever a user has, read as blocks of samples x epochs.

A source holds paths, not handles, so that it can be pickled and opened again in a thread, a process or on another
machine. To add one, subclass `Trajectory`: set its attributes, write `reader`.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from tdds import store
from tdds.sources.arrays import ArrayTrajectory, HDF5Trajectory, NpyFile, attribute_text, dataset_names
from tdds.sources.arrival import ArrivalTrajectory, NpyDirectory, NpzTrajectory, StoreTrajectory
from tdds.sources.base import Read, Trajectory, as_array, decode
from tdds.sources.stream import EpochStream
from tdds.validation import KINDS, TrajectoryError, check_choice, check_ids, check_labels

__all__ = [
    "ArrayTrajectory",
    "ArrivalTrajectory",
    "EpochStream",
    "HDF5Trajectory",
    "NpyDirectory",
    "NpyFile",
    "NpzTrajectory",
    "StoreTrajectory",
    "Read",
    "Trajectory",
    "as_array",
    "decode",
    "open_trajectory",
]


def open_trajectory(
    source: Any,
    *,
    axes: str | None = None,
    kind: str | None = None,
    missing: str = "error",
    labels: Any = None,
    ids: Any = None,
) -> Trajectory:
    """Open whatever holds a trajectory; nothing is read but what says how large it is.

    Parameters
    ----------
    source : array, path, iterable of epochs or Trajectory
        - An array of shape (n_samples, n_epochs, n_classes), or (n_samples, n_epochs) of losses: NumPy, memmap, CPU
          tensor, h5py, zarr or dask.
        - The path of a store, a packed store, an ``.npy`` or ``.npz`` file, or of a directory of ``{t}_Output.npy`` and
          ``{t}_Index.npy``; ``"file.h5::dataset"`` for any dataset of an HDF5 file.
        - A list or tuple of 2-D arrays, or an iterator: epochs, each (n_samples, n_classes).
    axes : {"NTC", "TNC", "NT", "TN"}, optional
        What the axes of an array are; left out, samples come first. A foreign HDF5 dataset must say.
    kind : {"probs", "logits", "log_probs"}, optional
        What the values are; left out, what the file says, logits for a directory of ``.npy``, probs otherwise.
    missing : {"error", "carry"}, default "error"
        What to do where logs in arrival order lack a sample at an epoch: raise, or repeat the epoch before.
    labels : (n_samples,) integers, optional
    ids : (n_samples,) names, optional

    Returns
    -------
    Trajectory

    Raises
    ------
    TrajectoryError
        The source is damaged, incomplete or of an unknown form.
    FileNotFoundError
        There is nothing at that path.
    TypeError
        The source is none of the above.

    Examples
    --------
    >>> import numpy as np
    >>> import tdds
    >>> tdds.open_trajectory(np.full((100, 12, 10), 0.1, dtype=np.float32))
    <ArrayTrajectory in memory: 100 samples x 12 epochs x 10 classes, float32 probs>
    """
    check_choice("kind", kind, (None, *KINDS))
    check_choice("missing", missing, ("error", "carry"))
    if isinstance(source, Trajectory):
        if kind not in (None, source.kind):
            raise ValueError(f"kind={kind!r}, but {source!r} holds {source.kind}; open it with that kind instead.")
        # Labels given here are not the caller's object's; a stream is read once anyway and must not be read by two.
        given = labels is not None or ids is not None
        trajectory = copy.copy(source) if given and not isinstance(source, EpochStream) else source
    elif isinstance(source, (str, os.PathLike)):
        trajectory = _open_path(os.fspath(source), axes, kind, missing)
    elif isinstance(source, Iterator) or _is_list_of_epochs(source):
        trajectory = EpochStream(source, kind=kind)
    elif isinstance(source, h5py.Dataset):
        said = {name: attribute_text(source, name) for name in ("axes", "kind")}
        trajectory = ArrayTrajectory(source, axes=axes or said["axes"], kind=kind or said["kind"], name=source.name)
    else:
        trajectory = ArrayTrajectory(as_array(source), axes=axes, kind=kind)
    if labels is not None:
        trajectory.labels = check_labels(labels, trajectory.n_samples, trajectory.n_classes, trajectory.n_epochs)
    if ids is not None:
        trajectory.ids = check_ids(ids, trajectory.n_samples)
    return trajectory


def _is_list_of_epochs(source: Any) -> bool:
    return (
        isinstance(source, (list, tuple))
        and len(source) > 0
        and all(getattr(epoch, "ndim", 0) == 2 for epoch in source)
    )


def _open_path(source: str, axes: str | None, kind: str | None, missing: str) -> Trajectory:
    place, _, dataset = source.partition("::")
    path = Path(place)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or directory.")
    if dataset:
        return HDF5Trajectory(path, dataset, axes=axes, kind=kind)
    if path.is_dir():
        if store.is_store(path):
            return StoreTrajectory(path, kind=kind, missing=missing)
        if any(path.glob("*_Output.npy")) or any(path.glob("*_Loss.npy")):
            return NpyDirectory(path, kind=kind, missing=missing)
        if splits := store.list_splits(path):
            raise TrajectoryError(f"{path}: holds the splits {', '.join(splits)}; say which, as {path / splits[0]}.")
        raise TrajectoryError(
            f"{path}: expected a store (store.h5, epoch-*.h5), or {{t}}_Output.npy and {{t}}_Index.npy; found neither."
        )
    if path.suffix == ".npy":
        return NpyFile(path, axes=axes, kind=kind)
    if path.suffix == ".npz":
        return NpzTrajectory(path, kind=kind, missing=missing)
    with store.opened(path) as file:
        names = dataset_names(file)
    if "values" in names:
        return HDF5Trajectory(path, "values", axes=axes, kind=kind)
    raise TrajectoryError(
        f"{path}: is no packed store; say which dataset, as {path}::NAME. It holds {', '.join(names) or 'none'}."
    )
