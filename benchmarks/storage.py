"""What a store could save, and what it would cost: narrower numbers, and lossless filters, in three tables.

    python benchmarks/storage.py LOGITS.npz

The trajectory is one of real training: an .npz of `logits` (n_epochs, n_rows, n_classes) in order of arrival, and of
`index` (n_epochs, n_rows), the sample of each row. The probabilities are their softmax in float32.

Coreset: the share of the float32 coreset that stays in it where the store holds fewer bits. Converged: the same of
float64, and how far scores are off in the median, of a network that learns scikit-learn's digits by heart. Filters:
the size of the first and the last epoch of float16 probabilities, in shuffled order and in chunks as the store has
them, without a filter and with those that HDF5 brings, and how fast they are read from memory (time of the processor).
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import h5py
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.special import softmax
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from tdds import TrajectoryWriter, open_trajectory
from tdds.engine import compute_scores
from tdds.samplers import count_kept, top
from tdds.scores import TDDS
from tdds.store.hdf5 import chunk_rows_of

SETTINGS = [TDDS(T, K) for T, K in ((10, 5), (12, 5), (12, 10))]
PRUNING_RATES = (0.5, 0.7, 0.9)
DTYPES = ("float32", "float16", "bfloat16", "log8")
FILTERS = {
    "none": {},
    "shuffle + lzf": {"compression": "lzf", "shuffle": True},
    "lzf": {"compression": "lzf"},
    **{
        f"{'shuffle + ' * shuffle}gzip {level}": {"compression": "gzip", "compression_opts": level, "shuffle": shuffle}
        for level, shuffle in itertools.product((1, 4, 9), (False, True))
    },
}


def probabilities(path: Path) -> np.ndarray:
    """(n_samples, n_epochs, n_classes) float32."""
    with np.load(path) as logged:
        logits, index = logged["logits"], logged["index"]
    probs = np.empty((index.max() + 1, *logits.shape[::2]), np.float32)
    for epoch, (rows, samples) in enumerate(zip(logits, index, strict=True)):
        probs[samples, epoch] = softmax(rows.astype(np.float32), axis=1)
    return probs


def learnt_by_heart() -> np.ndarray:
    """(n_samples, 30 epochs, n_classes) float64, of digits."""
    X, y = load_digits(return_X_y=True)
    X, epochs = X / 16, []
    model = MLPClassifier((64,), learning_rate_init=5e-3, batch_size=32, random_state=0)
    for _ in range(30):
        epochs.append(model.partial_fit(X, y, classes=np.unique(y)).predict_proba(X))
    return np.stack(epochs, axis=1)


def stored_scores(probs: np.ndarray, dtype: str, settings: list[TDDS]) -> dict[TDDS, np.ndarray]:
    """Of a store of that dtype."""
    with tempfile.TemporaryDirectory() as folder:
        with TrajectoryWriter(folder, len(probs), probs.shape[2], dtype=dtype) as writer:
            for epoch in range(probs.shape[1]):
                writer.write(None, probs[:, epoch])
                writer.end_epoch()
        scores = compute_scores(open_trajectory(folder), {str(setting): setting for setting in settings})
    return {setting: scores[str(setting)] for setting in settings}


def shares_kept(exact: np.ndarray, found: np.ndarray) -> list[str]:
    """Of the coresets of exact scores, at each pruning rate."""
    sizes = [count_kept(len(exact), rate) for rate in PRUNING_RATES]
    return [f"{np.isin(top(exact, n_kept), top(found, n_kept)).mean():.2%}" for n_kept in sizes]


def precision_rows(probs: np.ndarray) -> Iterator[list[str]]:
    exact, *others = (stored_scores(probs, dtype, SETTINGS) for dtype in DTYPES)
    for setting, (dtype, found) in itertools.product(SETTINGS, zip(DTYPES[1:], others, strict=True)):
        yield [f"T={setting.T}, K={setting.K}", dtype, *shares_kept(exact[setting], found[setting])]


def converged_rows() -> Iterator[list[str]]:
    probs, setting = learnt_by_heart(), TDDS(30, 10)
    exact = stored_scores(probs, "float64", [setting])[setting]
    for dtype in DTYPES:
        found = stored_scores(probs, dtype, [setting])[setting]
        yield [dtype, f"{np.median(abs(found / exact - 1)):.1e}", *shares_kept(exact, found)]


def filter_rows(probs: np.ndarray) -> Iterator[list[str]]:
    cells = {name: [name] for name in FILTERS}
    with tempfile.TemporaryDirectory() as folder:
        for epoch in (0, -1):
            values = probs[np.random.default_rng(0).permutation(len(probs)), epoch].astype(np.float16)
            path, chunk = Path(folder, f"{epoch}.h5"), (chunk_rows_of(values[0].nbytes, len(values)), values.shape[1])
            with h5py.File(path, "w") as file:
                for name, filters in FILTERS.items():
                    file.create_dataset(name, data=values, chunks=chunk, **filters)
            with h5py.File(path, rdcc_nbytes=0) as file:
                for name in FILTERS:
                    smaller = values.nbytes / file[name].id.get_storage_size()
                    cells[name] += [f"{smaller:.2f}", f"{values.nbytes / seconds_to_read(file[name]) / 1e9:.2f}"]
    yield from cells.values()


def seconds_to_read(dataset: h5py.Dataset) -> float:
    """Median, of the processor."""
    out, taken = np.empty(dataset.shape, dataset.dtype), []
    for _ in range(9):
        began = time.process_time()
        dataset.read_direct(out)
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logits", type=Path)
    probs = probabilities(parser.parse_args().logits)
    console = Console(width=110)
    console.print(
        f"{date.today()}, {platform.processor() or platform.machine()}, {os.cpu_count()} cores; HDF5 "
        f"{h5py.version.hdf5_version}; {len(probs):,} samples, {probs.shape[1]} epochs, {probs.shape[2]} classes"
    )
    rates = [f"p = {rate}" for rate in PRUNING_RATES]
    precision = Table("", "stored as", *rates, title="Share of the float32 coreset that is kept")
    for row in precision_rows(probs):
        precision.add_row(*row)
    console.print(precision)
    converged = Table("stored as", "scores off by", *rates, title="Digits learnt by heart: of the float64 coreset")
    for row in converged_rows():
        converged.add_row(*row)
    console.print(converged)
    titles = [f"{which} epoch\n{what}" for which in ("first", "last") for what in ("smaller by", "read, GB/s")]
    filters = Table("filter", *titles, title="An epoch of float16 probabilities")
    for row in filter_rows(probs):
        filters.add_row(*row)
    console.print(filters)


if __name__ == "__main__":
    main()
