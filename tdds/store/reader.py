"""The reading side: headers, which epochs are whole, one shard."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tdds.store.hdf5 import FORMAT, PACKED_FORMAT, attribute, check_format, opened, own_dataset, read_names
from tdds.store.values import RANGES, STORED
from tdds.validation import TrajectoryError, damaged_store

HEADER_NAME = "store.h5"
_MOST_PARTS = 1 << 16
_SHARD_NAME = re.compile(r"epoch-(\d{5,})(?:\.part-(\d+)-of-(\d+))?\.h5")


@dataclass(frozen=True, eq=False)
class StoreHeader:
    """What a store or a packed file says about itself.

    Attributes
    ----------
    path : Path
        The store's directory, or the packed file.
    run_id : str
        Names one recording; every shard of a store carries it.
    n_samples : int
    n_classes : int or None
        None for ``kind="losses"``.
    kind : {"probs", "logits", "log_probs", "losses"}
    dtype : {"float16", "float32", "float64", "bfloat16", "log8"}
        bfloat16 is stored as the uint16 of its bits, log8 as its codes of one byte.
    n_parts : int
        Processes that write this store; 1 for a packed file.
    created_by : str
    format_version : int
    n_epochs : int or None
        Of a packed file; a store grows, see `list_shards`.
    labels : ndarray of shape (n_samples,), int64, or None
    ids : ndarray of shape (n_samples,), int64 or object (str), or None
    """

    path: Path
    run_id: str
    n_samples: int
    n_classes: int | None
    kind: str
    dtype: str
    n_parts: int
    created_by: str
    format_version: int
    n_epochs: int | None = None
    labels: np.ndarray | None = None
    ids: np.ndarray | None = None

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one sample's values at one epoch: (n_classes,), or () for losses."""
        return () if self.n_classes is None else (self.n_classes,)


