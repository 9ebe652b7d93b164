"""Arrays, samples or epochs first: in memory, in a ``.npy`` file, in an HDF5 file, in zarr, in dask."""

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tdds import store
from tdds.sources.base import Read, Trajectory, check_not_empty, decode, float_name, resolve_axes, resolve_kind
from tdds.validation import TrajectoryError, check_no_pipe, file_errors


class ArrayTrajectory(Trajectory):
    """An array, or anything that is sliced like one: a memmap, an h5py, zarr or dask array.

    Parameters
    ----------
    values : array of 3 axes (values a class) or 2 (losses)
    axes : {"NTC", "TNC", "NT", "TN"}, default samples first
    kind : {"probs", "logits", "log_probs"}, default "probs"
    dtype : str, default that of `values`
        "bfloat16" where they are the uint16 of its bits, "log8" where they are its codes.
    """

    def __init__(
        self,
        values: Any,
        *,
        axes: str | None = None,
        kind: str | None = None,
        dtype: str | None = None,
        name: str = "in memory",
    ) -> None:
        if len(values.shape) not in (2, 3):
            raise TrajectoryError(
                "A trajectory has 3 axes, (n_samples, n_epochs, n_classes), or 2 for losses; "
                f"got shape {tuple(values.shape)}. Reshape your data."
            )
        axes = resolve_axes(axes, len(values.shape))
        size = dict(zip(axes, values.shape, strict=True))
        self.n_samples, self.n_epochs, self.n_classes = size["N"], size["T"], size.get("C")
        self.kind = resolve_kind(kind, losses="C" not in axes, default="probs")
        self.dtype = float_name(values.dtype) if dtype is None else dtype
        self.name = name
        self._values = values
        self.axes = axes
        sizes = getattr(values, "chunksize", None) or getattr(values, "chunks", None)  # dask's; zarr's and h5py's
        chunk = dict(zip(axes, sizes or (1,) * len(axes), strict=True))
        self._chunk = chunk["N"], chunk["T"]
        check_not_empty(self)

    @property
    def chunk(self) -> tuple[int, int]:
        return self._chunk

    def carried(self, start: int, stop: int) -> tuple[Trajectory, int]:
        bare: Any = super().carried(start, stop)[0]
        values: Any = getattr(self, "_values", None)
        if not isinstance(values, np.ndarray) and not is_dask(values):
            return bare, start
        bare._values = values[tuple(slice(start, stop) if axis == "N" else slice(None) for axis in self.axes)]
        return bare, 0

    @contextmanager
    def reader(self) -> Iterator[Read]:
        yield lambda start, stop, epoch, out: self._read(self._values, start, stop, epoch, out)

    def _read(self, values: Any, start: int, stop: int, epoch: int, out: np.ndarray) -> None:
        span = {"N": slice(start, stop), "T": slice(epoch, epoch + out.shape[1]), "C": slice(None)}
        block = values[tuple(span[axis] for axis in self.axes)]
        block = compute(block) if is_dask(block) else np.asarray(block)
        out[...] = decode(block, self.dtype, out.dtype).transpose(
            [self.axes.index(axis) for axis in "NTC"[: block.ndim]]
        )


class NpyFile(ArrayTrajectory):
    """One ``.npy`` file, mapped anew for every block so that memory stays flat."""

    def __init__(self, path: Path, *, axes: str | None = None, kind: str | None = None) -> None:
        super().__init__(map_npy(path), axes=axes, kind=kind, name=str(path))
        del self._values
        self.path = path

    def paths_read(self) -> list[Path]:
        return [self.path]

    @contextmanager
    def reader(self) -> Iterator[Read]:
        yield lambda start, stop, epoch, out: self._read(map_npy(self.path), start, stop, epoch, out)


