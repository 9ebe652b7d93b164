"""Is a store, or a packed file, whole? Every shard is opened, every checksum held against its values."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tdds.store import reader
from tdds.store.hdf5 import attribute, opened, own_dataset
from tdds.store.values import STORED
from tdds.validation import TrajectoryError


@dataclass
class EpochReport:
    """One epoch as it was found.

    Attributes
    ----------
    epoch : int
    problems : list of str
        Damaged or missing shards, one sentence each; empty where the epoch is whole.
    shards : list of Path
        Those that are whole, in the order of their parts.
    n_rows : int
    n_missing : int
        Samples that no row names.
    n_duplicates : int
        Rows beyond a sample's first.
    """

    epoch: int
    problems: list[str] = field(default_factory=list)
    shards: list[Path] = field(default_factory=list)
    n_rows: int = 0
    n_missing: int = 0
    n_duplicates: int = 0


@dataclass
class VerifyReport:
    """What `verify` found.

    Attributes
    ----------
    path : Path
    epochs : list of EpochReport
        Every epoch of which a shard is there, or that a later one proves missing.
    strangers : list of str
        Files that look like shards but do not belong.
    """

    path: Path
    epochs: list[EpochReport] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """Every problem, one sentence each, once where several epochs have it."""
        return list(dict.fromkeys([problem for epoch in self.epochs for problem in epoch.problems] + self.strangers))

    @property
    def n_whole(self) -> int:
        """Epochs from 0 up to the first problem."""
        bad = [report.epoch for report in self.epochs if report.problems]
        return min(bad, default=len(self.epochs))


def verify(path: str | os.PathLike[str]) -> VerifyReport:
    """Check every value of a store or of a packed file against its checksum.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    VerifyReport

    Raises
    ------
    FileNotFoundError, TrajectoryError
        When there is no store or packed file, or what it says of itself cannot be read.
    """
    header = reader.read_header(path)
    return _verify_store(header) if header.path.is_dir() else _verify_packed(header)


def _verify_store(header: reader.StoreHeader) -> VerifyReport:
    parts, strangers = reader.scan_shards(header)
    report = VerifyReport(header.path)
    report.strangers = [f"{entry}: is no shard of this store of {header.n_parts} parts" for entry in strangers]
    n_epochs = max((max(own, default=-1) for own in parts), default=-1) + 1
    for epoch in range(n_epochs):
        found = EpochReport(epoch)
        samples = [np.empty(0, np.int64)]
        # A part that has not come to this epoch, in a run still going or killed, is no damage.
        growing = any(epoch > max(own, default=-1) for own in parts)
        for part, own in enumerate(parts):
            shard_path = reader.shard_path(header.path, epoch, part, header.n_parts)
            if epoch not in own and not shard_path.exists():  # it may be written since the folder was read
                if epoch < max(own, default=-1):
                    found.problems.append(f"{shard_path}: missing, though later epochs are there")
                continue
            try:
                with reader.open_shard(shard_path, header) as shard:
                    for start in range(0, shard.n_rows, shard.chunk_rows):
                        shard.read(start, start + shard.chunk_rows)
                    samples.append(shard.index)
                    found.n_rows += shard.n_rows
                found.shards.append(shard_path)
            except (TrajectoryError, FileNotFoundError) as error:
                found.problems.append(str(error))
        if growing and not found.problems:
            continue
        # Sorting is many times as fast as np.unique, which took most of the time where classes are few.
        n_named = int(np.count_nonzero(np.diff(np.sort(np.concatenate(samples)), prepend=-1)))
        found.n_missing = header.n_samples - n_named
        found.n_duplicates = found.n_rows - n_named
        report.epochs.append(found)
    return report


def _verify_packed(header: reader.StoreHeader) -> VerifyReport:
    """A chunk of a packed file holds all epochs of its samples: one bad chunk damages every epoch."""
    report = VerifyReport(
        header.path, [EpochReport(epoch, n_rows=header.n_samples) for epoch in range(header.n_epochs or 0)]
    )
    try:
        with opened(header.path) as file:
            attribute(file, "run_id", str)
            values, crc32 = own_dataset(file, "values", STORED[header.dtype]), own_dataset(file, "crc32", "<u4")[()]
            chunk_rows = (values.chunks or (header.n_samples,))[0]
            if len(crc32) != -(-header.n_samples // chunk_rows):
                raise TrajectoryError(f"{header.path}: {len(crc32)} checksums do not cover {header.n_samples} samples")
            for start in range(0, header.n_samples, chunk_rows):
                reader.check_chunks(header.path, values[start : start + chunk_rows], start, chunk_rows, crc32)
    except TrajectoryError as error:
        for found in report.epochs:
            found.problems.append(str(error))
    return report
