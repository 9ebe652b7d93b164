"""What scoring will cost, from scoring a little of it."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

from tdds.engine import score_part
from tdds.planning import MEMORY_LIMIT, plan_reading, row_bytes
from tdds.scores import Score
from tdds.sources import ArrivalTrajectory, EpochStream, Trajectory


@dataclass(frozen=True)
class Cost:
    """Bytes to read, peak resident memory of the process in bytes, and seconds."""

    bytes_to_read: int
    peak_memory: int
    seconds: float


def estimate_cost(
    trajectory: Trajectory,
    scores: Mapping[str, Score],
    *,
    memory_limit: float = MEMORY_LIMIT,
    n_jobs: int | None = None,
) -> Cost:
    """Estimate what `compute_scores` will take with the same arguments, from the time of one block.

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
        Seconds take it that the rest is read as fast as the block, and that every thread has a core to itself.

    Raises
    ------
    TypeError
        The trajectory is a stream, which is read once.
    TrajectoryError, ValueError
        As for `score_trajectory`.
    """
    if isinstance(trajectory, EpochStream):
        raise TypeError(f"{trajectory!r} is read once; its cost cannot be tried.")
    reading = {name: score for name, score in scores.items() if score.series(trajectory.kind) is not None}
    plan = plan_reading(trajectory, reading, memory_limit, n_jobs)
    block = trajectory.part(0, min(plan.block[0], trajectory.n_samples))
    score_part(trajectory.part(0, 1), reading, plan)  # compiles, and finds where the samples lie
    start = time.perf_counter()
    score_part(block, reading, plan)
    seconds = (time.perf_counter() - start) * trajectory.n_samples / block.n_samples / plan.n_workers
    n_epochs = plan.n_epochs or 0
    per_sample = 8 * (2 * len(scores) + n_epochs // 2 * isinstance(trajectory, ArrivalTrajectory))
    other_workers = (plan.n_workers - 1) * plan.block[0] * plan.block[1] * row_bytes(trajectory)
    return Cost(
        bytes_to_read=trajectory.n_samples * n_epochs * row_bytes(trajectory) // 2,
        peak_memory=_peak_so_far() + other_workers + trajectory.n_samples * per_sample,
        seconds=seconds,
    )


def _peak_so_far() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
