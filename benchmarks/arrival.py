"""Logs in arrival order beside the same numbers in the order of the samples: scored, and packed.

    python benchmarks/arrival.py [--samples 40000] [--rounds 3]

The rows are ImageNet's, 1,000 classes of float16, and so is the share of an epoch that memory holds: the limits are
scaled by samples / 1,281,167, so that the logs are gone through as often. Medians of processor seconds, in turn.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from unittest import mock

import numpy as np

import tdds
from tdds.planning import MEMORY_LIMIT
from tdds.sources import ArrivalTrajectory, Trajectory
from tdds.store import pack

IMAGENET, N_EPOCHS, N_CLASSES = 1_281_167, 6, 1000


def write(folder: Path, n_samples: int) -> None:
    """A store, each epoch in an order of its own."""
    powers = np.random.default_rng(0).random((2_000, N_CLASSES), dtype=np.float32) ** 4
    rows = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float16)
    with tdds.TrajectoryWriter(folder, n_samples, N_CLASSES) as writer:
        for t in range(N_EPOCHS):
            for batch in np.array_split(np.random.default_rng(t).permutation(n_samples), n_samples // 512):
                writer.write(batch, rows[(7 * batch + 13 * t) % len(rows)])
            writer.end_epoch()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    share = asked.samples / IMAGENET
    by_row = mock.patch.object(ArrivalTrajectory, "in_runs", Trajectory.in_runs)
    in_blocks = mock.patch("tdds.store.packed._BLOCK_BYTES", int(share * (1 << 26)))
    with tempfile.TemporaryDirectory() as temporary, in_blocks:
        logs, ordered, new = (Path(temporary, name) for name in ("run", "run.h5", "new.h5"))
        write(logs, asked.samples)
        pack(tdds.open_trajectory(logs), ordered)

        def score(path: Path) -> None:
            tdds.score_trajectory(path, K=5, memory_limit=max(1, share * MEMORY_LIMIT))

        def repack(path: Path) -> None:
            pack(tdds.open_trajectory(path), new, overwrite=True)

        taken: dict[tuple[str, str], list[float]] = {}

        def measure(what: str, how: str, action: Callable[[Path], None], path: Path) -> None:
            began = time.process_time()
            action(path)
            taken.setdefault((what, how), []).append(time.process_time() - began)

        score(ordered)  # compiles
        for _ in range(asked.rounds):
            for what, action in (("score", score), ("pack", repack)):
                measure(what, "in the order of the samples", action, ordered)
                measure(what, "in arrival order, sorted in runs", action, logs)
                with by_row:
                    measure(what, "in arrival order, row by row", action, logs)
    print(
        f"{asked.samples:,} x {N_EPOCHS} x {N_CLASSES:,} float16; {date.today()}, {os.cpu_count()} cores, "
        f"{platform.machine()}; medians of {asked.rounds}"
    )
    for (what, how), seconds in taken.items():
        base = taken[what, "in the order of the samples"]
        ratio = statistics.median(own / other for own, other in zip(seconds, base, strict=True))
        print(f"{what}, {how}: {statistics.median(seconds):.2f} s, {ratio:.1f} x")


if __name__ == "__main__":
    main()
