"""What scoring takes as the data grow: samples, epochs and classes doubled one at a time; K, beta and the grid changed.

    python benchmarks/growth.py [--samples 60000] [--classes 100] [--rounds 5]

Every run is a process of its own, in turn, that scores a file of its own with one thread. The table holds medians:
time of the processor in scoring alone, kernels compiled, beside that of the first row in the same round, and the
process's peak of resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "data_tools"))
N_EPOCHS = 30
SCORE = """
import json, sys, time
import numpy as np
import tdds
from tdds.estimate import peak_memory
path, options = sys.argv[1], json.loads(sys.argv[2])
tdds.score_trajectory(np.full((2, 30, 4), 0.25, np.float16), **options)  # the kernels are there
start = time.process_time()
tdds.score_trajectory(path + "::probs", **options)
seconds = time.process_time() - start
print(json.dumps({"s": seconds, "MiB": peak_memory() / 2**20}))
"""
GRID = {"T": [10, 20, 30], "K": [8, 10, 15, 20], "beta": [0, 0.1, 0.5, 0.9, 1]}
#: How often the samples, the epochs, the classes; what is asked for.
CASES: dict[str, tuple[tuple[int, int, int], dict[str, object]]] = {
    "as it is, K = 10, beta = 0.9": ((1, 1, 1), {}),
    "twice the samples": ((2, 1, 1), {}),
    "twice the epochs": ((1, 2, 1), {}),
    "twice the classes": ((1, 1, 2), {}),
    "K = 8": ((1, 1, 1), {"K": 8}),
    "K = 20": ((1, 1, 1), {"K": 20}),
    "K = 30": ((1, 1, 1), {"K": 30}),
    "beta = 0.1": ((1, 1, 1), {"beta": 0.1}),
    "beta = 0": ((1, 1, 1), {"beta": 0}),
    "5 of beta": ((1, 1, 1), {"beta": GRID["beta"]}),
    "a grid of 50 of T, K, beta": ((1, 1, 1), GRID),
}


def measure(path: Path, options: Mapping[str, object]) -> dict[str, float]:
    command = [sys.executable, "-c", SCORE, str(path), json.dumps({"K": 10, **options})]
    measured: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=60_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    from synthetic import write_hdf5

    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CASES}
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for times in {times for times, _ in CASES.values()}:
            sizes = [n * k for n, k in zip((asked.samples, N_EPOCHS, asked.classes), times, strict=True)]
            files[times] = Path(folder, f"{times}.h5")
            write_hdf5(files[times], *sizes, "float16", n_distinct=2_000)
        for _ in range(asked.rounds):
            for name, (times, options) in CASES.items():
                runs[name].append(measure(files[times], options))
    table = Table(
        title=f"{asked.samples:,} x {N_EPOCHS} x {asked.classes} float16; {date.today()}, {os.cpu_count()} cores, "
        f"{platform.machine()}; medians of {asked.rounds}"
    )
    for heading in ("", "CPU s", "x time", "peak MiB"):
        table.add_column(heading, justify="right" if heading else "left")
    first = next(iter(runs.values()))
    for name, own in runs.items():
        seconds, peak = (statistics.median(run[what] for run in own) for what in ("s", "MiB"))
        ratio = statistics.median(run["s"] / base["s"] for run, base in zip(own, first, strict=True))
        table.add_row(name, f"{seconds:.2f}", f"{ratio:.2f}", f"{peak:.0f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
