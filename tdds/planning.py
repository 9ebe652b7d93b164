"""How a trajectory is read: in what blocks, by how many workers, in what order on disk; all within a memory limit."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib.parallel import get_active_backend

from tdds.scores import Score, Series
from tdds.sources import ArrayTrajectory, ArrivalTrajectory, EpochStream, Trajectory, roomy_folder
from tdds.validation import check_real

MEMORY_LIMIT = 256
"""Default bound of the engine's buffers, all threads together, in MiB."""

BLOCK_BYTES = 1 << 22  # no larger than this where the source does not gain from it: blocks stay in the cache
_TASK_BYTES = 1 << 26  # a task is this much reading: small enough to show progress, large enough to start for
_PASSES = 4  # more than these through logs in arrival order take longer than sorting them first
_TASKS = 16  # a worker, about, at most: a cluster's scheduler takes milliseconds for each


def count_epochs(trajectory: Trajectory, scores: Mapping[str, Score]) -> int | None:
    """How many epochs the scores read, None for all of a stream; raises where the trajectory has too few."""
    try:
        epochs = [score.check(trajectory.n_epochs) for score in scores.values()]
    except ValueError as error:
        if hint := _axes_hint(trajectory, scores):
            raise ValueError(f"{error}{hint}") from None
        raise
    return None if None in epochs else max(epochs)  # type: ignore[type-var]


def _axes_hint(trajectory: Trajectory, scores: Mapping[str, Score]) -> str:
    """The end of the sentence on an array that has too few epochs."""
    if not isinstance(trajectory, ArrayTrajectory) or trajectory.n_epochs is None:
        return ""
    if trajectory.n_epochs == 1:
        return " (n_features = 1)"  # scikit-learn's checks look for it
    too_large = any((getattr(score, "T", None) or 0) > trajectory.n_epochs for score in scores.values())
    return " If its first axis is the epochs, pass axes='TNC'." if too_large and trajectory.axes[0] == "N" else ""


def span_of(score: Score, n_epochs: int) -> tuple[int, int]:
    """First and one past the last of `n_epochs` that count for `score`."""
    return score.span(score.check(n_epochs) or 0)


@dataclass(frozen=True)
class Plan:
    """How a trajectory is read: which series at which epochs, in what blocks and tasks, by how many workers."""

    series: Mapping[str, Series]  # of each score
    spans: Mapping[Series, tuple[int, int | None]]  # first and one past the last epoch at which each is wanted
    n_epochs: int | None  # None for all of a stream
    block: tuple[int, int]  # samples and epochs
    task_samples: int
    n_workers: int


def plan_reading(trajectory: Trajectory, scores: Mapping[str, Score], memory_limit: float, n_jobs: int | None) -> Plan:
    """The plan of one reading for all `scores`; `memory_limit` in MiB, `n_jobs` as for `score_trajectory`."""
    n_epochs = count_epochs(trajectory, scores)
    series: dict[str, Any] = {name: score.series(trajectory.kind) for name, score in scores.items()}
    spans: dict[Series, tuple[int, int | None]] = dict.fromkeys(series.values(), (0, None))
    if n_epochs is not None:
        for one in spans:
            wanted = [span_of(score, n_epochs) for name, score in scores.items() if series[name] == one]
            spans[one] = min(first for first, _ in wanted), max(last for _, last in wanted)
    backend, in_force = get_active_backend(prefer="threads")  # joblib's `effective_n_jobs` asks that of processes
    n_jobs = in_force if n_jobs is None else n_jobs
    n_workers = 1 if isinstance(trajectory, EpochStream) else backend.effective_n_jobs(n_jobs)
    check_real("memory_limit", memory_limit, 1, np.inf)
    share = -(-trajectory.n_samples // n_workers)
    block = block_shape(trajectory, n_epochs, share, int(min(memory_limit, 2**40) * 2**20) // n_workers, len(spans))
    return Plan(series, spans, n_epochs, block, task_rows(trajectory, n_epochs, share, block[0]), n_workers)


def task_rows(trajectory: Trajectory, n_epochs: int | None, share: int, rows: int) -> int:
    """Samples of a task, whole blocks of `rows`, where a worker's share is `share` of them.

    No more than the share, so that every worker has a task; no fewer than what `_TASK_BYTES` hold, nor than one in
    `_TASKS` of the share, so that a scheduler has few enough.
    """
    least = max(_TASK_BYTES // (2 * (n_epochs or 2) * row_bytes(trajectory)), share // _TASKS)
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
    epoch_bytes = 2 * row_bytes(trajectory)  # in the buffer, and while it is read
    series_bytes = 2 * 8 * n_epochs * n_series  # in pieces, and joined
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
    """Bytes of one sample at one epoch."""
    return trajectory.buffer_dtype.itemsize * (trajectory.n_classes or 1)


def in_runs(trajectory: Trajectory, plan: Plan) -> AbstractContextManager[Trajectory]:
    """`trajectory`, or a temporary copy of it in sorted runs.

    Logs in arrival order are gone through once for each block: where these are many, and the disk holds the values
    twice, they are sorted first.
    """
    folder, n_bytes = roomy_folder(), trajectory.n_samples * (plan.n_epochs or 0) * row_bytes(trajectory)
    many_blocks = isinstance(trajectory, ArrivalTrajectory) and plan.block[0] * _PASSES < trajectory.n_samples
    if many_blocks and shutil.disk_usage(folder).free > 2 * n_bytes:
        return trajectory.in_runs(folder)
    return nullcontext(trajectory)
