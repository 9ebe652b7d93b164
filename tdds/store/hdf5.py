"""HDF5 files that are written whole or not at all, and read with suspicion."""

from __future__ import annotations

import errno
import os
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tdds.validation import TrajectoryError, file_errors

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


class NewFile:
    """A new HDF5 file under a private name, which gets its own name only when complete and on disk.

    HDF5 writes through this object and never sees a failure: after one failed flush (disk full) it cannot close the
    file and crashes the process at exit (measured with HDF5 2.0: SIGSEGV). So the first error is kept, what follows
    is dropped, and `check` raises. A forked child that inherits the object writes nothing for the same reason.
    """

    def __init__(self, path: Path, temporary_stem: str):
        self.path = path
        self.error: OSError | None = None
        self._pid = os.getpid()
        self._temp = path.with_name(f".{temporary_stem}.{uuid.uuid4().hex}.tmp")
        self._raw = open(self._temp, "x+b", buffering=0)  # noqa: SIM115 (closed by publish or discard)
        self.h5 = h5py.File(self, "w", driver="fileobj", libver=("v110", "v110"))

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()

    def read(self, size: int = -1) -> bytes:
        return self._raw.read(size) or b""

    def readinto(self, buffer: Any) -> int | None:
        return self._raw.readinto(buffer)

    def write(self, data: Any) -> int:
        view = memoryview(data)
        with self._kept_error():
            while view:
                view = view[self._raw.write(view) :]
        return len(data)

    def truncate(self, size: int) -> int:
        with self._kept_error():
            self._raw.truncate(size)
        return size

    def flush(self) -> None:
        """Do nothing: `publish` syncs once."""

    @contextmanager
    def _kept_error(self) -> Iterator[None]:
        try:
            self.check()
            if os.getpid() != self._pid:
                raise OSError(errno.EPERM, "this file is being written by another process, from which this one forked")
            yield
        except OSError as error:
            self.error = self.error or error

    def check(self) -> None:
        if self.error is not None:
            raise OSError(self.error.errno, self.error.strerror, str(self.path)) from self.error

    def publish(self, rename: Callable[[Path, Path], None] = os.replace) -> None:
        self.h5.close()
        self.check()
        os.fsync(self._raw.fileno())
        self._raw.close()
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
    value = node.attrs[name]
    if isinstance(value, np.integer):
        value = int(value)
    if not isinstance(value, expected):
        raise TrajectoryError(f"{node.file.filename}: attribute {name!r} is {value!r}, expected {expected.__name__}")
    return value


def check_local(dataset: h5py.Dataset, path: str | os.PathLike[str]) -> None:
    """Refuse a dataset whose bytes are not in the file at `path`, all of them.

    Raises
    ------
    TrajectoryError
        For external storage, a virtual dataset, a dataset reached through a link into another file, or one that
        holds fewer bytes than its shape says.
    """
    if dataset.external or dataset.is_virtual or Path(dataset.file.filename).resolve() != Path(path).resolve():
        raise TrajectoryError(f"{path}: {dataset.name!r} keeps its values in another file; expected them in this one.")
    if dataset.id.get_create_plist().get_nfilters() == 0:
        expected, stored = dataset.size * dataset.dtype.itemsize, dataset.id.get_storage_size()
        if stored < expected:
            raise TrajectoryError(
                f"{path}: {dataset.name!r} holds {stored} bytes, expected {expected}; the file is damaged."
            )


def own_dataset(file: h5py.File, name: str, dtype: str | None = None) -> h5py.Dataset:
    """The dataset `name`, which must be inside the file itself and of that dtype."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
        raise TrajectoryError(f"{file.filename}: expected a dataset {name!r} inside the file, without links to others.")
    check_local(file[name], file.filename)
    if dtype is not None and file[name].dtype != np.dtype(dtype):
        raise TrajectoryError(f"{file.filename}: {name!r} has dtype {file[name].dtype}, expected {np.dtype(dtype)}.")
    return file[name]


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
    if labels is not None:
        file.create_dataset("labels", data=labels, dtype="<i8")
    if ids is not None:
        text = ids.dtype.kind == "O"
        file.create_dataset("ids", data=ids, dtype=h5py.string_dtype() if text else "<i8")
