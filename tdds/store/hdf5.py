"""HDF5 files that are written whole or not at all, and read with suspicion."""

from __future__ import annotations

import copy
import errno
import math
import os
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from tdds.validation import TrajectoryError, check_no_pipe, file_errors

FORMAT, PACKED_FORMAT, FORMAT_VERSION = "tdds-trajectory", "tdds-trajectory-packed", 1
_CHUNK_BYTES = 1 << 19


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network disks sync no folders
            raise
    finally:
        os.close(handle)


def _start_sync(handle: int, start: int, n_bytes: int) -> None:
    """Have Linux begin to write these bytes to the disk and wait for nothing, so that a later sync has little left."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):  # only advice
            os.posix_fadvise(handle, start, n_bytes, os.POSIX_FADV_DONTNEED)


class NewFile:
    """A new HDF5 file under a private name, which gets its own name only when complete and on disk.

    HDF5 writes through this object and never sees a failure: after one failed flush (disk full) it cannot close the
    file and crashes the process at exit (measured with HDF5 2.0: SIGSEGV). So the first error is kept, what follows
    is dropped, and `check` raises. A forked child that inherits the object writes nothing for the same reason, and
    moves no file offset, which it shares with its parent: the position is kept here.
    """

    def __init__(self, path: Path, temporary_stem: str):
        check_no_pipe(path)
        self.path = path
        self.error: OSError | None = None
        self._pid = os.getpid()
        self._temp = path.with_name(f".{temporary_stem}.{uuid.uuid4().hex}.tmp")
        self._position = 0
        try:
            self._raw = open(self._temp, "x+b", buffering=0)  # noqa: SIM115 (closed by publish or discard)
        except OSError as error:  # the name that the user knows
            raise OSError(error.errno, error.strerror, str(path)) from None
        self.h5 = h5py.File(self, "w", driver="fileobj", libver=("v110", "v110"))

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._position, os.fstat(self._raw.fileno()).st_size)[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        data = os.pread(self._raw.fileno(), size, self._position)
        self._position += len(data)
        return data

    def write(self, data: Any) -> int:
        self._attempt(self._write_all, memoryview(data))
        return len(data)

    def _write_all(self, view: memoryview) -> None:
        start, is_chunk = self._position, len(view) >= _CHUNK_BYTES // 2
        while view:
            written = os.pwrite(self._raw.fileno(), view, self._position)
            self._position += written
            view = view[written:]
        if is_chunk:
            _start_sync(self._raw.fileno(), start, self._position - start)

    def truncate(self, size: int) -> int:
        self._attempt(self._raw.truncate, size)
        return size

    def flush(self) -> None:
        """Do nothing: `publish` syncs once."""

    def _attempt(self, action: Callable[..., object], *arguments: Any) -> None:
        """Act, or keep the first error; after one, do nothing."""
        if self.error is None and os.getpid() != self._pid:
            self.error = OSError(errno.EPERM, "this file is being written by the process from which this one forked")
        if self.error is None:
            try:
                action(*arguments)
            except OSError as error:
                self.error = error

    def check(self) -> None:
        if self.error is not None:
            raise OSError(self.error.errno, self.error.strerror, str(self.path)) from self.error

    def publish(self, rename: Callable[[Path, Path], None] = os.replace) -> None:
        self.h5.close()
        self._attempt(os.fsync, self._raw.fileno())
        self._attempt(self._raw.close)
        self.check()
        rename(self._temp, self.path)
        sync_folder(self.path.parent)

    def discard(self) -> None:
        self.error = self.error or OSError(errno.ECANCELED, "discarded")
        self.h5.close()
        self._raw.close()
        if os.getpid() == self._pid:
            self._temp.unlink(missing_ok=True)


class RowAppender:
    """Append rows to a new chunked dataset, whole chunks at a time: the memory needed is one chunk."""

    def __init__(self, file: h5py.File, name: str, row_shape: tuple[int, ...], dtype: str, chunk_rows: int):
        chunk, grows = (chunk_rows, *row_shape), (None, *row_shape)
        self.dataset = file.create_dataset(name, (0, *row_shape), dtype, chunks=chunk, maxshape=grows)
        self.crc32: list[int] = []
        self.n_rows = 0
        self._buffer = np.zeros(chunk, dtype)
        self._held = 0

    def append(self, rows: np.ndarray) -> None:
        while len(rows):
            n = min(len(rows), len(self._buffer) - self._held)
            self._buffer[self._held : self._held + n] = rows[:n]
            self._held += n
            self.n_rows += n
            rows = rows[n:]
            if self._held == len(self._buffer):
                self.flush()

    def flush(self) -> None:
        if self._held:
            self.dataset.resize(self.n_rows, 0)
            offset = (self.n_rows - self._held,) + (0,) * (self._buffer.ndim - 1)
            self._buffer[self._held :] = 0
            self.dataset.id.write_direct_chunk(offset, self._buffer)
            self.crc32.append(zlib.crc32(self._buffer[: self._held]))
            self._held = 0


def chunk_rows_of(row_bytes: int, expected_rows: int, chunk_bytes: int = _CHUNK_BYTES) -> int:
    """Rows of a chunk of about `chunk_bytes`, so that the expected rows fill their last chunk."""
    n_chunks = -(-expected_rows * row_bytes // chunk_bytes)
    return max(1, -(-expected_rows // max(1, n_chunks)))


def open_file(path: str | os.PathLike[str]) -> h5py.File:
    """Open a finished HDF5 file for reading without file locks, which finished files do not need."""
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if "locking flag" not in str(error):
            raise
        return h5py.File(path, "r")  # this process has it open already, with locks: HDF5 refuses to mix the two


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """`open_file` as a context; what h5py raises inside becomes a TrajectoryError with the file's name."""
    with file_errors(path), open_file(path) as file:
        yield file


