"""Where trajectories come from: whatever a user has, read as blocks of samples x epochs.

A source holds paths, not handles, so that it can be pickled and opened again in a thread, a process or on another
machine. To add one, subclass `Trajectory`: set its attributes, write `reader`.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import h5py

from tdds import store
from tdds.npz import open_npz
from tdds.sources.arrays import ArrayTrajectory, HDF5Trajectory, NpyFile, ZarrTrajectory, coded_dtype, dataset_names
from tdds.sources.arrival import ArrivalTrajectory, NpyDirectory, NpzTrajectory, StoreTrajectory, read_npz
from tdds.sources.base import Read, Trajectory, as_array, decode
from tdds.sources.jsonl import CartographyLogs, DatacullLogs, DynUncLogs
from tdds.sources.numbered import NpyEpochs
from tdds.sources.pickles import CCSLogs
from tdds.sources.spooled import SortedRuns, SpooledTrajectory, roomy_folder
from tdds.sources.stream import EpochStream
from tdds.validation import KINDS, TrajectoryError, check_choice, check_no_pipe

__all__ = [
    "ArrayTrajectory",
    "ArrivalTrajectory",
    "CartographyLogs",
    "CCSLogs",
    "DatacullLogs",
    "DynUncLogs",
    "EpochStream",
    "HDF5Trajectory",
    "NpyDirectory",
    "NpyEpochs",
    "NpyFile",
    "NpzTrajectory",
    "SortedRuns",
    "SpooledTrajectory",
    "StoreTrajectory",
    "ZarrTrajectory",
    "Read",
    "Trajectory",
    "as_array",
    "decode",
    "open_trajectory",
    "roomy_folder",
]


def open_trajectory(
    source: Any,
    *,
    axes: str | None = None,
    kind: str | None = None,
    missing: str = "error",
    damaged: str = "unchecked",
    labels: Any = None,
    ids: Any = None,
) -> Trajectory:
    """Open whatever holds a trajectory; nothing is read but what says how large it is.

    Parameters
    ----------
    source : array, path, iterable of epochs or Trajectory
        - An array of shape (n_samples, n_epochs, n_classes), or (n_samples, n_epochs) of losses: NumPy, memmap, CPU
          tensor, h5py, zarr or dask.
        - The path of a store, a packed store, an ``.npy`` or ``.npz`` file, a zarr directory, or of a directory of an
          ``.npy`` an epoch, or of ``{t}_Output.npy`` and ``{t}_Index.npy``; ``"file.h5::name"`` or
          ``"run.zarr::name"`` for any array in one.
        - The logs of other tools (docs/logs.md): dataset cartography's and datacull's JSON lines, Dyn-Unc's text,
          coverage-centric selection's pickles.
        - A list or tuple of 2-D arrays, or an iterator: epochs, each (n_samples, n_classes). One of 1-D arrays, which
          may be samples or epochs, needs `axes`.
    axes : {"NTC", "TNC", "NT", "TN"}, optional
        What the axes of an array are; left out, samples come first. A foreign HDF5 or zarr array must say, and logs
        of a form that has its own order must not.
    kind : {"probs", "logits", "log_probs"}, optional
        What the values are; left out, what the file says, logits for ``{t}_Output.npy``, probs otherwise.
    missing : {"error", "carry"}, default "error"
        What to do where logs in arrival order lack a sample at an epoch: raise, or repeat its value of the epoch
        before; before the sample's first epoch, its value of that one, even if that lies past T. An array lacks none.
    damaged : {"unchecked", "error", "skip"}, default "unchecked"
        Whether the values of a store or a packed file are held against their checksums, which reads all of it once
        more. Unchecked, an error is raised only where something cannot be read or is no distribution. "error" raises
        for any damage. "skip" warns and leaves out the damaged epochs of a store, so that later ones move up; with
        ``missing="carry"`` those after the first whole one stay, and the samples of damaged shards lack.
    labels : (n_samples,) integers, optional
    ids : (n_samples,) names, optional

    Returns
    -------
    Trajectory

    Raises
    ------
    TrajectoryError
        The source is damaged, incomplete or of an unknown form; of a store it is said which epochs are whole.
    FileNotFoundError
        There is nothing at that path.
    TypeError
        The source is none of the above.
    ValueError
        `axes`, `kind`, `missing` or `damaged` is not known, or does not fit the source.

    Examples
    --------
    >>> import numpy as np
    >>> import tdds
    >>> tdds.open_trajectory(np.full((100, 12, 10), 0.1, dtype=np.float32))
    <ArrayTrajectory in memory: 100 samples x 12 epochs x 10 classes, float32 probs>
    """
    check_choice("kind", kind, (None, *KINDS))
    check_choice("missing", missing, ("error", "carry"))
    check_choice("damaged", damaged, ("unchecked", "error", "skip"))
    given = {what for what, values in (("labels", labels), ("ids", ids)) if values is not None}
    if isinstance(source, Trajectory):
        if kind not in (None, source.kind):
            raise ValueError(f"kind={kind!r}, but {source!r} holds {source.kind}; open it with that kind instead.")
        if missing == "carry" and getattr(source, "missing", "carry") != "carry":
            raise ValueError(
                f"missing='carry', but {source!r} was opened without; open it with missing='carry' instead."
            )
        # Labels given here are not the caller's object's; a stream is read once anyway and must not be read by two.
        trajectory = copy.copy(source) if given and not isinstance(source, EpochStream) else source
    elif isinstance(source, (str, os.PathLike)):
        trajectory = _open_path(os.fspath(source), axes, kind, missing, damaged, given)
    elif isinstance(source, Iterator) or _is_list_of(2, source):
        trajectory = EpochStream(source, kind=kind)
    elif isinstance(source, h5py.Dataset):
        said = {name: asked or store.said(source, name) for name, asked in (("axes", axes), ("kind", kind))}
        trajectory = ArrayTrajectory(source, **said, dtype=coded_dtype(source), name=source.name)
    else:
        if axes is None and _is_list_of(1, source):
            raise TrajectoryError(
                f"A {type(source).__name__} of 1-D arrays may be samples or epochs; pass numpy.stack(arrays) with "
                "axes='NT' where each is a sample, axes='TN' where each is an epoch."
            )
        trajectory = ArrayTrajectory(as_array(source), axes=axes, kind=kind)
    own = trajectory.axes if isinstance(trajectory, ArrayTrajectory) else None
    if axes is not None and own not in (axes, str(axes).replace("C", "")):
        raise ValueError(f"axes={axes!r}, but {trajectory!r} has an order of its own; leave axes out.")
    if damaged not in ("unchecked", getattr(trajectory, "damaged", None)):
        _check_packed(trajectory, damaged)
    trajectory.name_samples(labels, ids)
    trajectory.check_unchanged()
    return trajectory


def _is_list_of(n_axes: int, source: Any) -> bool:
    """Whether it is a list or tuple of arrays of so many axes."""
    return (
        isinstance(source, (list, tuple))
        and len(source) > 0
        and all(getattr(array, "ndim", 0) == n_axes for array in source)
    )


def _check_packed(trajectory: Trajectory, damaged: str) -> None:
    """Hold a packed file against its checksums. There is nothing in it to skip: a chunk holds every epoch."""
    if not isinstance(trajectory, HDF5Trajectory) or not store.is_packed(trajectory.path):
        raise ValueError(
            f"damaged={damaged!r}, but {trajectory!r} has no checksums that can be held now; a store and a packed file "
            "have, when they are opened."
        )
    if problems := store.verify(trajectory.path).problems:
        raise TrajectoryError(f"{problems[0].rstrip('.')}; pack it anew from the store, or bring it back from a copy.")


def _open_path(
    source: str, axes: str | None, kind: str | None, missing: str, damaged: str, given: Collection[str]
) -> Trajectory:
    place, _, name = source.partition("::")
    path = Path(place)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or directory.")
    if path.is_dir():
        return _open_directory(path, name, axes, kind, missing, damaged, given)
    if name:
        return HDF5Trajectory(path, name, axes=axes, kind=kind, given=given)
    if path.suffix == ".npy":
        return NpyFile(path, axes=axes, kind=kind)
    if path.suffix == ".npz":
        with open_npz(path) as file:
            in_arrival_order = "index" in file
        if in_arrival_order:
            return NpzTrajectory(path, kind=kind, missing=missing)
        held, arrays = read_npz(path)
        trajectory = ArrayTrajectory(arrays[held], axes=axes, kind=kind or held, name=source)
        for what in {"labels", "ids"} & arrays.keys() - set(given):
            with trajectory.leaving_out(what):
                trajectory.name_samples(**{what: arrays[what]})
        return trajectory
    if path.suffix in (".pickle", ".pkl"):
        return CCSLogs(path, kind=kind, missing=missing)
    check_no_pipe(path)
    if path.suffix in _NO_SOURCES:
        raise TrajectoryError(f"{path}: is {_NO_SOURCES[path.suffix]}.")
    with store.opened(path) as file:
        names = dataset_names(file)
        if store.said(file, "format") == "tdds-scores":
            raise TrajectoryError(f"{path}: is {_NO_SOURCES['.parquet']}.")
    if "values" in names:
        return HDF5Trajectory(path, "values", axes=axes, kind=kind, given=given)
    raise TrajectoryError(
        f"{path}: is no packed store; say which dataset, as {path}::NAME. It holds {', '.join(names) or 'none'}."
    )


#: Files that are no trajectory, by extension: what they are, and what to do.
_NO_SOURCES = dict.fromkeys((".txt", ".jsonl", ".json"), "one file of text; pass the folder of logs, an epoch a file")
_NO_SOURCES[".csv"] = "a table of text; pass a trajectory as .npy, .npz, HDF5 or zarr (docs/logs.md)"
_NO_SOURCES[".parquet"] = "a file of scores, no trajectory; tdds select, report, combine and compare read it"

#: Logs of other tools: the folder that the tool makes in its output folder, what its files are called, their reader.
_FOREIGN: list[tuple[str, str, Any]] = [
    ("training_dynamics", "dynamics_epoch_*.jsonl", CartographyLogs),
    ("", "epoch[0-9]*.jsonl", DatacullLogs),
    ("pred_prob_history", "prob_*.txt", DynUncLogs),
    ("training-dynamics", "td-*-epoch-*.pickle", CCSLogs),
]


def _open_directory(
    path: Path, name: str, axes: str | None, kind: str | None, missing: str, damaged: str, given: Collection[str]
) -> Trajectory:
    if any((path / held).exists() for held in ("zarr.json", ".zarray", ".zgroup")):
        return ZarrTrajectory(path, name, axes=axes, kind=kind, given=given)
    if store.is_store(path):
        return StoreTrajectory(path, kind=kind, missing=missing, damaged=damaged)
    if any(path.glob("*_Output.npy")) or any(path.glob("*_Loss.npy")):
        return NpyDirectory(path, kind=kind, missing=missing)
    for folder, files, logs in _FOREIGN:
        for place in (path, path / folder):
            if any(place.glob(files)):
                return logs(place, kind=kind, missing=missing)
    if len(pickles := list(path.glob("td-*.pickle"))) == 1:
        return CCSLogs(pickles[0], kind=kind, missing=missing)
    if any(re.fullmatch(NpyEpochs.pattern, held.name) for held in path.glob("*.npy")):
        return NpyEpochs(path, kind=kind)
    if splits := store.list_splits(path):
        raise TrajectoryError(f"{path}: holds the splits {', '.join(splits)}; say which, as {path / splits[0]}.")
    found = sorted(held.name for held in path.iterdir())
    raise TrajectoryError(
        f"{path}: expected a store (store.h5), {{t}}_Output.npy and {{t}}_Index.npy, an .npy an epoch, zarr, or one of "
        f"{', '.join(files for _, files, _ in _FOREIGN)}, td-*.pickle; found {', '.join(found[:5]) or 'nothing'}"
        f"{f' and {len(found) - 5} more' if len(found) > 5 else ''}."
    )
