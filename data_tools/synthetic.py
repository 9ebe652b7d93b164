"""Make a synthetic training trajectory: of any size, in bounded memory; with `--npy` an epoch at a time.

    python data_tools/synthetic.py run.h5 --samples 100000 --epochs 30 --classes 100    HDF5, samples first
    python data_tools/synthetic.py big.h5 --samples 1281167 --epochs 30 --classes 1000 --distinct 10000 --virtual
    python data_tools/synthetic.py logs/  --samples 50000 --epochs 30 --classes 100 --npy    logits, arrival order

Every sample has a class and a difficulty: the logit of its class grows from epoch to epoch, quickly for an easy sample,
late and unsteadily for a hard one. Labels come along. With `--distinct` the samples after the first so many repeat
them, which is cheap to make; with `--virtual` they also take no disk: a virtual dataset shows the first again.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from scipy.special import softmax


def logits_of(samples: np.ndarray, epoch: int, n_epochs: int, n_classes: int, seed: int = 0) -> np.ndarray:
    """Logits of consecutive `samples` at `epoch`, (len(samples), n_classes) float32, drawn anew from the first on."""
    labels, difficulty = traits(samples, n_classes)
    progress = (epoch + 1) / n_epochs
    rng = np.random.default_rng([seed, epoch, int(samples[0])])
    logits = rng.standard_normal((len(samples), n_classes), dtype=np.float32) * (0.3 + difficulty[:, None])
    logits[np.arange(len(samples)), labels] += 12 * progress ** (0.5 + 3 * difficulty)
    return logits


def traits(samples: np.ndarray, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Label and difficulty, in [0, 1), of each sample."""
    mixed = (samples.astype(np.uint64) * np.uint64(2654435761)) % np.uint64(2**32)
    return (mixed % np.uint64(n_classes)).astype(np.int64), (mixed / 2**32).astype(np.float32) ** 2


def blocks(n_samples: int, block_rows: int) -> Iterator[np.ndarray]:
    for start in range(0, n_samples, block_rows):
        yield np.arange(start, min(start + block_rows, n_samples))


def write_hdf5(
    path: Path,
    n_samples: int,
    n_epochs: int,
    n_classes: int,
    dtype: str,
    n_distinct: int | None = None,
    virtual: bool = False,
) -> None:
    """One dataset `probs` (n_samples, n_epochs, n_classes), chunked by samples; or virtual, of one named `distinct`."""
    n_distinct = min(n_distinct or n_samples, n_samples)
    rows = min(n_distinct, max(1, (1 << 20) // (n_epochs * n_classes * np.dtype(dtype).itemsize)))
    shape = (n_samples, n_epochs, n_classes)
    with h5py.File(path, "w") as file:
        real = file.create_dataset(
            "distinct" if virtual else "probs",
            (n_distinct, *shape[1:]) if virtual else shape,
            dtype,
            chunks=(rows, *shape[1:]),
        )
        for samples in blocks(n_distinct, rows * 32):
            epochs = [softmax(logits_of(samples, epoch, n_epochs, n_classes), axis=-1) for epoch in range(n_epochs)]
            # cast here: HDF5 1.12 makes 0.5 of a float32 that float16 rounds up to 1
            real[samples[0] : samples[-1] + 1] = np.stack(epochs, axis=1).astype(dtype)
        if virtual:
            layout = h5py.VirtualLayout(shape, dtype)
            for samples in blocks(n_samples, n_distinct):
                source = h5py.VirtualSource(".", "distinct", shape=real.shape)
                layout[samples[0] : samples[-1] + 1] = source[: len(samples)]
            file.create_virtual_dataset("probs", layout)
        elif n_distinct < n_samples:
            distinct = real[:n_distinct]
            for start in range(n_distinct, n_samples, n_distinct):
                real[start : start + n_distinct] = distinct[: n_samples - start]
        file["probs"].attrs.update(axes="NTC", kind="probs")
        file["labels"] = traits(np.arange(n_samples) % n_distinct, n_classes)[0]


def write_npy(folder: Path, n_samples: int, n_epochs: int, n_classes: int) -> None:
    """``{t}_Output.npy``, logits float32 in a shuffled order, ``{t}_Index.npy``, and ``labels.npy``."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "labels.npy", traits(np.arange(n_samples), n_classes)[0])
    for epoch in range(n_epochs):
        order = np.random.default_rng([1, epoch]).permutation(n_samples)
        logits = np.concatenate([logits_of(samples, epoch, n_epochs, n_classes) for samples in blocks(n_samples, 4096)])
        np.save(folder / f"{epoch}_Output.npy", logits[order])
        np.save(folder / f"{epoch}_Index.npy", order)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--distinct", type=int, help="samples that are made; the others repeat them")
    parser.add_argument("--virtual", action="store_true", help="what repeats takes no disk")
    parser.add_argument("--npy", action="store_true", help="a directory in the TDDS authors' layout")
    asked = parser.parse_args()
    if asked.npy and (asked.distinct or asked.virtual):
        parser.error("--distinct and --virtual are of HDF5; leave --npy out")
    if asked.npy:
        write_npy(asked.path, asked.samples, asked.epochs, asked.classes)
    else:
        write_hdf5(asked.path, asked.samples, asked.epochs, asked.classes, asked.dtype, asked.distinct, asked.virtual)


if __name__ == "__main__":
    main()
