"""From scores to a coreset, and to the weights that its samples train with.

A sampler chooses exactly `n_kept` samples, whatever the scores. It takes them turned so that the largest are kept: the
negative of a score of which the smallest are (`preference`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from tdds.classes import by_class
from tdds.validation import check_choice, check_integer, check_labels, check_real, random_generator

KEEPS = ("largest", "smallest", "median")
WEIGHTINGS = ("per_sample", "root", "batch_mean", "none")

#: Share of hard samples that coverage-centric selection drops first, by data set and pruning rate: CIFAR-10 as in the
#: paper's appendix B, ImageNet as in the authors' commands.
CUTOFFS = {
    "cifar10": {0.3: 0.0, 0.5: 0.0, 0.7: 0.1, 0.8: 0.1, 0.9: 0.3},
    "imagenet": {0.8: 0.2, 0.9: 0.3},
}


class Sampler(Protocol):
    """How scores become a coreset."""

    second: ClassVar[str | None]  # a method whose score of the same trajectory it needs as well
    needs_labels: ClassVar[bool]

    def __call__(
        self,
        scores: np.ndarray,
        n_kept: int,
        *,
        second: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        random_state: Any = None,
    ) -> np.ndarray:
        """Ascending indices of `n_kept` samples; `scores`: the largest are preferred."""


def count_kept(n_samples: int, pruning_rate: float, n_select: int | None = None) -> int:
    """How many of `n_samples` stay: M = N - floor(p N + 1e-9), or `n_select` where it is given.

    Raises
    ------
    TypeError, ValueError
        `pruning_rate`, the share *removed*, is not in [0, 1), or `n_select` not in 1 ... n_samples.
    """
    if n_select is None:
        rate = check_real("pruning_rate", pruning_rate, 0, 1, high_is_legal=False)
        return max(1, n_samples - int(np.floor(rate * n_samples + 1e-9)))  # p < 1 never removes the last
    if check_integer("n_select", n_select, 1) > n_samples:
        raise ValueError(f"n_select={n_select}, but there are {n_samples} samples; expected 1 to {n_samples}.")
    return int(n_select)


def top(scores: np.ndarray, n_kept: int) -> np.ndarray:
    """Indices, ascending, of the `n_kept` largest scores; ties go to the lower index."""
    return np.sort(np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")[:n_kept])


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
        "none": 1. Constant scores weigh 1 as well, and so do kept samples that are all of the least score.

    Returns
    -------
    (n_kept,) float64 array
    """
    check_choice("weighting", weighting, WEIGHTINGS)
    low, high = scores.min(), scores.max()
    if weighting == "none" or low == high:
        return np.ones(len(indices))
    scaled = (scores[indices] - low) / (high - low)
    if weighting == "root":
        scaled = np.sqrt(scaled)
    mean = scaled.mean()
    if not mean > 0:
        return np.ones(len(indices))
    return scaled if weighting == "batch_mean" else scaled / mean


def preference(scores: np.ndarray, keeps: str, labels: np.ndarray | None = None) -> np.ndarray:
    """`scores` turned so that the largest are kept, by what their method keeps.

    That is the "largest", the "smallest", or those nearest the "median" of their class, which needs `labels`.

    Raises
    ------
    ValueError
        `keeps` is not known, or labels are needed or do not fit.
    """
    check_choice("keeps", keeps, KEEPS)
    scores = np.asarray(scores, dtype=np.float64)
    if keeps != "median":
        return scores if keeps == "largest" else -scores
    if labels is None:
        raise ValueError("Scores kept near the median of their class need labels; pass y, one integer a sample.")
    labels = check_labels(labels, len(scores), None)
    preferred = np.empty(len(scores))
    for own in by_class(labels):
        preferred[own] = -np.abs(scores[own] - np.median(scores[own]))
    return preferred


@dataclass(frozen=True)
class Coreset:
    """What is kept: ascending indices, the weight of each in training, and the score of the least preferred of them."""

    indices: np.ndarray
    weights: np.ndarray
    threshold: float


def draw_coreset(
    scores: np.ndarray,
    keeps: str,
    sampler: Sampler,
    n_kept: int,
    *,
    labels: np.ndarray | None = None,
    weighting: str = "none",
    **beside: Any,
) -> Coreset:
    """The coreset of `scores`, as their method defines them; `beside` is what else `sampler` takes."""
    preferred = preference(scores, keeps, labels)
    indices = sampler(preferred, n_kept, labels=labels, **beside)
    worst = scores[indices[np.argmin(preferred[indices])]]
    return Coreset(indices, importance_weights(preferred, indices, weighting), float(worst))


class _Sampler:
    """What most samplers need: the scores alone."""

    second: ClassVar[str | None] = None
    needs_labels: ClassVar[bool] = False


@dataclass(frozen=True)
class Top(_Sampler):
    """The samples of the largest scores; ties go to the lower index."""

    def __call__(self, scores, n_kept, *, second=None, labels=None, random_state=None):
        return top(scores, n_kept)


@dataclass(frozen=True)
class RandomChoice(_Sampler):
    """Any samples, each as likely as the others; the scores are not looked at."""

    def __call__(self, scores, n_kept, *, second=None, labels=None, random_state=None):
        # No permutation: the seed that drew which labels to spoil, 0 mostly, would draw the same samples again.
        return top(random_generator(random_state).random(len(scores)), n_kept)


