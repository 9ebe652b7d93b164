"""What scoring will cost, from scoring a little of it."""

from __future__ import annotations

import re
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tdds.engine import check_scores, score_part
from tdds.planning import BLOCK_BYTES, MEMORY_LIMIT, Plan, in_runs, plan_reading, row_bytes
from tdds.scores import Score
from tdds.sources import ArrayTrajectory, ArrivalTrajectory, EpochStream, SortedRuns, Trajectory

_TRIED_SECONDS = 0.2


@dataclass(frozen=True)
class Cost:
    """Bytes to read, peak resident memory of the process and bytes of temporary files, and seconds."""

    bytes_to_read: int
    peak_memory: int
    temporary_files: int
    seconds: float


def estimate_cost(
    trajectory: Trajectory,
    scores: Mapping[str, Score],
    *,
    memory_limit: float = MEMORY_LIMIT,
    n_jobs: int | None = None,
) -> Cost:
    """Estimate what `compute_scores` will take with the same arguments, from the time of some blocks.

    Parameters
    ----------
    trajectory : Trajectory
        No stream.
    scores : mapping of name to Score
    memory_limit, n_jobs
        As for `score_trajectory`.

    Returns
    -------
    Cost
        Its seconds assume that the rest is read as fast as these blocks, and that every thread has a core to itself.

    Raises
    ------
    TypeError
        The trajectory is a stream, which is read once.
    TrajectoryError, ValueError
        As for `score_trajectory`.
    """
    if isinstance(trajectory, EpochStream):
        raise TypeError(f"{trajectory!r} is read once; its cost cannot be tried.")
    check_scores(trajectory, scores, features=())
    reading = {name: score for name, score in scores.items() if score.series(trajectory.kind) is not None}
    if not reading:
        return Cost(0, peak_memory() + 8 * trajectory.n_samples * len(scores), 0, 0.0)
    plan = plan_reading(trajectory, reading, memory_limit, n_jobs)
    n_epochs = plan.n_epochs or 0
    n_bytes = trajectory.n_samples * n_epochs * row_bytes(trajectory)
    with in_runs(trajectory, plan) as source:
        sorting, block = _try_run(source, plan) if isinstance(source, SortedRuns) else (0.0, trajectory)
    score_part(block.part(0, 1), reading, plan)  # compiles, and finds where the samples lie
    seconds, n_tried = 0.0, min(plan.block[0], block.n_samples) // 2
    while seconds < _TRIED_SECONDS and n_tried < block.n_samples:
        n_tried = min(max(1, 2 * n_tried), block.n_samples)
        start = time.perf_counter()
        score_part(block.part(0, n_tried), reading, plan)
        seconds = time.perf_counter() - start
    per_sample = 8 * len(scores) + 4 * n_epochs * isinstance(trajectory, ArrivalTrajectory)
    untried = plan.n_workers - (not sorting)
    return Cost(
        bytes_to_read=n_bytes,
        peak_memory=peak_memory()
        + 2 * untried * plan.block[0] * plan.block[1] * row_bytes(trajectory)
        + trajectory.n_samples * per_sample,
        temporary_files=n_bytes if sorting else 0,
        seconds=trajectory.n_samples * (sorting + seconds / n_tried / plan.n_workers),
    )


def peak_memory() -> int:
    """Bytes of memory that this program has held at most; Linux's `getrusage` would count what started it, too."""
    status = Path("/proc/self/status")
    if status.exists() and (held := re.search(r"VmHWM:\s*(\d+) kB", status.read_text())):
        return 1024 * int(held[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _try_run(source: SortedRuns, plan: Plan) -> tuple[float, Trajectory]:
    """Seconds a sample that sorting takes, from one run, and some of the run as a trajectory that stands still."""
    start = time.perf_counter()
    _, _, values, _ = next(source.parse(0))
    np.save(source.path / "try.npy", values)
    seconds = (time.perf_counter() - start) * (plan.n_epochs or 0) / len(values)
    few = values[: max(1, 2 * BLOCK_BYTES // (row_bytes(source) * (plan.n_epochs or 1)))]
    still = np.repeat(few[:, np.newaxis], plan.n_epochs or 0, axis=1)
    trajectory = ArrayTrajectory(still, kind=source.kind, dtype=source.dtype)
    trajectory.name_samples(None if source.labels is None else source.labels[: len(few)])
    return seconds, trajectory
