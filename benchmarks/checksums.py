"""What holding values against their checksums would cost, and costs: beside scoring them, in one table.

    python benchmarks/checksums.py [FOLDER]

For stores and packed files from the page cache, medians of processor time over paired rounds, one thread: scoring,
zlib's CRC-32 of the same bytes in memory (the least that checking in the same pass would add), and scoring that checks
first (`damaged="error"`, `tdds score --verify`).
"""

from __future__ import annotations

import platform
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import tdds
from tdds import TrajectoryWriter, store

SHAPES = [(100_000, 10, 10), (20_000, 10, 100), (2_000, 10, 1000)]
CHUNK_BYTES, ROUNDS = 1 << 20, 5


def write(path: Path, n_samples: int, n_epochs: int, n_classes: int) -> list[Path]:
    """A store of random walks in float16, rows in random order, and the packed file of it."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((n_samples, n_classes), dtype=np.float32)
    with TrajectoryWriter(path, n_samples, n_classes) as writer:
        for _ in range(n_epochs):
            logits += 0.3 * rng.standard_normal(logits.shape, dtype=np.float32)
            probs = np.exp(logits)
            probs /= probs.sum(axis=1, keepdims=True)
            index = rng.permutation(n_samples)
            writer.write(index, probs[index])
            writer.end_epoch()
    packed = path.with_suffix(".h5")
    store.pack(tdds.open_trajectory(path), packed)
    return [path, packed]


def seconds(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    title = f"{platform.processor() or platform.machine()}, {date.today()}"
    table = Table("classes", "form", "scoring, s", "CRC-32", "checked first", title=title)
    for shape in SHAPES:
        chunk = np.random.default_rng(0).integers(256, size=CHUNK_BYTES, dtype=np.uint8)
        n_chunks = int(np.prod(shape)) * 2 // CHUNK_BYTES
        for source in write(folder / f"{shape[2]}", *shape):
            ways: dict[str, Callable[[], object]] = {
                "score": lambda source=source: tdds.score_trajectory(source, n_jobs=1),
                "crc": lambda n=n_chunks, chunk=chunk: [zlib.crc32(chunk) for _ in range(n)],
                "checked": lambda source=source: tdds.score_trajectory(source, n_jobs=1, damaged="error"),
            }
            ways["score"]()
            rounds = [{name: seconds(way) for name, way in ways.items()} for _ in range(ROUNDS)]
            ratio = {name: statistics.median(one[name] / one["score"] for one in rounds) for name in ways}
            form = "packed" if source.suffix else "store"
            scoring = statistics.median(one["score"] for one in rounds)
            table.add_row(
                f"{shape[2]:,}", form, f"{scoring:.2f}", f"+{ratio['crc']:.0%}", f"+{ratio['checked'] - 1:.0%}"
            )
    Console().print(table)


if __name__ == "__main__":
    main()
