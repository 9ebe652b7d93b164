"""The judge: the equations in plain float64 NumPy, slow and obviously right. Imports nothing from tdds.

Everything takes one sample or a whole trajectory of shape (n_samples, n_epochs, n_classes), probabilities.
"""

import numpy as np

EPS = 1e-8


def softmax(logits):
    logits = np.asarray(logits, dtype=np.float64)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def kl_difference(p, q, inner_magnitude=False):
    """Eq. 10 for one sample: `p` at epoch t, `q` at epoch t + 1; less what rounding leaves of their sums.

    Of distributions that is nothing.
    """
    terms = q * (np.log(q + EPS) - np.log(p + EPS))
    return np.abs(terms).sum() if inner_magnitude else (terms - (q - p)).sum()


def ce_difference(p, q, y):
    """Eq. 9 for one sample."""
    return np.log(q[y] + EPS) - np.log(p[y] + EPS)


def windowed_variance(diffs, K, root=False):
    """Eq. 11 for one sample: one value for each window of K epochs, that is K - 1 differences."""
    values = []
    for start in range(len(diffs) - (K - 1) + 1):
        window = np.asarray(diffs[start : start + K - 1])
        variance = np.sum((window - window.mean()) ** 2)
        values.append(np.sqrt(variance) if root else variance)
    return values


def moving_average(variances, beta):
    """Eq. 12 for one sample; beta = 0 is the simple average."""
    if beta == 0:
        return float(np.mean(variances))
    average = 0.0
    for variance in variances:
        average = beta * variance + (1 - beta) * average
    return average


def tdds(probs, y=None, *, T=None, K=10, beta=0.9, formulation="paper", loss="kl", magnitude=True):
    """Eq. 8 to 12 for every sample; 2-D input holds logged losses."""
    probs = np.asarray(probs, dtype=np.float64)
    T = probs.shape[1] if T is None else T
    inner, root = {"paper": (False, False), "reference": (True, True), "datacull": (True, False)}[formulation]
    scores = []
    for i, sample in enumerate(probs):
        if loss == "el2n":
            norms = [error_norm(sample[t], y[i]) for t in range(T)]
            scores.append(
                moving_average(windowed_variance(norms, K + 1, root), beta)
            )  # K norms in a window of K epochs
            continue
        diffs = []
        for t in range(T - 1):
            if probs.ndim == 2:
                diffs.append(sample[t + 1] - sample[t])
            elif loss == "ce":
                diffs.append(ce_difference(sample[t], sample[t + 1], y[i]))
            else:
                diffs.append(kl_difference(sample[t], sample[t + 1], inner_magnitude=inner and magnitude))
        if magnitude:
            diffs = np.abs(diffs)
        scores.append(moving_average(windowed_variance(diffs, K, root), beta))
    return np.array(scores)


def top(scores, pruning_rate):
    """The kept samples, ascending: the M = N - floor(p N) largest scores, ties to the lower index."""
    n_kept = max(1, len(scores) - int(np.floor(pruning_rate * len(scores) + 1e-9)))
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    return sorted(order[:n_kept])


def arrange(values, index):
    """Logs in arrival order, (n_epochs, n_rows, n_classes), and `index`, (n_epochs, n_rows), samples first."""
    n_epochs, n_rows = index.shape
    arranged = np.empty((n_rows, n_epochs, values.shape[-1]), dtype=values.dtype)
    for t in range(n_epochs):
        arranged[index[t], t] = values[t]
    return arranged


# ------------------------------------------------------------ the other methods: (n_samples, n_epochs, n_classes), y


def error_norm(p, y):
    return np.linalg.norm(p - np.eye(len(p))[y])


def counted(probs, T, default=None):
    """The epochs that count."""
    probs = np.asarray(probs, dtype=np.float64)
    return probs[:, : (default if T is None else T)]


def entropy(probs, y=None, *, T=None):
    return np.array([-sum(x * np.log(x) for x in sample[-1] if x > 0) for sample in counted(probs, T)])


def least_confidence(probs, y=None, *, T=None):
    return np.array([1 - max(sample[-1]) for sample in counted(probs, T)])


def margin(probs, y=None, *, T=None):
    ranked = [sorted([0.0, *sample[-1]]) for sample in counted(probs, T)]
    return np.array([values[-1] - values[-2] for values in ranked])


