"""Numba kernels: one kernel, one equation. Arrays in, arrays out.

Every kernel takes C-contiguous arrays and fills a preallocated ``out``, its last argument, in float64. Kernels are
serial and release the GIL: threads belong to the engine. They are compiled at their first call, per input dtype, and
cached on disk where the disk allows it.

Equation numbers are those of "Spanning Training Progress: Temporal Dual-Depth Scoring (TDDS) for Enhanced Dataset
Pruning", CVPR 2024. The logarithms hold ``EPS``, as in the authors' script; the paper writes none.
"""

import math

import numba
import numpy as np

EPS = 1e-8

# No 'nnan' and no 'ninf': the checks below must see them.
_OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "arcp", "nsz", "afn"}}


def kernel(function):
    """Compile `function` lazily, cached unless neither the package nor the home directory can be written."""
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:
        return numba.njit(**_OPTIONS)(function)


@kernel
def kl_differences(probs, inner_magnitude, out):
    """Eq. 10: ``out[i, t] = sum_c p[t+1, c] (log p[t+1, c] - log p[t, c])``, the change of epoch t + 1 against t.

    Parameters
    ----------
    probs : (n_samples, n_epochs, n_classes) float array
        Rows are distributions; exact 0 and 1 are legal.
    inner_magnitude : bool
        Take the absolute value of every class's term, as the authors' script does.
    out : (n_samples, n_epochs - 1) float64 array
        Each probability is read once and each logarithm taken once. A row that repeats gives exactly 0.
    """
    n_samples, n_epochs, n_classes = probs.shape
    logs = np.empty(n_classes)
    for i in range(n_samples):
        for c in range(n_classes):
            logs[c] = math.log(probs[i, 0, c] + EPS)
        for t in range(1, n_epochs):
            total = 0.0
            for c in range(n_classes):
                p = probs[i, t, c]
                log_p = math.log(p + EPS)
                term = p * (log_p - logs[c])
                total += abs(term) if inner_magnitude else term
                logs[c] = log_p
            out[i, t - 1] = total


@kernel
def ce_differences(probs, labels, out):
    """Eq. 9: ``out[i, t] = log p[t+1, y] - log p[t, y]``, y the label of sample i.

    Parameters
    ----------
    probs : (n_samples, n_epochs, n_classes) float array
    labels : (n_samples,) int64 array
        In ``[0, n_classes)``; not checked here.
    out : (n_samples, n_epochs - 1) float64 array
        One probability an epoch is read.
    """
    n_samples, n_epochs, _ = probs.shape
    for i in range(n_samples):
        previous = math.log(probs[i, 0, labels[i]] + EPS)
        for t in range(1, n_epochs):
            current = math.log(probs[i, t, labels[i]] + EPS)
            out[i, t - 1] = current - previous
            previous = current


@kernel
def windowed_variance(diffs, root, out):
    """Eq. 11: ``out[i, w] = sum (d - mean d)^2`` over the K - 1 differences ``d = diffs[i, w : w + K - 1]``.

    Parameters
    ----------
    diffs : (n_samples, n_diffs) float64 array
    root : bool
        Take the square root of the sum, as the authors' script does.
    out : (n_samples, n_windows) float64 array
        Its width sets the window: K - 1 = n_diffs - n_windows + 1.

    Notes
    -----
    Two passes, shifted by the window's first value: a constant window gives exactly 0, where running sums of squares
    go negative on converged trajectories.
    """
    n_samples, n_windows = out.shape
    width = diffs.shape[1] - n_windows + 1
    for i in range(n_samples):
        for w in range(n_windows):
            first = diffs[i, w]
            shift = 0.0
            for d in range(w + 1, w + width):
                shift += diffs[i, d] - first
            mean = shift / width
            total = 0.0
            for d in range(w, w + width):
                deviation = (diffs[i, d] - first) - mean
                total += deviation * deviation
            out[i, w] = math.sqrt(total) if root else total


@kernel
def moving_average(variances, gains, out):
    """Eq. 12: ``out[i] = g v[i, w] + (1 - g) out[i]`` for each window w, oldest first, in place.

    Parameters
    ----------
    variances : (n_samples, n_windows) float64 array
    gains : (n_windows,) float64 array
        beta everywhere; 1, 1/2, 1/3 ... give the simple average.
    out : (n_samples,) float64 array
        Holds the average so far, 0 at the start.
    """
    for i in range(out.shape[0]):
        average = out[i]
        for w in range(gains.shape[0]):
            average = gains[w] * variances[i, w] + (1.0 - gains[w]) * average
        out[i] = average


@kernel
def softmax(logits, out):
    """``out[i, t, c] = exp(l[c] - max l) / sum_c exp(l[c] - max l)``; a row with nan or inf becomes nan.

    Parameters
    ----------
    logits : (n_samples, n_epochs, n_classes) float array
        -inf is legal and gives 0.
    out : (n_samples, n_epochs, n_classes) float64 array
    """
    n_samples, n_epochs, n_classes = logits.shape
    for i in range(n_samples):
        for t in range(n_epochs):
            top = logits[i, t, 0]
            for c in range(1, n_classes):
                top = max(top, logits[i, t, c])
            total = 0.0
            for c in range(n_classes):
                out[i, t, c] = math.exp(np.float64(logits[i, t, c]) - top)
                total += out[i, t, c]
            for c in range(n_classes):
                out[i, t, c] /= total


@kernel
def first_invalid_row(probs, tolerance):
    """Flat index ``i * n_epochs + t`` of the first row that is no distribution, or -1.

    Parameters
    ----------
    probs : (n_samples, n_epochs, n_classes) float array
    tolerance : float
        How far a row's sum may be from 1. A negative, nan or infinite value is invalid whatever the sum.
    """
    n_samples, n_epochs, n_classes = probs.shape
    for i in range(n_samples):
        for t in range(n_epochs):
            total = 0.0
            negatives = 0
            for c in range(n_classes):
                total += probs[i, t, c]
                negatives += probs[i, t, c] < 0.0
            if negatives or not abs(total - 1.0) <= tolerance:
                return i * n_epochs + t
    return -1
