"""What scoring costs against what it could cost: nanoseconds a value, in one table, in under two minutes.

    python benchmarks/limits.py

Every way is timed once a round, in turn, so that a noisy neighbour meets them all; the table holds medians over the
rounds. The limit is reading the float32 array from memory once.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import numba
import numpy as np
from rich.console import Console
from rich.table import Table

from tdds import kernels

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


def kernel_differences(probs, inner_magnitude=False):
    out = np.empty((probs.shape[0], probs.shape[1] - 1))
    kernels.kl_differences(probs, inner_magnitude, out)
    return out


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
    yield "kl_differences", kernel_differences, (1, 2)
    yield "kl_differences, reference", lambda probs: kernel_differences(probs, True), (1,)
    yield "first_invalid_row", lambda probs: kernels.first_invalid_row(probs, 1e-3), (1,)
    yield "softmax of logits", kernel_softmax, (1,)
    yield "NumPy, cache-sized blocks", numpy_blocks, (1, 2)
    yield "NumPy, whole arrays", numpy_whole, (1,)
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)
    yield "torch, cache-sized blocks", torch_blocks, (1,)
    yield "torch, whole arrays", torch_whole, (1,)


def measure(n_classes, dtype):
    """Medians in ns a value, by (way, threads)."""
    n_samples = N_VALUES // (N_EPOCHS * n_classes)
    probs = np.random.default_rng(0).random((n_samples, N_EPOCHS, n_classes), dtype=np.float32).astype(dtype)
    probs **= 3
    probs /= probs.sum(axis=-1, keepdims=True)
    ways = {(name, n): on_threads(way, n) for name, way, threads in peers() for n in threads}
    times = {key: [] for key in ways}
    for key in ways:
        ways[key](probs[:64])  # compile
    for _ in range(ROUNDS):
        for key, way in ways.items():
            start = time.perf_counter()
            way(probs)
            times[key].append(time.perf_counter() - start)
    return {key: statistics.median(taken) / probs.size * 1e9 for key, taken in times.items()}


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
    table = Table(title="ns a value (x: kl_differences with as many threads is that many times faster)")
    table.add_column("way", no_wrap=True)
    table.add_column("threads", justify="right")
    columns = {}
    for dtype in ("float32", "float64"):
        for n_classes in (10, 100, 1000):
            columns[dtype, n_classes] = measure(n_classes, dtype)
            table.add_column(f"{dtype}\nC = {n_classes}", justify="right")
    for key in next(iter(columns.values())):
        cells = []
        for column in columns.values():
            ratio = column[key] / column["kl_differences", key[1]]
            cells.append(f"{column[key]:.2f}" + ("" if key[0].startswith("kl_differences") else f" ({ratio:.2f}x)"))
        table.add_row(key[0], str(key[1]), *cells)
    console.print(table)
    if not any(name.startswith("torch") for name, _, _ in peers()):
        console.print("torch is not installed: left out.")


if __name__ == "__main__":
    sys.exit(main())
