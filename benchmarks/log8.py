"""What one byte a value costs each method, beside what another seed costs it.

    python benchmarks/log8.py RUN [OTHER_SEED]

Both are trajectories of probabilities with labels, of the same samples, from trainings that differ in their seed alone.
The table holds the share of the coreset of RUN that is also chosen from RUN stored as log8, and from OTHER_SEED.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tdds import open_trajectory
from tdds.engine import compute_scores
from tdds.samplers import Top, count_kept, draw_coreset
from tdds.scores import METHODS, Score, make_score
from tdds.sources import Trajectory
from tdds.store import pack

PRUNING_RATES = (0.5, 0.9)


def coresets(trajectory: Trajectory, methods: Mapping[str, Score]) -> dict[tuple[str, float], set[int]]:
    """The best samples by method and pruning rate."""
    found = {}
    for name, scores in compute_scores(trajectory, methods).items():
        for rate in PRUNING_RATES:
            kept = draw_coreset(scores, methods[name].keeps, Top(), count_kept(len(scores), rate))
            found[name, rate] = set(kept.indices.tolist())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("other_seed", nargs="?")
    parser.add_argument("--K", type=int, default=5)
    asked = parser.parse_args()
    # These read no epoch: what is stored does not matter to them.
    methods = {name: make_score(name, K=asked.K) for name in METHODS if name not in ("moderate", "random")}
    run = open_trajectory(asked.run)
    expected = coresets(run, methods)
    with tempfile.TemporaryDirectory() as folder:
        pack(run, Path(folder, "log8.h5"), dtype="log8")
        found = {"log8": coresets(open_trajectory(Path(folder, "log8.h5")), methods)}
    if asked.other_seed:
        found["other seed"] = coresets(open_trajectory(asked.other_seed), methods)
    console = Console(width=100)
    machine = f"{os.cpu_count()} cores, {platform.machine()}"
    console.print(f"{run.n_samples:,} x {run.n_epochs} x {run.n_classes}, K = {asked.K}; {date.today()}, {machine}")
    table = Table()
    table.add_column("")
    for rate in PRUNING_RATES:
        for what in found:
            table.add_column(f"p = {rate}\n{what}", justify="right")
    for name in methods:
        shares = [
            len(expected[name, rate] & other[name, rate]) / len(expected[name, rate])
            for rate in PRUNING_RATES
            for other in found.values()
        ]
        table.add_row(name, *(f"{share:.1%}" for share in shares))
    console.print(table)


if __name__ == "__main__":
    main()