def is_store(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is the directory of a store, finished or not."""
    return Path(path, HEADER_NAME).is_file()


def is_packed(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is a file that `pack` has written."""
    try:
        with opened(path) as file:
            return attribute(file, "format", str) == PACKED_FORMAT
    except (OSError, ValueError):
        return False


def list_splits(path: str | os.PathLike[str]) -> list[str]:
    """Return the names of the splits (sub-directories that are stores) in `path`, sorted."""
    return sorted(entry.name for entry in Path(path).iterdir() if is_store(entry))


def read_header(path: str | os.PathLike[str]) -> StoreHeader:
    """Read the header of a store (a directory) or of a packed file.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    StoreHeader

    Raises
    ------
    FileNotFoundError
        When there is no store.
    TrajectoryError
        When the header is damaged, or of another or a newer format.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        with opened(path) as file:
            version, values = check_format(file, PACKED_FORMAT), own_dataset(file, "values")
            fields = {name: attribute(values, name, str) for name in ("kind", "dtype")}
            fields |= dict(zip(("n_samples", "n_epochs", "n_classes"), (*values.shape, None), strict=False))
            return _header(path, file, version, n_parts=1, **fields)
    if not is_store(path):
        raise FileNotFoundError(f"{path} is no trajectory store: there is no {HEADER_NAME} in it")
    with opened(path / HEADER_NAME) as file:
        version = check_format(file, FORMAT)
        fields = {name: attribute(file, name, str) for name in ("kind", "dtype")}
        fields |= {name: attribute(file, name, int) for name in ("n_samples", "n_parts")}
        fields["n_classes"] = attribute(file, "n_classes", int) if "n_classes" in file.attrs else None
        return _header(path, file, version, **fields)


def _header(path: Path, file: h5py.File, version: int, **fields: Any) -> StoreHeader:
    known = fields["kind"] in RANGES and fields["dtype"] in STORED
    losses = fields["kind"] == "losses"
    if (
        not known
        or losses != (fields["n_classes"] is None)
        or fields["n_samples"] < 1
        or not 1 <= fields["n_parts"] <= _MOST_PARTS
    ):
        raise TrajectoryError(f"{file.filename}: the header contradicts itself or names what is unknown here: {fields}")
    fields |= {name: read_names(file, name, fields["n_samples"]) for name in ("labels", "ids") if name in file}
    run_id, created_by = attribute(file, "run_id", str), attribute(file, "created_by", str)
    return StoreHeader(path, run_id=run_id, created_by=created_by, format_version=version, **fields)


def shard_path(folder: Path, epoch: int, part: int, n_parts: int) -> Path:
    return folder / (f"epoch-{epoch:05d}.h5" if n_parts == 1 else f"epoch-{epoch:05d}.part-{part}-of-{n_parts}.h5")


def scan_shards(header: StoreHeader) -> tuple[list[set[int]], list[Path]]:
    """Return the epochs that each part has a shard of, and shards whose name says another number of parts."""
    epochs: list[set[int]] = [set() for _ in range(header.n_parts)]
    strangers = []
    for entry in sorted(header.path.iterdir()):
        match = _SHARD_NAME.fullmatch(entry.name)
        if match:
            epoch, part, n_parts = (
                int(group or default) for group, default in zip(match.groups(), (0, 0, 1), strict=True)
            )
            if part < n_parts and entry == shard_path(header.path, epoch, part, header.n_parts):
                epochs[part].add(epoch)
            else:
                strangers.append(entry)
    return epochs, strangers


def n_whole(epochs: list[set[int]]) -> int:
    whole = 0
    while all(whole in own for own in epochs):
        whole += 1
    return whole


def part_epochs(path: str | os.PathLike[str]) -> list[int]:
    """How many epochs each part of the store at `path` has come to."""
    return [1 + max(own, default=-1) for own in scan_shards(read_header(path))[0]]


def find_gaps(epochs: list[set[int]]) -> list[tuple[int, int]]:
    """(part, epoch) of every shard that is missing though the same part has a later one."""
    return [(part, e) for part, own in enumerate(epochs) for e in sorted(set(range(max(own, default=0))) - own)]


def list_shards(path: str | os.PathLike[str]) -> list[list[Path]]:
    """List the shards of every whole epoch of a store, from epoch 0 to the first that lacks a part.

    Parameters
    ----------
    path : path-like
        Directory of the store.

    Returns
    -------
    list of list of Path
        For each epoch its shards, one a part. The newest epochs, which some parts lack still, are not listed.

    Raises
    ------
    FileNotFoundError, TrajectoryError
        As `read_header`; a shard is missing though its part has later ones.
    """
    header = read_header(path)
    epochs, _ = scan_shards(header)
    for part, epoch in find_gaps(epochs):
        missing = shard_path(header.path, epoch, part, header.n_parts)
        if not missing.exists():  # written since the folder was read
            whole = sorted(set.intersection(*epochs))
            raise damaged_store([f"{missing}: missing, though later epochs are there"], whole)
    return [
        [shard_path(header.path, epoch, part, header.n_parts) for part in range(header.n_parts)]
        for epoch in range(n_whole(epochs))
    ]


class Shard:
    """One part of one epoch, open for reading; see `open_shard`.

    Attributes
    ----------
    path : Path
    epoch, part, n_rows, chunk_rows : int
        `read` is fastest in whole chunks of `chunk_rows` rows.
    index : ndarray of shape (n_rows,), int64
        The sample of each row, in arrival order, duplicates included; its checksum holds and it is within range.
    values : h5py.Dataset of shape (n_rows, n_classes), or (n_rows,) for losses
        As stored (bfloat16 as uint16), for reads that need no checksum.
    """

    def __init__(self, path: Path, file: h5py.File, header: StoreHeader):
        self.path = path
        check_format(file, FORMAT)
        match = _SHARD_NAME.fullmatch(path.name)
        self.epoch, self.part = attribute(file, "epoch", int), attribute(file, "part", int)
        expected = {"run_id": header.run_id, "kind": header.kind, "dtype": header.dtype, "n_parts": header.n_parts}
        expected |= {"encoding": "plain", "epoch": int(match[1]) if match else self.epoch}
        expected |= {"part": int(match[2] or 0) if match else self.part}
        for name, value in expected.items():
            found = attribute(file, name, type(value))
            if found != value:
                raise TrajectoryError(
                    f"{path}: {name} is {found!r}, expected {value!r}; this shard is not of this store"
                )
        self.values = own_dataset(file, "values", STORED[header.dtype])
        index, crc32 = own_dataset(file, "index"), own_dataset(file, "crc32", "<u4")
        self.n_rows, self.chunk_rows = index.size, (self.values.chunks or (0,))[0]
        if self.values.shape != (self.n_rows, *header.row_shape) or index.dtype.kind != "i" or not self.chunk_rows:
            raise TrajectoryError(
                f"{path}: values of shape {self.values.shape} and index of shape {index.shape} and dtype "
                f"{index.dtype}, expected chunked rows of shape {header.row_shape} and their samples"
            )
        stored = index[()]
        self.index = stored.astype(np.int64)
        self._crc32 = crc32[()]
        if zlib.crc32(stored) != attribute(index, "crc32", int):
            raise TrajectoryError(f"{path}: the checksum of 'index' does not hold: this shard is damaged")
        if len(self._crc32) != -(-self.n_rows // self.chunk_rows):
            raise TrajectoryError(f"{path}: {len(self._crc32)} checksums do not cover {self.n_rows} rows")
        if self.n_rows and (self.index.min() < 0 or self.index.max() >= header.n_samples):
            raise TrajectoryError(f"{path}: 'index' names a sample outside [0, {header.n_samples})")

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Read rows `start` to `stop` as stored, having checked the checksum of every chunk they touch.

        Raises
        ------
        TrajectoryError
            When a checksum does not hold or HDF5 cannot read; the text names the file and the rows.
        """
        stop = self.n_rows if stop is None else min(stop, self.n_rows)
        first = start - start % self.chunk_rows
        last = min(self.n_rows, -(-stop // self.chunk_rows) * self.chunk_rows)
        try:
            rows = self.values[first:last]
        except (OSError, RuntimeError) as error:
            raise TrajectoryError(f"{self.path}: rows {first} to {last} cannot be read: {error}") from error
        check_chunks(self.path, rows, first, self.chunk_rows, self._crc32)
        return rows[start - first : stop - first]


def check_chunks(path: Path, rows: np.ndarray, first: int, chunk_rows: int, crc32: np.ndarray) -> None:
    for at in range(0, len(rows), chunk_rows):
        if zlib.crc32(rows[at : at + chunk_rows]) != crc32[(first + at) // chunk_rows]:
            raise TrajectoryError(f"{path}: the checksum of the rows from {first + at} on does not hold: it is damaged")


@contextmanager
def open_shard(path: str | os.PathLike[str], header: StoreHeader | None = None) -> Iterator[Shard]:
    """Open a finished shard as a context manager, checked against the store's header.

    Parameters
    ----------
    path : path-like
        As `list_shards` gives it.
    header : StoreHeader, optional
        Of the shard's store; read from the folder by default.

    Yields
    ------
    Shard

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    TrajectoryError
        When the shard is damaged or of another run; the text names the file.
    """
    path = Path(path)
    header = read_header(path.parent) if header is None else header
    with opened(path) as file:
        yield Shard(path, file, header)
