"""Arrays, samples or epochs first: in memory, in a ``.npy`` file, in an HDF5 file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tdds import store
from tdds.sources.base import Read, Trajectory, check_not_empty, decode, float_name, resolve_axes, resolve_kind
from tdds.validation import TrajectoryError, check_ids, check_labels, file_errors


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
        self.kind = resolve_kind(kind, axes, default="probs")
        self.dtype = float_name(values.dtype) if dtype is None else dtype
        self.name = name
        self._values = values
        self._axes = axes
        check_not_empty(self)

    @contextmanager
    def reader(self) -> Iterator[Read]:
        yield lambda start, stop, epoch, out: self._read(self._values, start, stop, epoch, out)

    def _read(self, values: Any, start: int, stop: int, epoch: int, out: np.ndarray) -> None:
        span = {"N": slice(start, stop), "T": slice(epoch, epoch + out.shape[1]), "C": slice(None)}
        block = np.asarray(values[tuple(span[axis] for axis in self._axes)])
        out[...] = decode(block, self.dtype, out.dtype).transpose(
            [self._axes.index(axis) for axis in "NTC"[: block.ndim]]
        )


class NpyFile(ArrayTrajectory):
    """One ``.npy`` file, mapped anew for every block so that memory stays flat."""

    def __init__(self, path: Path, *, axes: str | None = None, kind: str | None = None) -> None:
        super().__init__(map_npy(path), axes=axes, kind=kind, name=str(path))
        del self._values
        self.path = path

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
    """

    def __init__(self, path: Path, dataset: str, *, axes: str | None = None, kind: str | None = None) -> None:
        with store.opened(path) as file:
            if dataset not in file or not isinstance(file[dataset], h5py.Dataset):
                raise TrajectoryError(
                    f"{path}: holds no dataset {dataset!r}; it holds {', '.join(dataset_names(file)) or 'none'}."
                )
            values = file[dataset]
            store.check_local(values, path)
            axes = axes or attribute_text(values, "axes")
            if axes is None:
                raise TrajectoryError(
                    f"{path}::{dataset} of shape {values.shape} names no axes; pass axes='NTC' or axes='TNC'."
                )
            super().__init__(
                values,
                axes=axes,
                kind=kind or attribute_text(values, "kind"),
                dtype=coded_dtype(values),
                name=f"{path}::{dataset}",
            )
            self._chunk = dict(zip(self._axes, values.chunks or (1,) * values.ndim, strict=True))
            beside = file[dataset].parent
            for name in {"labels", "ids"} & set(beside):
                store.check_local(beside[name], path)
            if "labels" in beside:
                self.labels = check_labels(beside["labels"][...], self.n_samples, self.n_classes)
            if "ids" in beside:
                self.ids = check_ids(store.read_ids(beside["ids"]), self.n_samples)
        del self._values
        self.path = path
        self.dataset = dataset

    @property
    def chunk(self) -> tuple[int, int]:
        if self._axes[0] == "T":
            return self.n_samples, 1
        return self._chunk["N"], self._chunk["T"]

    @contextmanager
    def reader(self) -> Iterator[Read]:
        with store.opened(self.path) as file, open(self.path, "rb", buffering=0) as raw:
            values = file[self.dataset]
            samples_first = self._axes in ("NTC", "NT") and values.dtype == self.buffer_dtype
            whole_rows = store.holds_whole_rows(values)

            def read(start: int, stop: int, epoch: int, out: np.ndarray) -> None:
                if not (samples_first and out.dtype == values.dtype and out.flags.c_contiguous):
                    self._read(values, start, stop, epoch, out)
                elif out.shape[1] == self.n_epochs and whole_rows:
                    store.read_rows_directly(values, raw, start, out)
                else:
                    values.read_direct(out, np.s_[start:stop, epoch : epoch + out.shape[1]])

            yield read


def attribute_text(values: h5py.Dataset, name: str) -> str | None:
    """An attribute that is text, which HDF5 may hold as bytes of fixed length."""
    held = values.attrs.get(name)
    return held.decode() if isinstance(held, bytes) else held


def coded_dtype(values: h5py.Dataset) -> str | None:
    """The name of the dtype that integers in a file stand for, as its attribute `dtype` says."""
    name = attribute_text(values, "dtype")
    return name if name in ("bfloat16", "log8") and values.dtype == store.STORED[name] else None


def map_npy(path: Path) -> np.memmap:
    with file_errors(path):
        return np.load(path, mmap_mode="r", allow_pickle=False)


def dataset_names(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, held: names.append(name) if isinstance(held, h5py.Dataset) else None)
    return names