class HDF5Trajectory(ArrayTrajectory):
    """One dataset of an HDF5 file, ours (`pack`) or anybody's.

    Parameters
    ----------
    path : path
    dataset : str
        Name inside the file.
    axes, kind
        As for `ArrayTrajectory`; what the dataset's attributes `axes` and `kind` say where left out.
    given : collection of {"labels", "ids"}
        What is not looked for beside the dataset.
    """

    def __init__(
        self,
        path: Path,
        dataset: str,
        *,
        axes: str | None = None,
        kind: str | None = None,
        given: Collection[str] = (),
    ) -> None:
        with store.opened(path) as file:
            if dataset not in file or not isinstance(file[dataset], h5py.Dataset):
                raise TrajectoryError(
                    f"{path}: holds no dataset {dataset!r}; it holds {', '.join(dataset_names(file)) or 'none'}."
                )
            values = file[dataset]
            store.check_local(values, path)
            axes = axes or store.said(values, "axes")
            if axes is None:
                raise TrajectoryError(
                    f"{path}::{dataset} of shape {values.shape} names no axes; pass axes='NTC' or axes='TNC'."
                )
            super().__init__(
                values,
                axes=axes,
                kind=kind or store.said(values, "kind"),
                dtype=coded_dtype(values),
                name=f"{path}::{dataset}",
            )
            if self.axes[0] == "T":
                self._chunk = self.n_samples, 1
            self._as_stored = self.axes in ("NTC", "NT") and values.dtype == self.buffer_dtype
            direct = self._as_stored and store.holds_whole_rows(values)
            self._direct = store.DirectRows(values) if direct else None
            group = values.parent
            ours = "format" in file.attrs
            for name in ("labels", "ids"):
                if name in group.keys() and name not in given:  # noqa: SIM118 (a link to nowhere is a key, not `in` it)
                    held = store.own_dataset(file, f"{group.name.rstrip('/')}/{name}")
                    with nullcontext() if ours else self.leaving_out(name):
                        self.name_samples(**{name: store.read_column(held, self.n_samples)})
        del self._values
        self.path = path
        self.dataset = dataset

    def paths_read(self) -> list[Path]:
        return [self.path]

    def carried(self, start: int, stop: int) -> tuple[Trajectory, int]:
        bare: Any = super().carried(start, stop)[0]
        bare._direct = self._direct and self._direct.part(start, stop)
        return bare, start

    @contextmanager
    def reader(self) -> Iterator[Read]:
        with store.opened(self.path) as file, open(self.path, "rb", buffering=0) as raw:
            values = file[self.dataset]

            def read(start: int, stop: int, epoch: int, out: np.ndarray) -> None:
                if not (self._as_stored and out.dtype == values.dtype and out.flags.c_contiguous):
                    self._read(values, start, stop, epoch, out)
                elif out.shape[1] == self.n_epochs and self._direct:
                    self._direct.read(raw, start, out)
                else:
                    values.read_direct(out, np.s_[start:stop, epoch : epoch + out.shape[1]])

            yield read


