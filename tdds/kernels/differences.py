"""Eq. 8 to 12: differences between epochs, their variance in windows, its moving average."""

import math

import numpy as np

from tdds.kernels.compiling import EPS, RUN, VALUEWISE, kernel

_EXPONENT = np.int32(1 << 23)  # 1 in the exponent of a float32
_ONE = np.int32(127 << 23)  # the bits of 1.0f
_LOG2 = math.log(2) / (1 << 23)
# 2 atanh(s) / s in powers of s^2, interpolated at Chebyshev's points of [0, 0.0402].
_C = (
    1.9999999999996463,
    0.66666666729834,
    0.3999998172831516,
    0.2857335733445295,
    0.22130609616447092,
    0.20165083477847542,
)
_C32 = (np.float32(_C[0]), np.float32(_C[1]), np.float32(_C[2]), np.float32(_C[3]))
_EPS32, _TWO_EPS32 = np.float32(EPS), np.float32(2 * EPS)
_ONE32, _LOG2_32 = np.float32(1), np.float32(_LOG2)


@kernel(**VALUEWISE)
def _kl_excesses(p, q, out):
    """``out = q log(b / a) - (q - p)``, a = p + EPS, b = q + EPS, in float64, within 1e-11 of its own size.

    log(b / a) = e log 2 + 2 atanh(s), s = (b - 2^e a) / (b + 2^e a). The difference of the bits of b and a, as float32,
    gives e, so that abs(s) < 0.2005 and six terms are enough. One division, no table, no branch: LLVM makes vectors
    of it. EPS cancels in s's numerator where e = 0; q 2s = numerator (1 + s) - 2 EPS s takes q - p out of the first
    term. What is left is about (q - p)^2 / 2p and keeps its relative accuracy however little q differs from p.
    """
    for j in range(p.shape[0]):
        a, b = np.float64(p[j]) + EPS, np.float64(q[j]) + EPS
        bits = np.float32(b).view(np.int32) - np.float32(a).view(np.int32)
        e = np.int32((bits + (_EXPONENT >> 1)) & -_EXPONENT)  # times 2^23
        scale = np.float64(np.int32(e + _ONE).view(np.float32))  # 2^e
        rest = 1.0 - scale
        moved = (q[j] - p[j] * scale) + EPS * rest
        s = moved / (b + a * scale)
        z = s * s
        tail = q[j] * (z * (_C[1] + z * (_C[2] + z * (_C[3] + z * (_C[4] + z * _C[5])))))
        out[j] = (q[j] * (e * _LOG2) + a * rest) + s * ((moved - 2.0 * EPS) + tail)


@kernel(**VALUEWISE)
def _kl_excesses_single(p, q, out):
    """`_kl_excesses` in float32."""
    for j in range(p.shape[0]):
        a, b = np.float32(p[j] + _EPS32), np.float32(q[j] + _EPS32)
        e = np.int32((b.view(np.int32) - a.view(np.int32) + (_EXPONENT >> 1)) & -_EXPONENT)
        scale = np.int32(e + _ONE).view(np.float32)
        rest = _ONE32 - scale
        moved = (q[j] - p[j] * scale) + _EPS32 * rest
        s = moved / (b + a * scale)
        z = s * s
        tail = q[j] * (z * (_C32[1] + z * (_C32[2] + z * _C32[3])))
        out[j] = (q[j] * (np.float32(e) * _LOG2_32) + a * rest) + s * ((moved - _TWO_EPS32) + tail)


@kernel(**VALUEWISE)
def _to_magnitudes(p, q, terms):
    """``terms = abs(q log(b / a))``, from `_kl_excesses` in place."""
    real = terms.dtype.type
    for j in range(p.shape[0]):
        terms[j] = abs(terms[j] + (real(q[j]) - real(p[j])))


@kernel
def _sum_terms(p, q, terms, inner_magnitude, out):
    """``out[row] = sum_c`` of `_kl_excesses`, or of the magnitudes, for as many rows as `out` has."""
    if inner_magnitude:
        _to_magnitudes(p.reshape(-1), q.reshape(-1), terms.reshape(-1))
    for row in range(out.shape[0]):
        total = terms.dtype.type(0)
        for c in range(terms.shape[1]):
            total += terms[row, c]
        out[row] = total


@kernel
def kl_differences(probs, single, inner_magnitude, out):
    """Eq. 10: ``out[i, t] = sum_c q log(q / p) - (q - p)``, p and q the probabilities at epochs t and t + 1.

    q - p adds up to 0 over the classes of distributions, but not of rounded ones: in a row of float16 the rounding of
    the sum outweighs the divergence of a converged sample. It goes out class by class.

    Parameters
    ----------
    probs : (n_samples, n_epochs, n_classes) float array
        Rows are distributions; exact 0 and 1 are legal.
    single : bool
        Compute the terms in float32, within 3e-6 of a difference's own size; `probs` must be float32. False: float64.
    inner_magnitude : bool
        ``sum_c abs(q log(q / p))`` instead, as in the authors' script.
    out : (n_samples, n_epochs - 1) float64 array
        Each probability is read from memory once and one logarithm taken for it. A row that repeats gives exactly 0.

    Notes
    -----
    Rows lie one after another, so the terms of many short rows are one long vector loop. Below 64 classes the loop
    also runs on from a sample to the next and the terms between two samples are thrown away: one row in n_epochs.
    """
    n_samples, n_epochs, n_classes = probs.shape
    rows = probs.reshape(n_samples * n_epochs, n_classes)
    stretch = n_epochs if n_classes >= 64 else len(rows)
    n_rows = max(1, RUN // n_classes)
    doubles, singles = np.empty((n_rows, n_classes)), np.empty((n_rows, n_classes), np.float32)
    totals = np.empty(n_rows)
    for start in range(0, len(rows), max(1, stretch)):
        for first in range(start, start + stretch - 1, n_rows):
            last = min(first + n_rows, start + stretch - 1)
            p, q, found = rows[first:last], rows[first + 1 : last + 1], totals[: last - first]
            if single:
                _kl_excesses_single(p.reshape(-1), q.reshape(-1), singles.reshape(-1))
                _sum_terms(p, q, singles, inner_magnitude, found)
            else:
                _kl_excesses(p.reshape(-1), q.reshape(-1), doubles.reshape(-1))
                _sum_terms(p, q, doubles, inner_magnitude, found)
            i, t = first // n_epochs, first % n_epochs
            for row in range(last - first):
                if t < n_epochs - 1:
                    out[i, t] = totals[row]
                    t += 1
                else:
                    i, t = i + 1, 0


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
        previous = math.log(np.float64(probs[i, 0, labels[i]]) + EPS)
        for t in range(1, n_epochs):
            current = math.log(np.float64(probs[i, t, labels[i]]) + EPS)
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
def windowed_mean(values, out):
    """``out[i, w] = mean of values[i, w : w + K]``; the width of `out` sets K = n_values - n_windows + 1."""
    n_samples, n_windows = out.shape
    width = values.shape[1] - n_windows + 1
    for i in range(n_samples):
        for w in range(n_windows):
            total = 0.0
            for d in range(w, w + width):
                total += values[i, d]
            out[i, w] = total / width
