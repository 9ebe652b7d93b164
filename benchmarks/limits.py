"""What scoring costs against what it could cost: nanoseconds a value, in three tables, in under two minutes.

    python benchmarks/limits.py

Every way is timed once a round, in turn, so that a noisy neighbour meets them all; the tables hold medians over the
rounds. The limits are reading the values from memory once, and reading them from the page cache once.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial
from pathlib import Path

import h5py
import numba
import numpy as np
from rich.console import Console
from rich.table import Table

from tdds import kernels, open_trajectory, score_trajectory, store
from tdds.scores import KLDifferences

N_EPOCHS = 30
N_VALUES = 1 << 24  # 64 MiB of float32: no cache holds it
BLOCK_VALUES = 1 << 16  # of the NumPy peer's blocks: best of 2^14 ... 2^20 here
ROUNDS = 5


@numba.njit(nogil=True, fastmath={"reassoc"})
def read(values):
    """The sum: as little arithmetic as reading admits."""
    flat = values.reshape(-1)
    total = values.dtype.type(0)
    for i in range(flat.size):
        total += flat[i]
    return total


def row_sums(probs):
    sums = np.empty(probs.shape[:2])
    kernels.row_sums(probs, sums)
    return sums


def read_and_score(values, single=True, inner_magnitude=False):
    """As the engine does: each value widened, checked and scored while it is in the cache."""
    series = KLDifferences(inner_magnitude, single)
    rows = max(1, (1 << 20) // values[0].size)
    for start in range(0, len(values), rows):
        series.of_stored(values[start : start + rows])


def kernel_softmax(logits, block=1 << 17):
    rows = max(1, block // logits[0].size)
    out = np.empty((rows, *logits.shape[1:]))
    for start in range(0, len(logits), rows):
        part = logits[start : start + rows]
        kernels.softmax(part, out[: len(part)])


def numpy_whole(probs):
    logs = np.log(probs + np.float32(1e-8))
    return (probs[:, 1:] * (logs[:, 1:] - logs[:, :-1])).sum(axis=-1, dtype=np.float64)


def numpy_blocks(probs):
    """As a careful user writes it: blocks that stay in the cache, buffers used again."""
    n_samples, n_epochs, n_classes = probs.shape
    rows = max(1, BLOCK_VALUES // (n_epochs * n_classes))
    logs = np.empty((rows, n_epochs, n_classes), dtype=probs.dtype)
    terms = np.empty((rows, n_epochs - 1, n_classes), dtype=probs.dtype)
    out = np.empty((n_samples, n_epochs - 1))
    for start in range(0, n_samples, rows):
        part = probs[start : start + rows]
        log, term = logs[: len(part)], terms[: len(part)]
        np.add(part, np.float32(1e-8), out=log)
        np.log(log, out=log)
        np.subtract(log[:, 1:], log[:, :-1], out=term)
        np.einsum("itc,itc->it", part[:, 1:], term, out=out[start : start + rows], dtype=probs.dtype, casting="unsafe")
    return out


def torch_blocks(probs):
    rows = max(1, BLOCK_VALUES // probs[0].size)
    for start in range(0, len(probs), rows):
        torch_whole(probs[start : start + rows])


def torch_whole(probs):
    import torch

    values = torch.from_numpy(probs)
    logs = torch.log(values + 1e-8)
    return (values[:, 1:] * (logs[:, 1:] - logs[:, :-1])).sum(dim=-1)


def on_threads(way, n_threads):
    """`way` on equal shares of the samples, one thread each."""

    def run(values):
        if n_threads == 1:
            way(values)
        else:
            with ThreadPoolExecutor(n_threads) as pool:
                list(pool.map(way, np.array_split(values, n_threads)))

    return run


def peers():
    """Ways by name, and the number of threads each is timed with."""
    yield "read from memory", read, (1, 2)
    yield "check, score", read_and_score, (1, 2)
    yield "check, score, K < 8", partial(read_and_score, single=False), (1, 2)
    yield "check, score, reference", partial(read_and_score, inner_magnitude=True), (1,)
    yield "check alone", row_sums, (1,)
    yield "softmax of logits", kernel_softmax, (1,)
    yield "NumPy, cache-sized blocks", numpy_blocks, (1, 2)
    yield "NumPy, whole arrays", numpy_whole, (1,)
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)
    yield "torch, cache-sized blocks", torch_blocks, (1, 2)
    yield "torch, whole arrays", torch_whole, (1,)


def trajectory(n_classes, n_values=N_VALUES):
    probs = np.random.default_rng(0).random((n_values // (N_EPOCHS * n_classes), N_EPOCHS, n_classes), dtype=np.float32)
    probs **= 3
    probs /= probs.sum(axis=-1, keepdims=True)
    return probs


def medians(ways, n_values):
    """Median of each of the calls, by name, in ns a value."""
    times = {name: [] for name in ways}
    for way in ways.values():
        way()  # compile, and fill the page cache
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken) / n_values * 1e9 for name, taken in times.items()}


def of_kernels(n_classes):
    probs = trajectory(n_classes)
    ways = {(name, n): partial(on_threads(way, n), probs) for name, way, threads in peers() for n in threads}
    return medians(ways, probs.size)


def of_dtypes():
    probs = trajectory(1000)
    stored = {"float32": probs, "float16": probs.astype(np.float16), "bfloat16": store.float32_to_bfloat16(probs)}
    stored["log8"] = store.probs_to_log8(probs)
    ways = {}
    for name, values in stored.items():
        words = values if name == "float32" else values.view(np.uint16 if values.itemsize == 2 else np.uint8)
        for n in (1, 2):
            ways[name, "read from memory", n] = partial(on_threads(read, n), words)
            ways[name, "widen, check, score", n] = partial(on_threads(read_and_score, n), values)
    return medians(ways, probs.size)


def of_files(folder):
    probs = trajectory(1000, 4 * N_VALUES)  # so much that opening a file does not count
    ways = {}
    for dtype in ("float32", "float16", "log8"):
        path = Path(folder, f"{dtype}.h5")
        store.pack(open_trajectory(probs), path, dtype=dtype)
        source = open_trajectory(path)
        ways[dtype, "read, h5py"] = partial(read_through_h5py, path)
        ways[dtype, "read, past HDF5's lock"] = partial(read_blocks, source)
        ways[dtype, "score_trajectory, 1 thread"] = partial(score_trajectory, path)
        ways[dtype, "score_trajectory, 2 threads"] = partial(score_trajectory, path, n_jobs=2)
    return medians(ways, probs.size)


def read_through_h5py(path):
    with h5py.File(path) as file:
        values = file["values"]
        rows = max(1, (1 << 21) // values[:1].nbytes)
        block = np.empty((rows, *values.shape[1:]), values.dtype)
        for start in range(0, len(values), rows):
            n = min(rows, len(values) - start)
            values.read_direct(block, np.s_[start : start + n], np.s_[:n])


def read_blocks(source):
    rows = max(1, (1 << 21) // (source.n_epochs * source.n_classes * source.buffer_dtype.itemsize))
    block = np.empty((rows, source.n_epochs, source.n_classes), source.buffer_dtype)
    with source.reader() as read:
        for start in range(0, source.n_samples, rows):
            stop = min(start + rows, source.n_samples)
            read(start, stop, 0, block[: stop - start])


def processor():
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def main():
    console = Console(width=max(130, Console().width))
    features = numba.config.CPU_FEATURES or numba.core.codegen.get_host_cpu_features()
    vectors = next((name for name in ("avx512f", "avx2", "neon") if f"+{name}" in features), "no wide vectors")
    console.print(
        f"{date.today()}, {processor()}, {os.cpu_count()} cores, {vectors}; Python {platform.python_version()}, "
        f"NumPy {np.__version__}, Numba {numba.__version__}; {N_VALUES:,} values, {N_EPOCHS} epochs; "
        f"medians of {ROUNDS} alternating runs"
    )
    columns = {n_classes: of_kernels(n_classes) for n_classes in (10, 100, 1000)}
    table = Table(title="float32 in memory, ns a value (checking and scoring with as many threads is x times faster)")
    for heading in ("way", "threads", *(f"C = {n_classes}" for n_classes in columns)):
        table.add_column(heading, justify="left" if heading == "way" else "right", no_wrap=True)
    for key in columns[10]:
        ratios = [column[key] / column["check, score", key[1]] for column in columns.values()]
        cells = [f"{column[key]:.2f} ({x:.1f}x)" for column, x in zip(columns.values(), ratios, strict=True)]
        table.add_row(key[0], str(key[1]), *cells)
    console.print(table)

    held = of_dtypes()
    table = Table(title="stored types in memory, C = 1000, ns a value (of reading float32)")
    for heading in ("stored as", "way", "1 thread", "2 threads"):
        table.add_column(heading, justify="right" if "thread" in heading else "left")
    for dtype, way in dict.fromkeys(key[:2] for key in held):
        ratios = [held[dtype, way, n] / held["float32", "read from memory", n] for n in (1, 2)]
        cells = [f"{held[dtype, way, n]:.2f} ({x:.1f}x)" for n, x in zip((1, 2), ratios, strict=True)]
        table.add_row(dtype, way, *cells)
    console.print(table)

    with tempfile.TemporaryDirectory() as folder:
        files = of_files(folder)
    table = Table(title="packed files in the page cache, C = 1000, ns a value (of reading through h5py)")
    for heading in ("stored as", *dict.fromkeys(way for _, way in files)):
        table.add_column(heading, justify="left" if heading == "stored as" else "right")
    for dtype in dict.fromkeys(dtype for dtype, _ in files):
        own = {way: ns for (name, way), ns in files.items() if name == dtype}
        table.add_row(dtype, *(f"{ns:.2f} ({ns / own['read, h5py']:.1f}x)" for ns in own.values()))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