def attribute(node: Any, name: str, expected: type) -> Any:
    try:
        value = node.attrs[name]
    except TypeError as error:
        raise TrajectoryError(f"{node.file.filename}: attribute {name!r} is damaged: {error}") from None
    if isinstance(value, np.integer):
        value = int(value)
    elif isinstance(value, bytes):
        value = value.decode()
    if not isinstance(value, expected):
        raise TrajectoryError(f"{node.file.filename}: attribute {name!r} is {value!r}, expected {expected.__name__}")
    return value


def said(node: Any, name: str) -> str | None:
    """An attribute that is text, None where it is not there."""
    return attribute(node, name, str) if name in node.attrs else None


def write_attributes(node: Any, **values: Any) -> None:
    """Write attributes, text of fixed length.

    HDF5 keeps text of variable length in a heap without checksums, and hangs on some damaged ones (measured with 2.0).
    """
    for name, value in values.items():
        if isinstance(value, str):
            text = value.encode(errors="backslashreplace")
            node.attrs.create(name, text, dtype=h5py.string_dtype("utf-8", max(1, len(text))))
        else:
            node.attrs[name] = value


def check_local(dataset: h5py.Dataset, path: str | os.PathLike[str]) -> None:
    """Refuse a dataset whose bytes are not in the file at `path`, all of them.

    Raises
    ------
    TrajectoryError
        For external storage, a virtual dataset of another file, a dataset reached through a link into another file, or
        one that holds fewer bytes than its shape says.
    """
    try:
        _ = dataset.dtype
    except TypeError as error:
        raise TrajectoryError(f"{path}: {dataset.name!r} holds a type that NumPy has not: {error}") from None
    sources = dataset.virtual_sources() if dataset.is_virtual else []
    elsewhere = dataset.external or any(source.file_name != "." for source in sources)
    if elsewhere or Path(dataset.file.filename).resolve() != Path(path).resolve():
        raise TrajectoryError(f"{path}: {dataset.name!r} keeps its values in another file; expected them in this one.")
    for name in {source.dset_name for source in sources}:
        own_dataset(dataset.file, name)
    if dataset.chunks and not sources:
        expected = math.prod(-(-n // chunk) for n, chunk in zip(dataset.shape, dataset.chunks, strict=True))
        if (stored := dataset.id.get_num_chunks()) < expected:
            raise TrajectoryError(
                f"{path}: {dataset.name!r} holds {stored} chunks, expected {expected}; the file is damaged."
            )
    elif not sources and dataset.id.get_create_plist().get_nfilters() == 0:
        expected, stored = dataset.size * dataset.dtype.itemsize, dataset.id.get_storage_size()
        if stored < expected:
            raise TrajectoryError(
                f"{path}: {dataset.name!r} holds {stored} bytes, expected {expected}; the file is damaged."
            )


def own_dataset(file: h5py.File, name: str, dtype: str | None = None) -> h5py.Dataset:
    """The dataset `name`, which must be inside the file itself and of that dtype."""
    dataset = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
    if not isinstance(dataset, h5py.Dataset):
        raise TrajectoryError(f"{file.filename}: expected a dataset {name!r} inside the file, without links to others.")
    if dataset.is_virtual:
        raise TrajectoryError(
            f"{file.filename}: {name!r} is a virtual dataset; expected one that holds its own values."
        )
    check_local(dataset, file.filename)
    if dtype is not None and dataset.dtype != np.dtype(dtype):
        raise TrajectoryError(f"{file.filename}: {name!r} has dtype {dataset.dtype}, expected {np.dtype(dtype)}.")
    return dataset


def holds_whole_rows(dataset: h5py.Dataset) -> bool:
    """Whether rows lie in the file as in memory, without filters and in chunks, if any, that divide no row.

    Also whether HDF5 says where: before 1.12.3 it does not list chunks.
    """
    if dataset.is_virtual or dataset.id.get_create_plist().get_nfilters() or dataset.file.userblock_size:
        return False
    whole = dataset.dtype.isnative and (dataset.chunks or dataset.shape)[1:] == dataset.shape[1:]
    return whole and (dataset.chunks is None or hasattr(dataset.id, "chunk_iter"))


class DirectRows:
    """Where the rows of a dataset that `holds_whole_rows` lie, to be read past HDF5's lock, and its copy.

    All chunks are looked up at once: for a single one HDF5 goes through all of them.

    Raises
    ------
    TrajectoryError
        A chunk is not in the file.
    """

    def __init__(self, dataset: h5py.Dataset):
        self._chunk_rows, self._first_chunk = dataset.chunks[0] if dataset.chunks else len(dataset), 0
        self._row_bytes = int(np.prod(dataset.shape[1:])) * dataset.dtype.itemsize
        self._offsets = np.full(-(-len(dataset) // self._chunk_rows), -1)
        if dataset.chunks:
            dataset.id.chunk_iter(self._note)
        else:
            self._offsets[:] = dataset.id.get_offset()
        if len(absent := np.flatnonzero(self._offsets < 0)):
            where = f"{dataset.file.filename}: row {absent[0] * self._chunk_rows} of {dataset.name!r}"
            raise TrajectoryError(f"{where} is not there; the file is damaged.")

    def _note(self, chunk: Any) -> None:
        self._offsets[chunk.chunk_offset[0] // self._chunk_rows] = chunk.byte_offset

    def part(self, start: int, stop: int) -> DirectRows:
        """As much of this as reading the rows `start` ... `stop` - 1 needs; they keep their numbers."""
        some = copy.copy(self)
        some._first_chunk = start // self._chunk_rows
        chunks = slice(some._first_chunk - self._first_chunk, -(-stop // self._chunk_rows) - self._first_chunk)
        some._offsets = self._offsets[chunks]
        return some

    def read(self, file: BinaryIO, start: int, out: np.ndarray) -> None:
        """Fill `out`, C-contiguous and of the dataset's dtype, with the rows from `start` on.

        Raises
        ------
        TrajectoryError
            The file ends before the last row.
        """
        wanted, stop = out.reshape(-1).view(np.uint8), start + len(out)
        for chunk in range(start // self._chunk_rows, -(-stop // self._chunk_rows)):
            first = chunk * self._chunk_rows
            low, high = max(start, first), min(stop, first + self._chunk_rows)
            rows = wanted[(low - start) * self._row_bytes : (high - start) * self._row_bytes]
            offset = int(self._offsets[chunk - self._first_chunk]) + (low - first) * self._row_bytes
            if os.preadv(file.fileno(), [rows], offset) != len(rows):
                raise TrajectoryError(f"{file.name}: ends before row {high - 1}; it was cut after it was opened.")


def read_names(file: h5py.File, name: str, n_samples: int) -> np.ndarray:
    """Read "labels" or "ids", one a sample, and hold them against their checksum, where there is one."""
    dataset = own_dataset(file, name, "<i8" if name == "labels" else None)
    values = read_column(dataset, n_samples)
    if "crc32" in dataset.attrs and attribute(dataset, "crc32", int) != _names_crc32(values):
        raise TrajectoryError(f"{file.filename}: the checksum of {name!r} does not hold: the file is damaged")
    return values


def _names_crc32(values: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(values, "<i8") if values.dtype.kind != "O" else "\0".join(values).encode())


def read_column(dataset: h5py.Dataset, n_samples: int) -> np.ndarray:
    """Read numbers or texts, one a sample; raises before memory is taken where the dataset has another size."""
    if dataset.size != n_samples:
        raise TrajectoryError(
            f"{dataset.file.filename}: {dataset.name!r} has shape {dataset.shape}; expected one a sample, "
            f"({n_samples},)."
        )
    return read_ids(dataset)


def read_ids(dataset: h5py.Dataset) -> np.ndarray:
    """Read sample ids: int64, or an object array of str."""
    return dataset.asstr()[()] if h5py.check_string_dtype(dataset.dtype) else dataset[()]


def check_format(file: h5py.File, expected: str) -> int:
    found, version = attribute(file, "format", str), attribute(file, "format_version", int)
    if found != expected:
        raise TrajectoryError(f"{file.filename}: format is {found!r}, expected {expected!r}")
    if version > FORMAT_VERSION:
        raise TrajectoryError(f"{file.filename}: format version {version} is newer than {FORMAT_VERSION}; update tdds")
    return version


def write_names(file: h5py.File, labels: Any, ids: Any) -> None:
    for name, values in (("labels", labels), ("ids", ids)):
        if values is not None:
            stored = values
            if values.dtype.kind == "O":  # text of fixed length, as for attributes
                encoded = [value.encode() for value in values]
                stored = np.array(encoded, h5py.string_dtype("utf-8", max(1, *map(len, encoded))))
            dataset = file.create_dataset(name, data=stored)
            write_attributes(dataset, crc32=np.uint32(_names_crc32(values)))
