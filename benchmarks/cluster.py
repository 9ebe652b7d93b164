"""What a cluster costs: the same file scored by two threads, and by two worker processes of a Dask cluster.

    python benchmarks/cluster.py [--samples 200000]

Prints seconds of both (medians of three, in turn), the bytes of a task, and a scheduler's time for an empty task.
Then a log of JSON lines: seconds and peak memory of a process that converts it.
"""

from __future__ import annotations

import argparse
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import joblib
import numpy as np
from dask.distributed import Client, LocalCluster

import tdds

SYNTHETIC = Path(__file__).parents[1] / "data_tools" / "synthetic.py"


def seconds(action) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def nothing() -> None:
    """An empty task."""


def compare(name: str) -> None:
    def score() -> None:
        tdds.score_trajectory(name, K=10, n_jobs=2)

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster):
        taken: dict[str, list[float]] = {"threading": [], "dask": []}
        for turn in range(4):
            for backend, times in taken.items():
                with joblib.parallel_config(backend=backend, n_jobs=2):
                    times += [seconds(score)][turn == 0 :]  # the first turn compiles and fills the page cache
        with joblib.parallel_config(backend="dask"):
            empty = seconds(lambda: joblib.Parallel(batch_size=1)(joblib.delayed(nothing)() for _ in range(300)))
    threads, dask = (float(np.median(times)) for times in taken.values())
    part = tdds.open_trajectory(name).part(0, 10_000)
    print(f"threads {threads:.2f} s, dask {dask:.2f} s ({dask / threads:.2f} times)")
    print(f"a task of 10,000 samples: {len(pickle.dumps(part)):,} bytes, labels of 8 bytes a sample among them")
    print(f"an empty task: {empty / 300 * 1000:.0f} ms")


def convert_json_lines(folder: Path, n_samples: int, n_epochs: int, n_classes: int) -> None:
    rng = np.random.default_rng(0)
    for t in range(n_epochs):
        with (folder / f"epoch{t}.jsonl").open("w") as file:
            for i in rng.permutation(n_samples):
                row = rng.normal(size=n_classes).astype(np.float32).tolist()
                file.write(f'{{"{i}":{row}}}\n')
    size = sum(file.stat().st_size for file in folder.glob("*.jsonl"))
    command = [sys.executable, "-m", "tdds.cli", "convert", str(folder), "-o", str(folder / "run.h5")]
    taken = seconds(lambda: subprocess.run(command, check=True, capture_output=True))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        f"convert {n_samples:,} x {n_epochs} x {n_classes} of JSON lines, {size / 2**20:,.0f} MiB: {taken:.0f} s, "
        f"{size / taken / 1e6:.0f} MB/s, peak {peak:.0f} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=200_000)
    asked = parser.parse_args()
    print(f"{os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "json").mkdir()
        convert_json_lines(Path(folder) / "json", 50_000, 5, 100)
        path = Path(folder) / "run.h5"
        subprocess.run(
            [sys.executable, SYNTHETIC, path, "--samples", str(asked.samples), "--classes", "100"], check=True
        )
        compare(f"{path}::probs")


if __name__ == "__main__":
    main()