class ZarrTrajectory(ArrayTrajectory):
    """One array of a zarr directory, format 2 or 3; `labels` and `ids` beside it in its group come along.

    Parameters
    ----------
    path : path
        The array, or the group that it is in.
    name : str, default ""
        Name inside the group.
    axes, kind
        As for `ArrayTrajectory`; what the array's attributes `axes` and `kind` say where left out.
    given : collection of {"labels", "ids"}
        What is not looked for beside the array.
    """

    def __init__(
        self,
        path: Path,
        name: str = "",
        *,
        axes: str | None = None,
        kind: str | None = None,
        given: Collection[str] = (),
    ) -> None:
        self.path, self._inside = path, name
        where = f"{path}::{name}" if name else str(path)
        with file_errors(path):
            self._measure(self._open(), where, axes, kind, given)

    def _measure(self, values: Any, where: str, axes: str | None, kind: str | None, given: Collection[str]) -> None:
        if axes is None and "axes" not in values.attrs:
            raise TrajectoryError(f"{where} of shape {values.shape} names no axes; pass axes='NTC' or axes='TNC'.")
        axes, kind = (asked or values.attrs.get(key) for key, asked in (("axes", axes), ("kind", kind)))
        super().__init__(values, axes=axes, kind=kind, name=where)
        del self._values
        if self.kind in ("logits", "losses") and values.nchunks_initialized < values.nchunks:
            raise TrajectoryError(
                f"{where}: holds {values.nchunks_initialized} of {values.nchunks} chunks, and zarr reads the others as "
                f"{values.fill_value}; copy the missing files, or write zarr with write_empty_chunks=True."
            )
        if self._inside:
            for what in {"labels", "ids"} - set(given):
                place = str(Path(self._inside).parent / what)
                if (held := _open_zarr(self.path, place)) is None:
                    continue
                _check_zarr(held, f"{self.path}::{place}")
                with self.leaving_out(what):
                    if held.size != self.n_samples:  # before memory is taken
                        raise TrajectoryError(
                            f"{place!r} has shape {held.shape}; expected one a sample, ({self.n_samples},)."
                        )
                    self.name_samples(**{what: held[...]})

    def _open(self) -> Any:
        node, root = _open_zarr(self.path, self._inside), _open_zarr(self.path)
        if node is None and not hasattr(root, "members"):
            raise TrajectoryError(
                f"{self.path}: is one array, and holds no {self._inside!r}; leave ::{self._inside} out."
            )
        node = root if node is None else node  # no `or`: the truth of a group is its length, read
        if hasattr(node, "members"):
            # Not by zarr's `members`, whose other tasks print tracebacks where one of them fails.
            places = {held.parent for said in (".zarray", "zarr.json") for held in self.path.rglob(said)} - {self.path}
            names = sorted(str(place.relative_to(self.path)) for place in places)
            raise TrajectoryError(
                f"{self.path}: say which array, as {self.path}::NAME. It holds {', '.join(names) or 'none'}."
            )
        _check_zarr(node, f"{self.path}::{self._inside}")
        return node

    @contextmanager
    def reader(self) -> Iterator[Read]:
        with file_errors(self.path):
            values = self._open()
            yield lambda start, stop, epoch, out: self._read(values, start, stop, epoch, out)


def _open_zarr(path: Path, name: str = "") -> Any:
    """The array or group `name` of a zarr directory; None where there is none."""
    try:
        import zarr
    except ImportError:
        raise ImportError(f"{path} is a zarr directory; pip install 'tdds-coreset[zarr]' to read it.") from None
    for said in ("zarr.json", ".zarray", ".zgroup", ".zattrs"):
        check_no_pipe(path / name / said)
    with file_errors(path):
        try:
            node: Any = zarr.open(str(path), mode="r")
            if not name:
                return node
            return node[name] if hasattr(node, "members") and name in node else None
        except (TypeError, AttributeError) as error:  # metadata that lack a field, or hold another type
            raise TrajectoryError(f"{path}: its metadata are damaged: {error}") from error


def _check_zarr(array: Any, where: str) -> None:
    """Refuse what is no array, or one that would be unpickled while it is read."""
    if not hasattr(array, "filters"):
        raise TrajectoryError(f"{where}: is no array.")
    if any("pickle" in str(codec).lower() for codec in (*(array.filters or ()), *array.compressors)):
        raise TrajectoryError(f"{where}: keeps pickles, which are not read; write numbers or text.")


def is_dask(values: Any) -> bool:
    return hasattr(values, "__dask_graph__")


def compute(block: Any) -> np.ndarray:
    """A lazy block, made in the thread that scores it; what lies on the workers of a cluster comes from there."""
    distributed = sys.modules.get("distributed")
    persisted = distributed is not None and distributed.futures_of(block)
    return np.asarray(block.compute() if persisted else block.compute(scheduler="synchronous"))


def coded_dtype(values: h5py.Dataset) -> str | None:
    """The name of the dtype that integers in a file stand for, as its attribute `dtype` says."""
    name = store.said(values, "dtype")
    return name if name in ("bfloat16", "log8") and values.dtype == store.STORED[name] else None


def map_npy(path: Path) -> np.memmap:
    with file_errors(path), np.errstate(over="ignore"):
        return np.lib.format.open_memmap(path, mode="r")


def dataset_names(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, held: names.append(name) if isinstance(held, h5py.Dataset) else None)
    return names
