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
    """Eq. 10 for one sample: `p` at epoch t, `q` at epoch t + 1."""
    terms = q * (np.log(q + EPS) - np.log(p + EPS))
    return np.abs(terms).sum() if inner_magnitude else terms.sum()


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
    n_kept = len(scores) - int(np.floor(pruning_rate * len(scores) + 1e-9))
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    return sorted(order[:n_kept])


def arrange(values, index):
    """Logs in arrival order, (n_epochs, n_rows, n_classes) and (n_epochs, n_rows), as (n_samples, n_epochs, n_classes)."""
    n_epochs, n_rows = index.shape
    arranged = np.empty((n_rows, n_epochs, values.shape[-1]), dtype=values.dtype)
    for t in range(n_epochs):
        arranged[index[t], t] = values[t]
    return arranged
