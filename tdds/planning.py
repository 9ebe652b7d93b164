"""How a trajectory is read: in what blocks, by how many workers, in what order on disk; all within a memory limit."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
from joblib.parallel import get_active_backend

from tdds.scores import Score
from tdds.sources import ArrayTrajectory, ArrivalTrajectory, EpochStream, Trajectory, roomy_folder
from tdds.validation import check_real

MEMORY_LIMIT = 256
"""Default bound of the engine's buffers, all threads together, in MiB."""

BLOCK_BYTES = 1 << 22  # no larger than this where the source does not gain from it: blocks stay in the cache
_TASK_BYTES = 1 << 26  # a task is this much reading: small enough to show progress, large enough to start for
_PASSES = 4  # through logs in arrival order, row by row, take longer than sorting them in runs
_TASKS = 16  # or so, a worker: a cluster's scheduler takes milliseconds for each


def count_epochs(trajectory: Trajectory, scores: Mapping[str, Score]) -> int | None:
    """How many epochs the scores read, None for all of a stream; raises where the trajectory has too few."""
    in_memory = isinstance(trajectory, ArrayTrajectory)
    epochs = [score.check(trajectory.n_epochs, in_memory=in_memory) for score in scores.values()]
    return None if None in epochs else max(epochs)  # type: ignore[type-var]


@dataclass(frozen=True)
class Plan:
    """How a trajectory is read: its epochs, blocks of samples x epochs, tasks of so many samples, by workers."""

    start: int
    stop: int | None  # one past the last epoch; None for all of a stream
    block: tuple[int, int]
    task_samples: int
    n_workers: int

    @property
    def n_epochs(self) -> int | None:
        return None if self.stop is None else self.stop - self.start


def plan_reading(trajectory: Trajectory, scores: Mapping[str, Score], memory_limit: float, n_jobs: int | None) -> Plan:
    stop = count_epochs(trajectory, scores)
    streams = isinstance(trajectory, EpochStream)
    start = 0 if stop is None or streams else min(one.span(one.check(stop) or 0)[0] for one in scores.values())
    n_epochs = None if stop is None else stop - start
    n_series = len({score.series(trajectory.kind) for score in scores.values()})
    backend, in_force = get_active_backend(prefer="threads")  # joblib's `effective_n_jobs` asks that of processes
    n_jobs = in_force if n_jobs is None else n_jobs
    n_workers = 1 if streams else backend.effective_n_jobs(n_jobs)
    check_real("memory_limit", memory_limit, 1, np.inf)
    share = -(-trajectory.n_samples // n_workers)
    block = block_shape(trajectory, n_epochs, share, int(min(memory_limit, 2**40) * 2**20) // n_workers, n_series)
    return Plan(start, stop, block, task_rows(trajectory, n_epochs, share, block[0]), n_workers)


def task_rows(trajectory: Trajectory, n_epochs: int | None, share: int, rows: int) -> int:
    """Samples of a task, whole blocks of `rows`, where a worker's share is `share` of them.

    No more than the share, so that every worker has a task; no fewer than what `_TASK_BYTES` hold, nor than one in
    `_TASKS` of the share, so that a scheduler has few enough.
    """
    least = max(_TASK_BYTES // ((n_epochs or 2) * row_bytes(trajectory)), share // _TASKS)
    return -(-min(least, share) // rows) * rows if least > rows else rows


def block_shape(
    trajectory: Trajectory, n_epochs: int | None, n_samples: int, memory: int, n_series: int = 1
) -> tuple[int, int]:
    """Samples, at most `n_samples`, and epochs of a block that `memory` bytes hold beside `n_series` numbers an epoch.

    All epochs of some samples where the source's chunks allow it, no more of them than the cache holds; else as many
    samples as fit beside two epochs or one chunk of them. Such blocks share an epoch, so that whole chunks are read.
    """
    chunk_rows, chunk_epochs = min(trajectory.chunk[0], n_samples), trajectory.chunk[1]
    if isinstance(trajectory, EpochStream):
        return trajectory.n_samples, 2
    assert n_epochs is not None
    epoch_bytes, series_bytes = row_bytes(trajectory), 2 * 8 * n_epochs * n_series  # in pieces, and joined
    sample_bytes = n_epochs * epoch_bytes + series_bytes
    if chunk_rows * sample_bytes <= memory:
        cached = min(BLOCK_BYTES, memory) // sample_bytes
        return max(chunk_rows, cached // chunk_rows * chunk_rows), n_epochs
    least = min(n_epochs, chunk_epochs + 1)
    if least * epoch_bytes + series_bytes > memory:  # a chunk of no more than one sample
        least = min(n_epochs, 2)
    rows = max(1, min(chunk_rows, memory // (least * epoch_bytes + series_bytes)))
    width = max(least, min(n_epochs, (memory // rows - series_bytes) // epoch_bytes))
    if width < n_epochs:
        width -= (width - 1) % chunk_epochs if width > chunk_epochs else 0
    return rows, width


def row_bytes(trajectory: Trajectory) -> int:
    """Bytes that one epoch of one sample takes: in the buffer, and while it is read."""
    return 2 * trajectory.buffer_dtype.itemsize * (trajectory.n_classes or 1)


def goes_through_often(trajectory: Trajectory, plan: Plan) -> bool:
    """Whether logs in arrival order, read as they are, would be gone through once for each of many blocks."""
    return isinstance(trajectory, ArrivalTrajectory) and plan.block[0] * _PASSES < trajectory.n_samples


def in_runs(trajectory: Trajectory, plan: Plan) -> AbstractContextManager[Trajectory]:
    """`trajectory`; in sorted runs in a temporary folder where it `goes_through_often` and the disk holds it twice."""
    folder = roomy_folder()
    n_bytes = trajectory.n_samples * (plan.n_epochs or 0) * row_bytes(trajectory) // 2
    worth = goes_through_often(trajectory, plan) and shutil.disk_usage(folder).free > 2 * n_bytes
    return trajectory.in_runs(folder) if worth else nullcontext(trajectory)