@dataclass(frozen=True)
class ClassBalanced(_Sampler):
    """The samples of the largest scores of each class; a class keeps the share that all keep, n_c M / N.

    Quotas are rounded by largest remainder, ties to the lower class, so that they sum to M.
    """

    needs_labels: ClassVar[bool] = True

    def __call__(self, scores, n_kept, *, second=None, labels=None, random_state=None):
        classes = by_class(labels)
        quotas, remainders = np.divmod(np.array([len(own) for own in classes]) * n_kept, len(scores))
        quotas[np.argsort(-remainders, kind="stable")[: n_kept - quotas.sum()]] += 1
        return np.sort(
            np.concatenate([own[top(scores[own], quota)] for own, quota in zip(classes, quotas, strict=True)])
        )


@dataclass(frozen=True)
class Stratified(_Sampler):
    """Coverage-centric coreset selection (CCS): random samples from every stratum of the scores.

    The hardest `cutoff` share, those of the smallest AUM, is dropped first. The range of the scores that are left is
    split into strata of equal width, and the budget is shared by filling the smallest strata first: each, in
    ascending order of size, keeps as many as are left for it on average, or all that it has.

    H. Zheng et al., "Coverage-centric Coreset Selection for High Pruning Rates", ICLR 2023.

    Parameters
    ----------
    cutoff : float in [0, 1), or {"cifar10", "imagenet"}, default "cifar10"
        Never more than leaves n_kept samples. A name stands for the share published for that data set at the nearest
        published pruning rate below, 0 under the first of them. For other data the authors search for it.
    n_strata : int, default 50
    """

    cutoff: float | str = "cifar10"
    n_strata: int = 50
    second: ClassVar[str | None] = "aum"

    def __post_init__(self):
        if isinstance(self.cutoff, str):
            check_choice("cutoff", self.cutoff, tuple(CUTOFFS))
        else:
            check_real("cutoff", self.cutoff, 0, 1, high_is_legal=False)
        check_integer("n_strata", self.n_strata, 1)

    def __call__(self, scores, n_kept, *, second=None, labels=None, random_state=None):
        rng = random_generator(random_state)
        n_dropped = min(self.count_dropped(len(scores), n_kept), len(scores) - n_kept)
        pool = np.sort(np.argsort(second, kind="stable")[n_dropped:])
        strata = self.strata(scores[pool])
        budgets = fill_smallest_first(np.bincount(strata, minlength=self.n_strata), n_kept)
        kept = [rng.permutation(pool[strata == s])[:budget] for s, budget in enumerate(budgets)]
        return np.sort(np.concatenate(kept))

    def count_dropped(self, n_samples, n_kept):
        """The cut-off, as a number of samples."""
        cutoff = self.cutoff
        if isinstance(cutoff, str):
            published = CUTOFFS[cutoff].items()
            cutoff = max((share for rate, share in published if count_kept(n_samples, rate) >= n_kept), default=0.0)
        return int(cutoff * n_samples + 1e-9)

    def strata(self, scores):
        """The stratum, 0 to n_strata - 1, of each score."""
        low = scores.min()
        width = (scores.max() - low) / self.n_strata
        if not width > 0:
            return np.zeros(len(scores), dtype=int)
        return np.minimum((scores - low) / width, self.n_strata - 1).astype(int)


@dataclass(frozen=True)
class BetaDraw(_Sampler):
    """The draw of DUAL: M without replacement, with probability proportional to score x BetaPDF(m; a, b).

    m is the mean of p_y over the epochs that count, mu the mean m of the ten highest-scored samples and r the pruning
    rate: b = 15 (1 - mu) (1 - r^c), a = 16 - b, so that the draw moves towards easy samples as r grows, as in their
    published code; a version of it in circulation raises r to 2 + c. Scores below 0 are shifted to start at 0; where
    fewer than M probabilities are above 0, the rest is drawn from the others evenly.

    Y. Cho et al., "Lightweight Dataset Pruning without Full Training via Example Difficulty and Prediction
    Uncertainty", ICML 2025.

    Parameters
    ----------
    c : float, default 4
        4 for CIFAR, 11 for ImageNet.
    """

    c: float = 4
    second: ClassVar[str | None] = "confidence"

    def __post_init__(self):
        check_real("c", self.c, 0, np.inf)

    def __call__(self, scores, n_kept, *, second=None, labels=None, random_state=None):
        mu = second[np.argsort(-scores, kind="stable")[:10]].mean()
        b = 15 * (1 - mu) * (1 - (1 - n_kept / len(scores)) ** self.c)
        logs = log_beta_density(second, 16 - b, b)
        with np.errstate(divide="ignore"):
            logs = logs + np.log(scores - min(scores.min(), 0))
        # The M largest of log w + Gumbel noise are M draws without replacement with probability proportional to w.
        rng = random_generator(random_state)
        keys, ties = logs + rng.gumbel(size=len(scores)), rng.random(len(scores))
        return np.sort(np.lexsort((ties, -keys))[:n_kept])


def log_beta_density(m: np.ndarray, a: float, b: float) -> np.ndarray:
    """The logarithm of BetaPDF(m; a, b) but for a constant; m is kept 1e-12 off 0 and 1."""
    m = np.clip(m, 1e-12, 1 - 1e-12)
    return (a - 1) * np.log(m) + (b - 1) * np.log1p(-m)


def fill_smallest_first(sizes: np.ndarray, total: int) -> np.ndarray:
    """Budgets up to `sizes` that sum to `total`, as even as the smallest allow."""
    budgets = np.zeros_like(sizes)
    for n_filled, s in enumerate(np.argsort(sizes, kind="stable")):
        budgets[s] = min(sizes[s], total // (len(sizes) - n_filled))
        total -= budgets[s]
    return budgets


#: Every sampler by name.
SAMPLERS: dict[str, Any] = {
    "top": Top,
    "random": RandomChoice,
    "class_balanced": ClassBalanced,
    "stratified": Stratified,
    "beta": BetaDraw,
}
