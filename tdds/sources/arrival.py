"""Logs in arrival order: epoch by epoch, rows as the data loader shuffled them, beside the sample of each row."""

import os
import re
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from tdds import store
from tdds.npz import open_npz, read_arrays
from tdds.sources.arrays import map_npy
from tdds.sources.base import Read, Trajectory, check_not_empty, decode, float_name, resolve_kind
from tdds.validation import (
    KINDS,
    TrajectoryError,
    check_choice,
    damaged_store,
    file_errors,
    missing_sample,
    name_epochs,
    sum_tolerance,
)

_GAP_BYTES = 1 << 16  # rows of a file that lie closer than this are read together
_RUN_BYTES = 1 << 22  # and at most so many bytes at once


class ArrivalTrajectory(Trajectory):
    """Epochs in arrival order: rows as the data loader shuffled them, and the sample of each row.

    A duplicate within an epoch keeps the last value. A sample that an epoch lacks is an error, or with
    ``missing="carry"`` has the value of the epoch before, and before its first epoch that of its first, which may lie
    past the epochs that are scored. Where each sample lies in each epoch is kept in memory, 4 bytes a sample and epoch.
    """

    _counts_every_epoch = True

    def __init__(self, *, missing: str = "error") -> None:
        check_choice("missing", missing, ("error", "carry"))
        self.missing = missing
        #: Row of each sample, (n_samples,) int32, -1 where it is missing, for each epoch read so far.
        self._rows: dict[int, np.ndarray] = {}

    @abstractmethod
    def index(self, epoch: int) -> np.ndarray:
        """The sample of each row of `epoch`, (n_rows,) integers."""

    @abstractmethod
    def read_rows(self, epoch: int, rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the values of ascending `rows` of `epoch` as stored, a stretch at a time: a slice of `rows`, values."""

    @property
    def chunk(self) -> tuple[int, int]:
        return self.n_samples, 1

    def _count_samples(self) -> int:
        """The number of samples, from what epoch 0 names; where it may lack some, from what every epoch names."""
        index = self.index(0)
        indices = [index]
        if self.missing == "carry" and self._counts_every_epoch:
            for epoch in range(1, self.n_epochs or 1):
                with suppress(TrajectoryError):  # said where the epoch is read
                    indices.append(self.index(epoch))
        n_samples = 1 + max((int(one.max()) for one in indices if len(one)), default=-1)
        self._check_first_epoch(index, n_samples)
        return n_samples

    def _check_first_epoch(self, index: np.ndarray, n_samples: int) -> None:
        """Hold the number of samples against epoch 0, before memory is taken for them."""
        named = np.unique(index)
        if len(named) < n_samples and (self.missing == "error" or n_samples > len(named) * (self.n_epochs or 1)):
            first = int(np.setdiff1d(np.arange(len(named) + 1), named)[0])
            raise missing_sample(first, 0, n_samples - len(named))

    def rows(self, epoch: int) -> np.ndarray:
        """Row of each sample in `epoch`, (n_samples,) int32; -1 where it is missing."""
        if epoch not in self._rows:
            index = self.index(epoch)
            if len(index) and index.max() >= self.n_samples:
                raise TrajectoryError(
                    f"{self.name}: row {int(np.argmax(index))} of epoch {epoch} names sample {index.max()}; "
                    f"expected 0 to {self.n_samples - 1}, the samples of epoch 0."
                )
            rows = np.full(self.n_samples, -1, dtype=np.int32)
            rows[index] = np.arange(len(index), dtype=np.int32)
            absent = np.flatnonzero(rows < 0)
            if len(absent) and self.missing == "error":
                raise missing_sample(int(absent[0]), epoch, len(absent))
            self._rows[epoch] = rows
        return self._rows[epoch]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_rows": {}}

    @contextmanager
    def reader(self) -> Iterator[Read]:
        def read(start: int, stop: int, epoch: int, out: np.ndarray) -> None:
            for e in range(out.shape[1]):
                pending = np.arange(stop - start)
                for t in chain(range(epoch + e, -1, -1), range(epoch + e + 1, self.n_epochs or 0)):
                    rows = self.rows(t)[start:stop]
                    where = rows[pending]
                    found = pending[where >= 0]
                    if len(found):
                        order = found[np.argsort(rows[found])]
                        for stretch, values in self.read_rows(t, rows[order]):
                            out[order[stretch], e] = decode(values, self.dtype, out.dtype)
                    pending = pending[where < 0]
                    if not len(pending):
                        break
                else:
                    raise TrajectoryError(f"{self.name}: no epoch holds sample {start + pending[0]}.")

        yield read

    @contextmanager
    def in_runs(self, folder: Path) -> Iterator[Trajectory]:
        from tdds.sources.spooled import SortedRuns

        runs = SortedRuns(self, folder)
        try:
            yield runs
        finally:
            runs.close()


class NpyDirectory(ArrivalTrajectory):
    """A directory of ``{t}_Output.npy`` and ``{t}_Index.npy``, t from 0, as the TDDS authors' script reads it.

    Parameters
    ----------
    path : path
    kind : {"logits", "probs", "log_probs", "losses"}, default "logits"
        What the outputs are; "losses" reads ``{t}_Loss.npy`` instead. Must be said of outputs that look like
        probabilities.
    missing : {"error", "carry"}
    """

    def __init__(self, path: Path, *, kind: str | None = None, missing: str = "error") -> None:
        super().__init__(missing=missing)
        self.path = path
        self.name = str(path)
        self.kind = kind or "logits"
        check_choice("kind", self.kind, KINDS)
        self._what = "Loss" if self.kind == "losses" else "Output"
        pattern = re.compile(rf"(\d+)_{self._what}\.npy")
        epochs = [int(match[1]) for file in path.iterdir() if (match := pattern.fullmatch(file.name))]
        if not epochs:
            other = "kind='logits'" if self.kind == "losses" else "kind='losses'"
            raise TrajectoryError(f"{path}: holds no {{t}}_{self._what}.npy; pass {other} if that is what it holds.")
        self.n_epochs = 1 + max(epochs)
        self._measure()
        if kind is None:
            first = map_npy(self._file(0))[:100].astype(np.float64)
            if (first >= 0).all() and (abs(first.sum(axis=1) - 1) <= sum_tolerance(self.dtype)).all():
                raise TrajectoryError(
                    f"{self._file(0)}: its rows sum to 1 as probabilities do, where logits are expected; pass "
                    "kind='probs' (--kind probs), or kind='logits' if they are."
                )

    def _measure(self) -> None:
        """Take the sizes from epoch 0."""
        # Where the values begin is kept, no map: a map held open counts as memory and cannot be pickled.
        self._layouts: dict[int, tuple[int, int, tuple[int, ...], np.dtype]] = {}
        _, _, row_shape, self._row_dtype = self._layout(0)
        self.n_classes = row_shape[0] if row_shape else None
        self.dtype = float_name(self._row_dtype)
        self.n_samples = self._count_samples()
        check_not_empty(self)

    def _file(self, epoch: int) -> Path:
        return self.path / f"{epoch}_{self._what}.npy"

    def paths_read(self) -> list[Path]:
        return [path for t in range(self.n_epochs or 0) for path in (self._file(t), self.path / f"{t}_Index.npy")]

    def _layout(self, epoch: int) -> tuple[int, int, tuple[int, ...], np.dtype]:
        """Where the values of `epoch` begin in its file, their number of rows, the shape and type of a row."""
        if epoch in self._layouts:
            return self._layouts[epoch]
        if not self._file(epoch).exists():
            raise TrajectoryError(f"{self.name}: epoch {epoch} is missing: no {self._file(epoch).name}.")
        values = map_npy(self._file(epoch))
        n_axes = 1 if self.kind == "losses" else 2
        if values.ndim != n_axes or not values.flags.c_contiguous:
            raise TrajectoryError(
                f"{self._file(epoch)}: shape {values.shape}; expected {n_axes} axes, rows first, in C order."
            )
        layout = values.offset, len(values), values.shape[1:], values.dtype
        _, _, shape, dtype = self._layouts.get(0, layout)
        if layout[2:] != (shape, dtype):
            raise TrajectoryError(
                f"{self._file(epoch)}: rows of shape {layout[2]} and type {layout[3]}; "
                f"expected {shape} and {dtype} as in epoch 0."
            )
        self._layouts[epoch] = layout
        return layout

    def index(self, epoch: int) -> np.ndarray:
        path = self.path / f"{epoch}_Index.npy"
        if not path.exists():
            raise TrajectoryError(f"{path}: missing; it must hold the sample of each row of {self._file(epoch).name}.")
        return check_index(np.array(map_npy(path)), self._layout(epoch)[1], path)

    def read_rows(self, epoch: int, rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        with file_errors(self._file(epoch)), open(self._file(epoch), "rb", buffering=0) as file:
            offset = self._layout(epoch)[0]
            row_bytes = self._row_dtype.itemsize * int(np.prod(self.row_shape))
            for stretch, first, last in _stretches(rows, row_bytes):
                raw = np.empty((last - first + 1) * row_bytes, dtype=np.uint8)
                if os.preadv(file.fileno(), [raw], offset + first * row_bytes) != raw.nbytes:
                    raise TrajectoryError(
                        f"{self._file(epoch)}: ends before row {last}; it was cut after it was opened."
                    )
                values = raw.view(self._row_dtype).reshape(-1, *self.row_shape)
                yield stretch, _pick(values, rows[stretch] - first)


class NpzTrajectory(ArrivalTrajectory):
    """An ``.npz`` of logits, probs or log_probs (n_epochs, n_rows, n_classes) and index (n_epochs, n_rows), so named.

    ``labels`` and ``ids`` are read where they are there. The file is held in memory.
    """

    def __init__(self, path: Path, *, kind: str | None = None, missing: str = "error") -> None:
        super().__init__(missing=missing)
        held, arrays = read_npz(path)
        self._values, self._index = arrays[held], arrays["index"]
        if self._values.ndim != 3 or self._values.shape[:2] != self._index.shape:
            raise TrajectoryError(
                f"{path}: {held} have shape {self._values.shape} and index {self._index.shape}; "
                "expected (n_epochs, n_rows, n_classes) and (n_epochs, n_rows)."
            )
        self.path = path
        self.name = str(path)
        self.kind = resolve_kind(kind, losses=False, default=held)
        self.n_epochs, self._n_rows, self.n_classes = self._values.shape
        self.dtype = float_name(self._values.dtype)
        self.n_samples = self._count_samples() if self.n_epochs else 0
        check_not_empty(self)
        self.name_samples(arrays.get("labels"), arrays.get("ids"))

    def index(self, epoch: int) -> np.ndarray:
        return check_index(self._index[epoch], self._n_rows, f"{self.path}, epoch {epoch}")

    def read_rows(self, epoch: int, rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        yield slice(None), self._values[epoch, rows]


class StoreTrajectory(ArrivalTrajectory):
    """A store that `TrajectoryWriter` writes, while it grows or after: its whole epochs at the time of opening."""

    def __init__(
        self, path: Path, *, kind: str | None = None, missing: str = "error", damaged: str = "unchecked"
    ) -> None:
        super().__init__(missing=missing)
        header = store.read_header(path)
        self._header = header
        self.damaged = damaged
        self._shards = store.list_shards(path) if damaged == "unchecked" else self._verified_shards()
        self.name = str(path)
        self.kind = resolve_kind(kind, losses=header.n_classes is None, default=header.kind)
        self.dtype = header.dtype
        self.n_samples, self.n_epochs, self.n_classes = header.n_samples, len(self._shards), header.n_classes
        check_not_empty(self)
        with file_errors(path):
            self.name_samples(header.labels, header.ids)
        if len(index := self.index(0)) < self.n_samples:  # or it need not be sorted
            self._check_first_epoch(index, self.n_samples)

    def _verified_shards(self) -> list[list[Path]]:
        """The shards of every epoch that counts, each value of them held against its checksum."""
        report = store.verify(self._header.path)
        whole = [found.epoch for found in report.epochs if not found.problems]
        if report.problems and (self.damaged == "error" or not whole):
            raise damaged_store(report.problems, whole)
        self.skipped = tuple(found.epoch for found in report.epochs if found.problems)
        if self.skipped:
            what = f"{report.path}: {name_epochs(self.skipped)} {'are' if len(self.skipped) > 1 else 'is'} damaged"
            warnings.warn(f"{what}, and left out; {report.problems[0]}", RuntimeWarning, stacklevel=2)
        carried = self.missing == "carry"
        return [found.shards for found in report.epochs if not found.problems or (carried and found.epoch > whole[0])]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What is wrong with a shard, said with the epochs that are whole."""
        try:
            yield
        except TrajectoryError as error:
            report = store.verify(self._header.path)
            if not report.problems:
                raise
            raise damaged_store(report.problems, [e.epoch for e in report.epochs if not e.problems]) from error

    def index(self, epoch: int) -> np.ndarray:
        parts = [np.empty(0, np.int64)]
        for path in self._shards[epoch]:
            with self._explained(), store.open_shard(path, self._header) as shard:
                parts.append(shard.index)
        return np.concatenate(parts)

    def paths_read(self) -> list[Path]:
        return [path for shards in self._shards for path in shards]

    def read_rows(self, epoch: int, rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        first = begin = 0
        for path in self._shards[epoch]:
            with self._explained(), store.opened(path) as file, open(path, "rb", buffering=0) as raw:
                values = file["values"]
                direct = store.DirectRows(values) if store.holds_whole_rows(values) else None
                end = int(np.searchsorted(rows, first + len(values)))
                own = rows[begin:end] - first
                row, dtype = values.shape[1:], values.dtype
                for stretch, low, high in _stretches(own, dtype.itemsize * (self.n_classes or 1)):
                    read: np.ndarray = np.empty((high + 1 - low, *row), dtype)
                    if direct:
                        direct.read(raw, low, read)
                    else:
                        values.read_direct(read, np.s_[low : high + 1])
                    yield slice(begin + stretch.start, begin + stretch.stop), _pick(read, own[stretch] - low)
                first += len(values)
            begin = end


def read_npz(path: Path) -> tuple[str, dict[str, np.ndarray]]:
    """The arrays of an ``.npz`` file, and the name of the one that holds the values."""
    with open_npz(path) as file:
        held = [name for name in KINDS if name in file]
        if len(held) != 1:
            raise TrajectoryError(
                f"{path}: expected one of {', '.join(KINDS)}, with 'index' where rows lie in arrival order; "
                f"it holds {', '.join(file.files) or 'nothing'}."
            )
        wanted = [name for name in ("index", "labels", "ids", *held) if name in file]
        return held[0], dict(zip(wanted, read_arrays(path, file, wanted), strict=True))


def check_index(index: np.ndarray, n_rows: int, where: Any) -> np.ndarray:
    if index.dtype.kind not in "iu" or index.shape != (n_rows,):
        raise TrajectoryError(
            f"{where}: index of {index.dtype} and shape {index.shape}; expected one integer for each of {n_rows} rows."
        )
    if n_rows and index.min() < 0:
        raise TrajectoryError(f"{where}: row {int(np.argmin(index))} names sample {index.min()}; expected 0 or more.")
    return index


def _pick(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return values if len(rows) == len(values) else values[rows]


def _stretches(rows: np.ndarray, row_bytes: int) -> Iterator[tuple[slice, int, int]]:
    """Split ascending `rows` into stretches worth one read each: the slice of `rows`, its first and last row."""
    near = max(1, _GAP_BYTES // row_bytes)
    longest = max(1, _RUN_BYTES // row_bytes)
    begin = 0
    breaks = np.flatnonzero(np.diff(rows) > near) + 1
    for end in (*breaks, len(rows)):
        while begin < end:
            stop = min(end, begin + int(np.searchsorted(rows[begin:end], rows[begin] + longest)))
            yield slice(begin, stop), int(rows[begin]), int(rows[stop - 1])
            begin = stop
