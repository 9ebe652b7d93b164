"""ImageNet-sized: 1,281,167 samples x 1,000 classes x 30 epochs of float16, scored on a small machine.

    python benchmarks/imagenet.py FOLDER           a virtual data set of full size, 77 GB, 0.6 GB on disk: page cache
    python benchmarks/imagenet.py FOLDER --cold    a real one of 26 GB, dropped from the page cache before each run

Every way runs in a process of its own, in turn: reading the bytes through h5py in blocks of the same size and order
without arithmetic, by one thread; scoring by one thread and by as many as there are cores; and a grid of 50 settings.
The table holds medians, ratios to reading, and peaks of resident memory. `--samples` makes it smaller.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "data_tools"))
ROUNDS = 3

READ = """
import h5py, numpy as np, sys, time
start = time.perf_counter()
with h5py.File(sys.argv[1]) as file:
    probs = file["probs"]
    rows = max(1, (1 << 22) // probs[:1].nbytes)
    block = np.empty((rows, *probs.shape[1:]), probs.dtype)
    for first in range(0, len(probs), rows):
        n = min(rows, len(probs) - first)
        probs.read_direct(block, np.s_[first : first + n], np.s_[:n])
"""
SCORE = """
import sys, time
import tdds
start = time.perf_counter()
tdds.score_trajectory(sys.argv[1] + "::probs", {settings})
"""
REPORT = """
import json, resource
print(json.dumps({"s": time.perf_counter() - start, "MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""
GRID = "T=[10, 20, 30], K=[8, 10, 15, 20], beta=[0, 0.1, 0.5, 0.9, 1]"
WAYS = {
    "read through h5py": READ,
    "score, K = 10, one thread": SCORE.format(settings="K=10, n_jobs=1"),
    "score, K = 10": SCORE.format(settings="K=10, n_jobs=-1"),
    "score, K = 20": SCORE.format(settings="K=20, n_jobs=-1"),
    "score a grid of 50 settings": SCORE.format(settings=f"{GRID}, n_jobs=-1"),
}


def drop_from_cache(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    from synthetic import write_hdf5

    n_samples = asked.samples or (430_000 if asked.cold else 1_281_167)
    path = asked.folder / f"{'real' if asked.cold else 'virtual'}-{n_samples}.h5"
    if not path.exists():
        asked.folder.mkdir(parents=True, exist_ok=True)
        write_hdf5(path, n_samples, 30, 1000, "float16", n_distinct=10_000, virtual=not asked.cold)
    measured: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(asked.rounds):
        for way, code in WAYS.items():
            if asked.cold:
                drop_from_cache(path)
            command = [sys.executable, "-c", code + REPORT, str(path)]
            command = ["sh", "-c", '"$@"; exit $?', "sh", *command]  # a child's peak starts from its parent's
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            measured[way].append(json.loads(done.stdout))
    seconds = {way: statistics.median(run["s"] for run in runs) for way, runs in measured.items()}
    n_values = n_samples * 30 * 1000
    table = Table(
        title=f"{n_samples:,} x 30 x 1,000 float16, {2 * n_values / 1e9:.0f} GB, "
        f"{'cold disk' if asked.cold else 'page cache'}; {date.today()}, {os.cpu_count()} cores, {platform.machine()}; "
        f"medians of {asked.rounds}"
    )
    for heading in ("way", "s", "ns a value", "x reading", "peak MiB"):
        table.add_column(heading, justify="left" if heading == "way" else "right")
    for way, runs in measured.items():
        s = seconds[way]
        ratio = s / seconds["read through h5py"]
        table.add_row(
            way, f"{s:.1f}", f"{s / n_values * 1e9:.2f}", f"{ratio:.2f}", f"{max(run['MiB'] for run in runs):.0f}"
        )
    Console(width=max(120, Console().width)).print(table)


if __name__ == "__main__":
    main()
