"""Score 50,000 x 100 x 30 float32 logits in the TDDS authors' layout, beside a per-window NumPy version.

    python benchmarks/authors_layout.py

Each side is a process of its own, in turn, from the same files. The NumPy side is the equations written down: it loads
every epoch, puts the rows in order, and computes probabilities, logarithms and differences anew for every window, as
the published script does.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
N_SAMPLES, N_EPOCHS, N_CLASSES, K, BETA = 50_000, 30, 100, 10, 0.9


def per_window(folder: Path) -> np.ndarray:
    """The `reference` formulation, window by window, on whole arrays."""
    arranged = np.empty((N_EPOCHS, N_SAMPLES, N_CLASSES), np.float32)
    for t in range(N_EPOCHS):
        arranged[t, np.load(folder / f"{t}_Index.npy")] = np.load(folder / f"{t}_Output.npy")
    average = np.zeros(N_SAMPLES)
    for start in range(N_EPOCHS - K + 1):
        probs = np.exp(arranged[start : start + K] - arranged[start : start + K].max(axis=2, keepdims=True))
        probs /= probs.sum(axis=2, keepdims=True)
        diffs = np.abs(probs[1:] * (np.log(probs[1:] + 1e-8) - np.log(probs[:-1] + 1e-8))).sum(axis=2)
        variance = np.sqrt(((diffs - diffs.mean(axis=0)) ** 2).sum(axis=0))
        average = BETA * variance + (1 - BETA) * average
    return average


def measure(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak resident MiB of a process."""
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise RuntimeError(f"{command} failed")
    scale = 1024 if sys.platform != "darwin" else 2**20
    return time.perf_counter() - began, usage.ru_maxrss / scale


def main() -> None:
    if sys.argv[1:2] == ["--per-window"]:
        np.save(sys.argv[3], per_window(Path(sys.argv[2])))
        return
    with tempfile.TemporaryDirectory() as temporary:
        logs, scores, judge = Path(temporary, "logs"), Path(temporary, "scores.h5"), Path(temporary, "judge.npy")
        sizes = ["--samples", str(N_SAMPLES), "--epochs", str(N_EPOCHS), "--classes", str(N_CLASSES)]
        subprocess.run([sys.executable, ROOT / "data_tools/synthetic.py", logs, "--npy", *sizes], check=True)
        ours = [
            sys.executable,
            "-m",
            "tdds.cli",
            "score",
            str(logs),
            "-o",
            str(scores),
            "--force",
            "--formulation",
            "reference",
        ]
        theirs = [sys.executable, __file__, "--per-window", str(logs), str(judge)]
        measure(ours)  # compiles the kernels
        runs = [(measure(ours), measure(theirs)) for _ in range(3)]
        from tdds.tables import ScoreTable

        error = np.abs(ScoreTable.load(scores).scores["tdds"] / np.load(judge) - 1).max()
    row = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "tdds_seconds": statistics.median(a[0] for a, _ in runs),
        "tdds_peak_mib": max(a[1] for a, _ in runs),
        "numpy_seconds": statistics.median(b[0] for _, b in runs),
        "numpy_peak_mib": max(b[1] for _, b in runs),
        "ratio": statistics.median(b[0] / a[0] for a, b in runs),
        "largest_relative_difference": float(error),
    }
    print(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
