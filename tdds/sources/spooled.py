"""Logs that can only be read from front to back, such as text: parsed once, into temporary files."""

import os
import shutil
import tempfile
import threading
import weakref
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tdds.sources.arrival import ArrivalTrajectory, NpyDirectory, check_index
from tdds.sources.base import Trajectory, decode
from tdds.validation import TrajectoryError, check_labels

_RUN_BYTES = 1 << 26

#: Some rows: their epoch, what names the sample of each, their values, their labels where these are logged.
Rows = tuple[int, np.ndarray, np.ndarray, np.ndarray | None]


class SpooledTrajectory(NpyDirectory):
    """A log that is parsed once, each epoch when it is first needed, into a temporary directory of ``.npy``.

    Memory stays flat; the temporary files, as large as the values, go when the object goes. A pickled copy parses
    anew: before scoring on a cluster, convert.

    Subclasses set `name`, `kind` and `n_epochs`, then call `_measure`.
    """

    _counts_every_epoch = False  # that would parse them all

    def __init__(self, *, missing: str = "error", folder: Path | None = None) -> None:
        super(NpyDirectory, self).__init__(missing=missing)
        self._spool = _Spool(folder)
        self.path = self._spool.path
        self._what = "Output"
        self._row: tuple[tuple[int, ...], np.dtype] | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.path = self._spool.path

    @abstractmethod
    def parse(self, epoch: int) -> Iterator[Rows]:
        """Yield the rows of `epoch`, batch by batch; those of all epochs where one file holds them all."""

    def paths_read(self) -> list[Path]:
        """The logs that are parsed; what they are parsed into is nobody else's."""
        return []

    def locate(self, names: np.ndarray, epoch: int) -> np.ndarray:
        """The sample that each of `names` means; here they are the samples' numbers."""
        return names

    def index(self, epoch: int) -> np.ndarray:
        self._fill(epoch)
        return super().index(epoch)

    def _layout(self, epoch: int) -> tuple[int, int, tuple[int, ...], np.dtype]:
        self._fill(epoch)
        return super()._layout(epoch)

    def _fill(self, epoch: int) -> None:
        with self._spool.lock:
            if not self._file(epoch).exists():
                for t, batches in groupby(self.parse(epoch), key=itemgetter(0)):
                    self._write(t, batches)

    def _write(self, epoch: int, batches: Iterable[Rows]) -> None:
        where = f"{self.name}, epoch {epoch}"
        names: list[np.ndarray] = []
        labels: list[np.ndarray] = []
        unfinished = self._file(epoch).with_suffix(".part")
        with open(unfinished, "wb") as file:
            for _, batch, values, batch_labels in batches:
                row = values.shape[1:], values.dtype
                self._row = self._row or row
                if row != self._row:
                    shape, dtype = self._row
                    raise TrajectoryError(
                        f"{where}: rows of shape {row[0]} and type {row[1]}; expected {shape} and {dtype} as before."
                    )
                if not names:
                    _write_header(file, 0, *row)
                file.write(np.ascontiguousarray(values))
                names.append(batch)
                labels += [] if batch_labels is None else [batch_labels]
            n_rows = sum(map(len, names))
            if not names or (epoch == 0 and not n_rows):  # later ones may lack every sample
                raise TrajectoryError(f"{where}: is empty.")
            file.seek(0)
            _write_header(file, n_rows, *row)
        index = check_index(self.locate(np.concatenate(names), epoch), n_rows, where)
        if epoch == 0 and labels:
            one_a_row = np.concatenate(labels)
            by_sample = np.zeros(index.max() + 1, dtype=one_a_row.dtype)
            by_sample[index] = one_a_row
            if len(np.unique(index)) == len(by_sample):  # or some have none
                self.labels = check_labels(by_sample, len(by_sample), *row[0])
        np.save(self.path / f"{epoch}_Index.npy", index)
        unfinished.rename(self._file(epoch))


class SortedRuns(SpooledTrajectory):
    """A temporary copy of logs in arrival order, in runs of 64 MiB: within a run, rows lie in the order of the samples.

    So the rows of neighbouring samples are one read a run and epoch, where each of them was one before: the original is
    read once from front to back, and so is, nearly, the copy. It takes the disk of the values and the memory of two
    runs.

    Parameters
    ----------
    source : ArrivalTrajectory
    folder : Path
        Where the temporary directory is made.
    """

    def __init__(self, source: ArrivalTrajectory, folder: Path) -> None:
        super().__init__(missing=source.missing, folder=folder)
        self._source = source
        self.name, self.kind, self.dtype = source.name, source.kind, source.dtype
        self.n_samples, self.n_epochs, self.n_classes = source.n_samples, source.n_epochs, source.n_classes
        self.labels, self.ids = source.labels, source.ids
        self._layouts = {}
        self._row_dtype = source.buffer_dtype

    def carried(self, start: int, stop: int) -> tuple[Trajectory, int]:
        return self._source.carried(start, stop)  # another machine does not see the copy

    def close(self) -> None:
        """Remove the copy."""
        self._spool.remove()

    def parse(self, epoch: int) -> Iterator[Rows]:
        index = self._source.index(epoch)
        n_rows = max(1, _RUN_BYTES // (self._row_dtype.itemsize * (self.n_classes or 1)))
        for start in range(0, len(index), n_rows):
            samples = index[start : start + n_rows]
            values = np.empty((len(samples), *self.row_shape), self._row_dtype)
            for stretch, part in self._source.read_rows(epoch, np.arange(start, start + len(samples))):
                values[stretch] = decode(part, self.dtype, self._row_dtype)
            order = np.argsort(samples, kind="stable")  # of duplicates, the last stays the last
            yield epoch, samples[order], values[order], None


class _Spool:
    """A temporary folder that goes with the last object that holds it; a pickled copy is another one, empty."""

    def __init__(self, folder: Path | None = None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="tdds-", dir=folder or roomy_folder()))
        self.lock = threading.Lock()
        self.remove = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def __reduce__(self) -> Any:
        return _Spool, ()


def roomy_folder() -> Path:
    """Where temporary files as large as logs may lie: ``TMPDIR``, else /var/tmp, a disk where /tmp may be memory."""
    return Path(os.environ.get("TMPDIR") or "/var/tmp")


def _write_header(file: BinaryIO, n_rows: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """The header of a ``.npy`` file, which has the same length whatever the number of rows."""
    described = {"shape": (n_rows, *shape), "fortran_order": False, "descr": np.lib.format.dtype_to_descr(dtype)}
    np.lib.format.write_array_header_1_0(file, described)
