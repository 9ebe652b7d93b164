"""Symmetric label noise: a share of the labels replaced by another class, seeded.

    python data_tools/noise.py labels.npy noisy.npz --share 0.2 --random-state 0

The file that is written holds `labels` and `indices`, those whose label was replaced.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tdds.validation import check_labels, check_real, random_generator


class NoisyLabels(NamedTuple):
    """Labels, and the ascending indices of those that were replaced."""

    labels: np.ndarray
    indices: np.ndarray


def symmetric_noise(
    labels: Any, share: float, *, n_classes: int | None = None, random_state: Any = None
) -> NoisyLabels:
    """Replace a share of the labels, each by one of the other classes, all as likely.

    Parameters
    ----------
    labels : (n_samples,) integers
    share : float in [0, 1]
        Exactly round(share * n_samples) labels are replaced.
    n_classes : int, optional
        One more than the largest label where left out.
    random_state : int, Generator, RandomState or None, default None

    Returns
    -------
    NoisyLabels
        int64 labels, and the ascending indices of those that were replaced.

    Raises
    ------
    ValueError, TypeError
        `share` is out of range, or there is no other class.
    """
    labels = check_labels(labels, len(labels), n_classes)
    n_replaced = round(check_real("share", share, 0, 1) * len(labels))
    n_classes = int(labels.max()) + 1 if n_classes is None else n_classes
    if n_classes < 2:
        raise ValueError(f"n_classes={n_classes}: there is no other class to replace a label by; expected 2 or more.")
    rng = random_generator(random_state)
    indices = np.sort(rng.permutation(len(labels))[:n_replaced])
    labels[indices] = (labels[indices] + rng.integers(1, n_classes, size=n_replaced)) % n_classes
    return NoisyLabels(labels, indices)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path, help=".npy of integers")
    parser.add_argument("output", type=Path, help=".npz to write")
    parser.add_argument("--share", type=float, default=0.2)
    parser.add_argument("--random-state", type=int, default=0)
    asked = parser.parse_args()
    noisy = symmetric_noise(np.load(asked.labels), asked.share, random_state=asked.random_state)
    np.savez(asked.output, **noisy._asdict())
    print(f"{len(noisy.indices):,} of {len(noisy.labels):,} labels replaced -> {asked.output}")


if __name__ == "__main__":
    main()
