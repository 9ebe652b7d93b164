"""From scores to a coreset, and to the weights that its samples train with."""

from __future__ import annotations

from typing import Any

import numpy as np

from tdds.validation import check_choice, check_integer, check_real

WEIGHTINGS = ("per_sample", "root", "batch_mean", "none")


def count_kept(n_samples: int, pruning_rate: float, n_select: int | None = None) -> int:
    """How many of `n_samples` stay: M = N - floor(p N + 1e-9), or `n_select` where it is given.

    Raises
    ------
    TypeError, ValueError
        `pruning_rate`, the share *removed*, is not in [0, 1), or `n_select` not in 1 ... n_samples.
    """
    if n_select is None:
        return n_samples - int(
            np.floor(check_real("pruning_rate", pruning_rate, 0, 1, high_is_legal=False) * n_samples + 1e-9)
        )
    if check_integer("n_select", n_select, 1) > n_samples:
        raise ValueError(f"n_select={n_select}, but there are {n_samples} samples; expected 1 to {n_samples}.")
    return int(n_select)


def top(scores: np.ndarray, n_kept: int) -> np.ndarray:
    """Indices, ascending, of the `n_kept` largest scores; ties go to the lower index."""
    return np.sort(np.argsort(-scores, kind="stable")[:n_kept])


def importance_weights(scores: np.ndarray, indices: np.ndarray, weighting: str = "per_sample") -> np.ndarray:
    """Eq. 13: the factor of each kept sample's gradient, from R min-max scaled over *all* samples.

    Parameters
    ----------
    scores : (n_samples,) float64 array
    indices : (n_kept,) integer array
    weighting : {"per_sample", "root", "batch_mean", "none"}
        "per_sample": scaled R, divided by its mean over the kept samples, so that the learning rate keeps its meaning.
        "root": the same of the square root of scaled R, whose tail is lighter.
        "batch_mean": scaled R as it is; the authors multiply a batch's mean loss by the batch's mean weight.
        "none": 1. Constant scores weigh 1 as well.

    Returns
    -------
    (n_kept,) float64 array
    """
    check_choice("weighting", weighting, WEIGHTINGS)
    low, high = scores.min(), scores.max()
    if weighting == "none" or low == high:
        return np.ones(len(indices))
    scaled = (scores[indices] - low) / (high - low)
    if weighting == "batch_mean":
        return scaled
    if weighting == "root":
        scaled = np.sqrt(scaled)
    mean = scaled.mean()
    return scaled / mean if mean > 0 else np.ones(len(indices))


#: Every sampler by name.
SAMPLERS: dict[str, Any] = {"top": top}
