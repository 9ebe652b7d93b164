"""What pictures and the report show, as numbers: bins, class counts, overlaps, one sample's way to its score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tdds.engine import compute_scores, read_sample, what_lacks
from tdds.samplers import count_kept, top
from tdds.scores import TDDS, Tile
from tdds.sources import Trajectory

N_BINS = 60


def is_heavy_tailed(scores: np.ndarray) -> bool:
    """Whether `scores` need a logarithmic axis: none below 0, the top tenth over ten times the median, no counts."""
    median, high = np.quantile(scores, [0.5, 0.9])
    return bool(scores.min() >= 0 and high > 10 * median and not _are_counts(scores) and _low(scores) < scores.max())


def score_bins(scores: np.ndarray) -> np.ndarray:
    """Edges of bins, geometric where the scores are heavy-tailed, one a value where they are few counts.

    The first geometric bin begins at the 0.005 quantile of the scores above 0; what lies below belongs to it as well.
    Scores too near each other for so many bins lie in the middle of wider ones.
    """
    low, high = scores.min(), scores.max()
    if is_heavy_tailed(scores):
        return np.geomspace(_low(scores), high, N_BINS + 1)
    if _are_counts(scores) and high - low < N_BINS:
        return np.arange(low, high + 2) - 0.5
    edges = np.linspace(low, high, N_BINS + 1)
    if (np.diff(edges) > 0).all():
        return edges
    around = max(0.5, 1e-9 * abs(low))
    return np.linspace(low - around, high + around, N_BINS + 1)


def bin_of(scores: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin of each score; those outside belong to the first or the last."""
    return np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, len(edges) - 2)


def bin_counts(scores: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many of `scores` lie in each bin."""
    return np.bincount(bin_of(scores, edges), minlength=len(edges) - 1)


def class_counts(labels: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Samples of each class, 0 to the largest label, among `indices` and in all."""
    full = np.bincount(labels)
    return np.bincount(labels[indices], minlength=len(full)), full


def default_grid(n_epochs: int) -> tuple[list[int], list[int]]:
    """Values of T, evenly up to `n_epochs`, and of K that are worth comparing; none under three epochs."""
    T = np.unique(np.linspace(0, n_epochs, 7).round().astype(int))
    return [int(t) for t in T if t >= 3], [k for k in (3, 5, 10, 20) if k <= n_epochs]


def overlap_grid(
    trajectory: Trajectory, score: TDDS, T: Sequence[int], K: Sequence[int], pruning_rate: float
) -> np.ndarray:
    """The share of `score`'s coreset that each T and K keep as well, (len(T), len(K)); nan where K > T.

    All of them are scored in one reading.

    Raises
    ------
    ValueError, TrajectoryError
        `score`, or a T or K, does not fit the trajectory.
    """
    cells = [(i, j) for i, t in enumerate(T) for j, k in enumerate(K) if k <= t]
    variants = {f"tdds at T={T[i]}, K={K[j]}": replace(score, T=T[i], K=K[j]) for i, j in cells}
    n_kept = count_kept(trajectory.n_samples, pruning_rate)
    scores = compute_scores(trajectory, {"tdds": score, **variants})
    own, *others = (top(values, n_kept) for values in scores.values())
    grid = np.full((len(T), len(K)), np.nan)
    for cell, kept in zip(cells, others, strict=True):
        grid[cell] = len(np.intersect1d(own, kept, assume_unique=True)) / n_kept
    return grid


@dataclass(frozen=True)
class Story:
    """One sample on its way to its score; epochs count from 1, as in the paper.

    Attributes
    ----------
    values : (n_epochs, n_classes) float64 array
        Probabilities, or (n_epochs,) losses.
    diffs : (n_diffs,) float64 array
        What the variance is taken of: abs(dl_t), at epochs n_epochs - n_diffs + 1 ... n_epochs.
    variances, averages : (n_windows,) float64 arrays
        Eq. 11 of the window that ends at each of the epochs K ... n_epochs, and Eq. 12 up to it; the last average is
        the score.
    label : int or None
    """

    values: np.ndarray
    diffs: np.ndarray
    variances: np.ndarray
    averages: np.ndarray
    label: int | None


def tell_story(trajectory: Trajectory, sample: int, score: TDDS) -> Story:
    """How `score` comes about for one sample.

    Raises
    ------
    ValueError, TrajectoryError
        There is no such sample, the trajectory is a stream, or `score` does not fit it or needs labels.
    """
    n_epochs = score.check(trajectory.n_epochs)
    values = read_sample(trajectory, sample, n_epochs)
    if lack := what_lacks(trajectory, score):
        raise ValueError(f"tdds {lack}")
    labels = None if trajectory.labels is None else trajectory.labels[sample : sample + 1]
    rows = values[np.newaxis]
    diffs = score.series(trajectory.kind)(Tile(rows, labels))
    variances = score.windows(diffs)
    averages = [score.reduce(variances[:, : w + 1])[0] for w in range(variances.shape[1])]
    shown = np.abs(diffs[0]) if score.magnitude else diffs[0]
    return Story(values, shown, variances[0], np.array(averages), None if labels is None else int(labels[0]))


def _low(scores: np.ndarray) -> float:
    """Where a logarithmic axis begins."""
    return float(np.quantile(scores[scores > 0], 0.005))


def _are_counts(scores: np.ndarray) -> bool:
    return bool((scores == np.floor(scores)).all())
