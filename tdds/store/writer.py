"""The writing side: epochs of one process, each whole or absent."""

from __future__ import annotations

import errno
import os
import re
import uuid
import weakref
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from tdds._version import __version__
from tdds.store import reader
from tdds.store.hdf5 import (
    FORMAT,
    FORMAT_VERSION,
    NewFile,
    RowAppender,
    chunk_rows_of,
    sync_folder,
    write_attributes,
    write_names,
)
from tdds.store.reader import HEADER_NAME, StoreHeader
from tdds.store.values import RANGES, STORED, dtype_name, encode
from tdds.validation import TrajectoryError, check_choice, check_ids, check_integer, check_labels

_INDEX_CHUNK_ROWS = 1 << 16
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class TrajectoryWriter:
    """Record a training trajectory, epoch by epoch, into a store that survives being killed.

    An epoch is on disk, whole, when `end_epoch` returns; until then nobody can mistake it for whole. Memory is about
    one chunk (half a MiB) whatever the size of an epoch. Use it from one thread at a time.

    Parameters
    ----------
    path : path-like
        Directory of the store; made if need be.
    n_samples : int
    n_classes : int or None
        None (or 0) for ``kind="losses"``.
    kind : {"probs", "logits", "log_probs", "losses"}, default "probs"
    dtype : {"float16", "float32", "float64", "bfloat16", "log8"}, default "float16"
        What is stored. "log8" is a code of one byte, for ``kind="probs"``: half the disk, at 1 to 7 % of a probability
        (docs/store.md).
    labels : array-like of shape (n_samples,), optional
        Integers in [0, n_classes).
    ids : array-like of shape (n_samples,), optional
        Names of the samples, text or integers.
    split : str, optional
        Write into this sub-directory, a store of its own: "train", "validation".
    part, n_parts : int, default 0 and 1
        This process and how many write the store together (rank and world size). They must agree in all the rest.
    resume : bool, default False
        Continue after the last whole epoch of all parts; what this part has beyond it is dropped. On an empty or
        half-made path this starts at epoch 0.
    keep_epochs : int, optional
        With ``resume=True``: keep only this many epochs, those that the checkpoint has seen.

    Attributes
    ----------
    path : Path
    run_id : str
    n_epochs : int
        Whole epochs: those found on resuming and those ended since. The next is number `n_epochs`.

    Raises
    ------
    FileExistsError
        When this part already has epochs in `path` and `resume` is False.
    TrajectoryError
        When the store there is another one (shape, kind, dtype, labels ...; named) or is damaged.
    TypeError, ValueError
        For a bad argument.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> folder = tempfile.TemporaryDirectory()
    >>> with TrajectoryWriter(folder.name, n_samples=3, n_classes=2) as writer:
    ...     for epoch in range(4):
    ...         writer.write([2, 0, 1], np.full((3, 2), 0.5))
    ...         writer.end_epoch()
    >>> writer.n_epochs
    4
    >>> folder.cleanup()
    """

    _index_crc32: int

    def __init__(
        self,
        path: str | os.PathLike[str],
        n_samples: int,
        n_classes: int | None,
        *,
        kind: str = "probs",
        dtype: Any = "float16",
        labels: Any = None,
        ids: Any = None,
        split: str | None = None,
        part: int = 0,
        n_parts: int = 1,
        resume: bool = False,
        keep_epochs: int | None = None,
    ):
        check_choice("kind", kind, tuple(RANGES))
        n_samples, n_parts = check_integer("n_samples", n_samples, 1), check_integer("n_parts", n_parts, 1)
        if check_integer("part", part, 0) >= n_parts:
            raise ValueError(f"part={part} of n_parts={n_parts}; expected 0 to {n_parts - 1}.")
        if kind == "losses" and n_classes:
            raise ValueError(f"n_classes={n_classes} with kind='losses', one number a sample; pass n_classes=None.")
        classes = None if kind == "losses" else check_integer("n_classes", n_classes, 1)
        if split is not None and (not split or split.startswith(".") or Path(split).name != split):
            raise ValueError(f"split={split!r} must be the name of one sub-directory.")
        if keep_epochs is not None and not resume:
            raise ValueError("keep_epochs has a meaning only with resume=True.")
        self.path = Path(path) if split is None else Path(path, split)
        wanted = StoreHeader(
            path=self.path,
            run_id=uuid.uuid4().hex,
            n_samples=n_samples,
            n_classes=classes,
            kind=kind,
            dtype=dtype_name(dtype, kind),
            n_parts=n_parts,
            created_by=__version__,
            format_version=FORMAT_VERSION,
            labels=None if labels is None else check_labels(labels, n_samples, classes),
            ids=None if ids is None else check_ids(ids, n_samples),
        )
        self._part = part
        self._header = _create_or_read_header(wanted, part)
        self.run_id = self._header.run_id
        self.n_epochs = _prepare(self._header, part, resume, keep_epochs)
        row_bytes = np.dtype(STORED[wanted.dtype]).itemsize * (classes or 1)
        self._chunk_rows = chunk_rows_of(row_bytes, -(-n_samples // n_parts))
        self._index_dtype = "<i4" if n_samples <= np.iinfo(np.int32).max else "<i8"
        self._closed = False
        self._reset()

    def __repr__(self) -> str:
        return f"<TrajectoryWriter {self.path}: {self.n_epochs} epochs, {self._n_rows} rows of the next>"

    def write(self, index: Any, values: Any) -> None:
        """Record predictions of the current epoch; a rejected call records nothing and harms nothing before it.

        Parameters
        ----------
        index : array-like of int, shape (n_rows,), or slice, or None
            The sample of each row, in any order; None means all samples in order. A sample that comes twice in an
            epoch keeps the later value on reading.
        values : array-like of float, shape (n_rows, n_classes), or (n_rows,) for losses
            bfloat16 as an ml_dtypes array. Where the store's dtype is bfloat16 or log8, also its uint16 or uint8.

        Raises
        ------
        TypeError, ValueError
            Wrong type, shape, or a sample out of range.
        TrajectoryError
            A value that is no number of its kind, or too large for the dtype: sample and epoch are named.
        OSError
            The disk is full, or worse. The epoch is lost, earlier ones are whole: call `abandon_epoch` to go on.
        """
        self._check_usable()
        samples = self._checked_index(index)
        rows = self._checked_values(values, len(samples))
        if not len(samples):
            return
        blocks = range(0, len(samples), self._chunk_rows)
        encoded = np.empty(0)
        for at in blocks:
            encoded = self._encode(samples, rows, at)
        with self._fatal_to_epoch():
            if self._file is None:
                self._begin()
            for at in blocks:
                ours = samples[at : at + self._chunk_rows].astype(self._index_dtype)
                self._values.append(encoded if len(blocks) == 1 else self._encode(samples, rows, at))
                self._index.append(ours)
                self._index_crc32 = zlib.crc32(ours, self._index_crc32)
            self._file.check()
        self._n_rows += len(samples)

    def end_epoch(self) -> None:
        """Put the epoch on disk, whole; when this returns it survives a kill and a power cut.

        Raises
        ------
        TrajectoryError
            When nothing was written since the last epoch, or another writer has put this epoch there.
        OSError
            As for `write`.
        """
        self._check_usable()
        if not self._n_rows:
            raise TrajectoryError(f"Epoch {self.n_epochs} has no rows: call write(index, values) before end_epoch().")
        with self._fatal_to_epoch():
            for rows in (self._values, self._index):
                rows.flush()
            write_attributes(self._index.dataset, crc32=np.uint32(self._index_crc32))
            self._file.h5.create_dataset("crc32", data=np.array(self._values.crc32, "<u4"))
            header = self._header
            write_attributes(
                self._file.h5,
                format=FORMAT,
                format_version=FORMAT_VERSION,
                run_id=header.run_id,
                epoch=self.n_epochs,
                part=self._part,
                n_parts=header.n_parts,
                kind=header.kind,
                dtype=header.dtype,
                encoding="plain",
                created_by=__version__,
            )
            try:
                self._file.publish(_rename_to_new)
            except FileExistsError:
                raise TrajectoryError(
                    f"Another writer of part {self._part} has put epoch {self.n_epochs} into {self.path} since this "
                    "one opened it; give each run a path of its own, and each of its processes a part."
                ) from None
        self.n_epochs += 1
        self._finalizer.detach()
        self._reset()

    def abandon_epoch(self) -> None:
        """Drop what was written since the last whole epoch, after an error too; the next `write` starts it anew."""
        if self._file is not None:
            self._finalizer()
        self._reset()

    def close(self) -> None:
        """Close the writer.

        Raises
        ------
        TrajectoryError
            When rows were written that `end_epoch` has not ended: they are dropped, since a half epoch must not pass
            for a whole one, but never silently.
        """
        n_rows, failed = self._n_rows, self._failure is not None
        self.abandon_epoch()
        self._closed = True
        if n_rows and not failed:
            raise TrajectoryError(
                f"{n_rows} rows of epoch {self.n_epochs} were written to {self.path} but the epoch was not ended, so "
                "they are dropped; call end_epoch() after each epoch, or abandon_epoch() to drop them knowingly."
            )

    def __enter__(self) -> TrajectoryWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is not None:
            self.abandon_epoch()
        self.close()

    def _reset(self) -> None:
        self._file: Any = None
        self._failure: BaseException | None = None
        self._n_rows = 0
        self._index_crc32 = 0

    def _begin(self) -> None:
        path = reader.shard_path(self.path, self.n_epochs, self._part, self._header.n_parts)
        self._file = NewFile(path, path.stem)
        # Runs when the writer is forgotten, too, and before HDF5's own handlers at exit.
        self._finalizer = weakref.finalize(self, self._file.discard)
        row_shape, dtype = self._header.row_shape, STORED[self._header.dtype]
        self._values = RowAppender(self._file.h5, "values", row_shape, dtype, self._chunk_rows)
        index_chunk = min(_INDEX_CHUNK_ROWS, -(-self._header.n_samples // self._header.n_parts))
        self._index = RowAppender(self._file.h5, "index", (), self._index_dtype, index_chunk)

    @contextmanager
    def _fatal_to_epoch(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._failure = error
            if self._file is not None:
                try:
                    self._file.check()  # the system's own words, where HDF5 paraphrases them
                finally:
                    self._finalizer()
            raise

    def _check_usable(self) -> None:
        if self._closed:
            raise ValueError(f"The writer of {self.path} is closed.")
        if self._failure is not None:
            raise TrajectoryError(
                f"Epoch {self.n_epochs} of {self.path} failed earlier ({self._failure}) and is lost; earlier epochs "
                "are whole. Call abandon_epoch() to go on with the next."
            ) from self._failure

    def _checked_index(self, index: Any) -> np.ndarray:
        n_samples = self._header.n_samples
        if index is None or isinstance(index, slice):
            return np.arange(n_samples)[slice(None) if index is None else index]
        samples = np.asarray(index)
        if samples.ndim != 1:
            raise ValueError(f"index must have shape (n_rows,), the sample of each row; got shape {samples.shape}.")
        if len(samples) and samples.dtype.kind not in "iu":
            raise TypeError(f"index must hold integers, the sample of each row; got dtype {samples.dtype}.")
        if len(samples) and not (samples.min() >= 0 and samples.max() < n_samples):
            row = int(np.argmax((samples < 0) | (samples >= n_samples)))
            raise ValueError(
                f"index names sample {samples[row]} (row {row}), expected 0 to {n_samples - 1}; nothing was recorded."
            )
        return samples

    def _checked_values(self, values: Any, n_rows: int) -> np.ndarray:
        rows = np.asarray(values)
        is_bfloat16 = rows.dtype.kind != "f" and rows.dtype.name == "bfloat16"
        stored = self._header.dtype
        coded = is_bfloat16 or (stored in ("bfloat16", "log8") and rows.dtype == STORED[stored])
        if rows.dtype.kind != "f" and not coded:
            raise TypeError(
                f"values must be floating point, got dtype {rows.dtype}; uint16 is read as bfloat16 and uint8 as log8 "
                "only where that is the store's dtype."
            )
        if rows.shape != (n_rows, *self._header.row_shape):
            raise ValueError(
                f"values have shape {rows.shape}, expected {(n_rows, *self._header.row_shape)}: "
                "a row for each sample of index."
            )
        return rows.view(np.uint16) if is_bfloat16 else rows

    def _encode(self, samples: np.ndarray, rows: np.ndarray, at: int) -> np.ndarray:
        return encode(
            rows[at : at + self._chunk_rows],
            self._header.kind,
            self._header.dtype,
            lambda position: f"Sample {samples[at + position[0]]} at epoch {self.n_epochs}",
        )


def _create_or_read_header(wanted: StoreHeader, part: int) -> StoreHeader:
    """The header of the store: ours where there was none, else the one there, checked to agree."""
    new_folders = [folder for folder in (wanted.path, *wanted.path.parents) if not folder.exists()]
    wanted.path.mkdir(parents=True, exist_ok=True)
    for folder in new_folders or [wanted.path]:
        sync_folder(folder.parent)
    if not reader.is_store(wanted.path):
        new = NewFile(wanted.path / HEADER_NAME, f"store.part-{part}-of-{wanted.n_parts}")
        try:
            named = ("run_id", "n_samples", "n_classes", "kind", "dtype", "n_parts", "created_by")
            known = {name: getattr(wanted, name) for name in named if getattr(wanted, name) is not None}
            write_attributes(new.h5, format=FORMAT, format_version=FORMAT_VERSION, **known)
            write_names(new.h5, wanted.labels, wanted.ids)
            new.publish(_rename_to_new)
        except FileExistsError:
            pass  # another process was first
        finally:
            new.discard()
    found = reader.read_header(wanted.path)
    _check_agreement(wanted, found)
    return found


def _rename_to_new(temporary: Path, path: Path) -> None:
    """Rename a file unless the name is taken, in one step; where there are no hard links, in two."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS or path.exists():
            raise
        os.replace(temporary, path)
    else:
        temporary.unlink()


def _check_agreement(wanted: StoreHeader, found: StoreHeader) -> None:
    for name in ("n_samples", "n_classes", "kind", "dtype", "n_parts"):
        ours, theirs = getattr(wanted, name), getattr(found, name)
        if ours != theirs:
            raise TrajectoryError(
                f"{wanted.path} is a store of {name}={theirs!r}, this writer has {name}={ours!r}; "
                "pass another path, or what the store has."
            )
    for name in ("labels", "ids"):
        ours, theirs = getattr(wanted, name), getattr(found, name)
        if ours is not None and (theirs is None or not np.array_equal(ours, theirs)):
            state = "has none" if theirs is None else "has others"
            raise TrajectoryError(f"{name} were given, but the store {wanted.path} {state}; pass another path.")


def _prepare(header: StoreHeader, part: int, resume: bool, keep_epochs: int | None) -> int:
    """Clear what earlier processes of this part left half done; returns the epoch to go on with."""
    epochs, _ = reader.scan_shards(header)
    own, whole = epochs[part], reader.n_whole(epochs)
    if own and not resume:
        raise FileExistsError(
            f"{header.path} already holds {len(own)} epochs of part {part}; "
            "pass resume=True to continue, or another path."
        )
    for gap_part, epoch in reader.find_gaps(epochs):
        raise TrajectoryError(
            f"{reader.shard_path(header.path, epoch, gap_part, header.n_parts)} is missing though later epochs "
            "are there; put it back, or move the later ones away."
        )
    keep = whole if keep_epochs is None else check_integer("keep_epochs", keep_epochs, 0)
    if keep > whole:
        raise ValueError(f"keep_epochs={keep}, but {header.path} holds only {whole} whole epochs.")
    if keep:  # nothing is removed where the epoch to go on from is damaged
        with reader.open_shard(reader.shard_path(header.path, keep - 1, part, header.n_parts), header):
            pass
    _remove_temporaries(header, part)
    for epoch in sorted(own, reverse=True):
        if epoch >= keep:
            reader.shard_path(header.path, epoch, part, header.n_parts).unlink()
    sync_folder(header.path)
    return keep


def _remove_temporaries(header: StoreHeader, part: int) -> None:
    """Remove what dead writers of this part left; a living one then fails to end its epoch, as it should."""
    suffix = "" if header.n_parts == 1 else rf"\.part-{part}-of-{header.n_parts}"
    pattern = re.compile(rf"\.(epoch-\d+{suffix}|store\.part-{part}-of-{header.n_parts})\.[0-9a-f]{{32}}\.tmp")
    for entry in header.path.iterdir():
        if pattern.fullmatch(entry.name):
            entry.unlink(missing_ok=True)