def loss(probs, y=None, *, T=None):
    if np.ndim(probs) == 2:
        return counted(probs, T)[:, -1]
    return np.array([-np.log(sample[-1][c] + EPS) for sample, c in zip(counted(probs, T), y, strict=True)])


def forgetting(probs, y, *, T=None):
    counts = []
    for sample, c in zip(counted(probs, T), y, strict=True):
        right = [int(np.argmax(p)) == c for p in sample]
        events = sum(right[t - 1] and not right[t] for t in range(1, len(right)))
        counts.append(events if any(right) else len(right))
    return np.array(counts, dtype=np.float64)


def el2n(probs, y, *, T=None):
    return np.array(
        [np.mean([error_norm(p, c) for p in sample]) for sample, c in zip(counted(probs, T, 10), y, strict=True)]
    )


def aum(probs, y, *, T=None, margin_of="probs", floor=1e-300):
    scores = []
    for sample, c in zip(counted(probs, T), y, strict=True):
        margins = []
        for p in sample:
            own, rival = p[c], max([0.0, *np.delete(p, c)])
            if margin_of == "logits":
                own, rival = np.log(max(own, floor)), np.log(max(rival, floor))
            margins.append(own - rival)
        scores.append(np.mean(margins))
    return np.array(scores)


def confidence(probs, y, *, T=None):
    return np.array([np.mean(sample[:, c]) for sample, c in zip(counted(probs, T), y, strict=True)])


def variability(probs, y, *, T=None):
    return np.array([np.std(sample[:, c]) for sample, c in zip(counted(probs, T), y, strict=True)])


def label_windows(sample, c, K):
    """The probabilities of label `c` in every window of K consecutive epochs."""
    return [sample[start : start + K, c] for start in range(len(sample) - K + 1)]


def dyn_unc(probs, y, *, T=None, K=10):
    return np.array(
        [
            np.mean([np.std(w, ddof=1) for w in label_windows(sample, c, K)])
            for sample, c in zip(counted(probs, T), y, strict=True)
        ]
    )


def dual(probs, y, *, T=None, K=10):
    return np.array(
        [
            np.mean([np.std(w, ddof=1) * (1 - np.mean(w)) for w in label_windows(sample, c, K)])
            for sample, c in zip(counted(probs, T, 30), y, strict=True)
        ]
    )


def eva(probs, y, *, T=None):
    probs = counted(probs, T)
    norms = np.array([[error_norm(p, c) for p in sample] for sample, c in zip(probs, y, strict=True)])
    T = norms.shape[1]
    width = max(2, T // 20)
    early, late = (norms[:, first : first + width].var(axis=1) for first in (0, T // 2))
    return 0.5 * early / (early.sum() or 1) + 0.5 * late / (late.sum() or 1)


def moderate(features, y):
    """The distance of each sample's features to the mean of those of its class."""
    features = np.asarray(features, dtype=np.float64)
    return np.array([np.linalg.norm(row - features[y == c].mean(axis=0)) for row, c in zip(features, y, strict=True)])


def nearest_median(scores, y, n_kept):
    """The kept samples, ascending: those whose score is nearest the median of their class, ties to the lower index."""
    off = [abs(score - np.median(scores[y == c])) for score, c in zip(scores, y, strict=True)]
    return sorted(sorted(range(len(off)), key=lambda i: (off[i], i))[:n_kept])


def spearman(a, b):
    """Pearson's correlation of the ranks, ties sharing the mean of theirs."""
    ranks = [[np.mean([np.sum(x < value) + 1, np.sum(x <= value)]) for value in x] for x in (a, b)]
    return (
        np.mean((ranks[0] - np.mean(ranks[0])) * (ranks[1] - np.mean(ranks[1]))) / np.std(ranks[0]) / np.std(ranks[1])
    )


def overlap(kept, others):
    """The share of one coreset that another of its size holds as well."""
    return len(set(kept) & set(others)) / len(kept)


def fill_smallest_first(sizes, total):
    """The budget of each stratum: the smallest first, each its even share of what is left, or all that it has."""
    budgets = [0] * len(sizes)
    order = sorted(range(len(sizes)), key=lambda s: (sizes[s], s))
    for position, s in enumerate(order):
        budgets[s] = min(sizes[s], (total - sum(budgets)) // (len(order) - position))
    return budgets
