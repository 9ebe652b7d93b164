"""One number of each epoch's distribution, with the label and without it."""

import math

import numpy as np

from tdds.kernels.compiling import kernel


@kernel
def label_probabilities(probs, labels, out):
    """``out[i, t] = p[t, y]``, y the label of sample i.

    Parameters
    ----------
    probs : (n_samples, n_epochs, n_classes) float array
    labels : (n_samples,) int64 array
        In ``[0, n_classes)``; not checked here.
    out : (n_samples, n_epochs) float64 array
        One probability an epoch is read.
    """
    for i in range(out.shape[0]):
        for t in range(out.shape[1]):
            out[i, t] = probs[i, t, labels[i]]


@kernel
def error_norms(probs, labels, out):
    """``out[i, t] = sqrt(sum_c (p[t, c] - [c = y])^2)``; shapes as in `label_probabilities`. Reads every value once."""
    n_samples, n_epochs, n_classes = probs.shape
    for i in range(n_samples):
        y = labels[i]
        for t in range(n_epochs):
            total = 0.0
            for c in range(n_classes):
                error = np.float64(probs[i, t, c]) - (1.0 if c == y else 0.0)
                total += error * error
            out[i, t] = math.sqrt(total)


@kernel
def margins(probs, labels, of_logits, floor, out):
    """``out[i, t] = p[t, y] - max_{c != y} p[t, c]``, or of the logarithms of both, values below `floor` raised to it.

    Parameters
    ----------
    probs : (n_samples, n_epochs, n_classes) float array
    labels : (n_samples,) int64 array
        In ``[0, n_classes)``; not checked here.
    of_logits : bool
        Take logarithms: ``log p_y - log p_c`` is the difference of the logits.
    floor : float
        Above 0, so that the logarithm is finite.
    out : (n_samples, n_epochs) float64 array
        Every probability is read once. A single class has no other: its rival is 0.
    """
    n_samples, n_epochs, n_classes = probs.shape
    for i in range(n_samples):
        y = labels[i]
        for t in range(n_epochs):
            rival = 0.0
            for c in range(n_classes):
                rival = max(rival, 0.0 if c == y else np.float64(probs[i, t, c]))
            own = np.float64(probs[i, t, y])
            if of_logits:
                out[i, t] = math.log(max(own, floor)) - math.log(max(rival, floor))
            else:
                out[i, t] = own - rival


@kernel
def correct(probs, labels, out):
    """``out[i, t] = 1`` where y is the most probable class, else 0; a tie goes to the lowest class, as in argmax.

    Parameters
    ----------
    probs : (n_samples, n_epochs, n_classes) float array
    labels : (n_samples,) int64 array
    out : (n_samples, n_epochs) float64 array
    """
    n_samples, n_epochs, n_classes = probs.shape
    for i in range(n_samples):
        y = labels[i]
        for t in range(n_epochs):
            own = probs[i, t, y]
            n_better = 0
            for c in range(n_classes):
                n_better += (probs[i, t, c] > own) | ((probs[i, t, c] == own) & (c < y))
            out[i, t] = 0.0 if n_better else 1.0


@kernel
def entropies(probs, out):
    """``out[i, t] = -sum_c p[t, c] log p[t, c]``; 0 log 0 is 0. One logarithm a value; shapes as in `top_margins`."""
    n_samples, n_epochs, n_classes = probs.shape
    for i in range(n_samples):
        for t in range(n_epochs):
            total = 0.0
            for c in range(n_classes):
                p = np.float64(probs[i, t, c])
                total -= p * math.log(p) if p > 0.0 else 0.0
            out[i, t] = total


@kernel
def top_margins(probs, out):
    """``out[i, t]`` = the largest less the second largest p[t, c]; a single class has the second 0.

    Parameters
    ----------
    probs : (n_samples, n_epochs, n_classes) float array
    out : (n_samples, n_epochs) float64 array
    """
    n_samples, n_epochs, n_classes = probs.shape
    for i in range(n_samples):
        for t in range(n_epochs):
            first, second = 0.0, 0.0
            for c in range(n_classes):
                p = np.float64(probs[i, t, c])
                second = max(second, min(first, p))
                first = max(first, p)
            out[i, t] = first - second
