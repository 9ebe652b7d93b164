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

# No 'nnan' and no 'ninf': the checks below must see them. The flags of _VALUEWISE leave no order of operations to the
# compiler, so a value gives the same bits in the vector loop as in its remainder, wherever it stands in a block.
_VALUEWISE = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}
_OPTIONS = {**_VALUEWISE, "fastmath": {"reassoc", "contract", "arcp", "nsz", "afn"}}

_RUN = 1024  # values that a helper works on at once: its buffers stay in the first-level cache
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
_EPS32, _ONE32, _LOG2_32 = np.float32(EPS), np.float32(1), np.float32(_LOG2)
_C32 = (np.float32(_C[0]), np.float32(_C[1]), np.float32(_C[2]), np.float32(_C[3]))
_MAGIC = 1.5 * 2.0**52  # added to a small float64, it leaves the nearest integer in the low bits
_LN2 = (6.93147180369123816490e-01, 1.90821492927058770002e-10)  # high part with 21 zero bits, and the rest


def kernel(function=None, **options):
    """Compile `function` lazily, cached unless neither the package nor the home directory can be written."""
    if function is None:
        return lambda function: kernel(function, **options)
    try:
        return numba.njit(cache=True, **{**_OPTIONS, **options})(function)
    except RuntimeError:
        return numba.njit(**{**_OPTIONS, **options})(function)


@kernel(**_VALUEWISE)
def _kl_terms(p, q, out):
    """``out = q log(b / a)``, a = p + EPS, b = q + EPS, in float64, within 1e-12 of its own size.

    log(b / a) = e log 2 + 2 atanh(s), s = (b - 2^e a) / (b + 2^e a). The difference of the bits of b and a, as float32,
    gives e, so that abs(s) < 0.2005 and six terms are enough. One division, no table, no branch: LLVM makes
    vectors of it. Each term keeps its relative accuracy, however close a and b are, where the difference of two
    logarithms would not.
    """
    for j in range(p.shape[0]):
        a, b = np.float64(p[j]) + EPS, np.float64(q[j]) + EPS
        bits = np.float32(b).view(np.int32) - np.float32(a).view(np.int32)
        e = np.int32((bits + (_EXPONENT >> 1)) & -_EXPONENT)  # times 2^23
        near = a * np.float64(np.int32(e + _ONE).view(np.float32))  # 2^e a
        s = (b - near) / (b + near)
        z = s * s
        series = _C[0] + z * (_C[1] + z * (_C[2] + z * (_C[3] + z * (_C[4] + z * _C[5]))))
        out[j] = q[j] * (e * _LOG2 + s * series)


@kernel(**_VALUEWISE)
def _kl_excesses(p, q, out):
    """``out = q log(b / a) - (q - p)`` in float32: `_kl_terms` less its part that cancels over the classes.

    What is left is about (q - p)^2 / 2p, never cancels, and so keeps float32's relative accuracy however little q
    differs from p. EPS cancels in s's numerator where e = 0; q 2s = numerator (1 + s) - 2 EPS s does the rest.
    """
    for j in range(p.shape[0]):
        a = p[j] + _EPS32
        bits = np.float32(q[j] + _EPS32).view(np.int32) - np.float32(a).view(np.int32)
        e = np.int32((bits + (_EXPONENT >> 1)) & -_EXPONENT)
        scale = np.int32(e + _ONE).view(np.float32)
        rest = _ONE32 - scale
        near = p[j] * scale
        moved = (q[j] - near) + _EPS32 * rest
        s = moved / ((q[j] + near) + (_EPS32 + _EPS32 * scale))
        z = s * s
        tail = q[j] * (z * (_C32[1] + z * (_C32[2] + z * _C32[3])))
        out[j] = (q[j] * (np.float32(e) * _LOG2_32) + a * rest) + s * ((moved - _EPS32 - _EPS32) + tail)


@kernel(**_VALUEWISE)
def _kl_terms_single(p, q, out):
    """``out = q log(b / a)`` in float32, as in `_kl_terms`."""
    for j in range(p.shape[0]):
        bits = np.float32(q[j] + _EPS32).view(np.int32) - np.float32(p[j] + _EPS32).view(np.int32)
        e = np.int32((bits + (_EXPONENT >> 1)) & -_EXPONENT)
        scale = np.int32(e + _ONE).view(np.float32)
        near = p[j] * scale
        s = ((q[j] - near) + _EPS32 * (_ONE32 - scale)) / ((q[j] + near) + (_EPS32 + _EPS32 * scale))
        z = s * s
        out[j] = q[j] * (np.float32(e) * _LOG2_32 + s * (_C32[0] + z * (_C32[1] + z * (_C32[2] + z * _C32[3]))))


@kernel
def _row_sums(terms, magnitude, out):
    """``out[row] = sum_c terms[row, c]``, or of their absolute values, for as many rows as `out` has."""
    for row in range(out.shape[0]):
        total = terms.dtype.type(0)
        for c in range(terms.shape[1]):
            total += abs(terms[row, c]) if magnitude else terms[row, c]
        out[row] = total


@kernel
def _add_row_changes(p, q, out):
    """``out[row] += sum_c (q[row, c] - p[row, c])``."""
    for row in range(out.shape[0]):
        total = 0.0
        for c in range(p.shape[1]):
            total += np.float64(q[row, c] - p[row, c])
        out[row] += total


@kernel
def kl_differences(probs, single, inner_magnitude, out):
    """Eq. 10: ``out[i, t] = sum_c p[t+1, c] (log p[t+1, c] - log p[t, c])``, the change of epoch t + 1 against t.

    Parameters
    ----------
    probs : (n_samples, n_epochs, n_classes) float array
        Rows are distributions; exact 0 and 1 are legal.
    single : bool
        Compute the terms in float32, within 3e-6 of a difference's own size; `probs` must be float32. False: float64.
    inner_magnitude : bool
        Take the absolute value of every class's term, as the authors' script does.
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
    n_rows = max(1, _RUN // n_classes)
    terms, singles = np.empty((n_rows, n_classes)), np.empty((n_rows, n_classes), np.float32)
    sums = np.empty(n_rows)
    for start in range(0, len(rows), max(1, stretch)):
        for first in range(start, start + stretch - 1, n_rows):
            last = min(first + n_rows, start + stretch - 1)
            p, q, found = rows[first:last], rows[first + 1 : last + 1], sums[: last - first]
            if not single:
                _kl_terms(p.reshape(-1), q.reshape(-1), terms.reshape(-1))
                _row_sums(terms, inner_magnitude, found)
            elif inner_magnitude:
                _kl_terms_single(p.reshape(-1), q.reshape(-1), singles.reshape(-1))
                _row_sums(singles, True, found)
            else:
                _kl_excesses(p.reshape(-1), q.reshape(-1), singles.reshape(-1))
                _row_sums(singles, False, found)
                _add_row_changes(p, q, found)
            i, t = first // n_epochs, first % n_epochs
            for row in range(last - first):
                if t < n_epochs - 1:
                    out[i, t] = sums[row]
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


@kernel(**_VALUEWISE)
def _exp(values, shifted):
    """``values = exp(values)`` in place, for values up to 0; below -708, where float64 ends, 0. `shifted`: a buffer.

    exp(x) = 2^k exp(r), r = x - k log 2, abs(r) < 0.35, and a Taylor polynomial: within 2e-16 of exp(r).
    """
    bits = shifted.view(np.int64)
    for j in range(values.shape[0]):
        shifted[j] = max(values[j], -708.0) * (1.0 / math.log(2)) + _MAGIC
    for j in range(values.shape[0]):
        k = shifted[j] - _MAGIC
        r = (max(values[j], -708.0) - k * _LN2[0]) - k * _LN2[1]
        tail = 1 / 5040 + r * (1 / 40320 + r * (1 / 362880 + r * (1 / 3628800 + r * (1 / 39916800 + r / 479001600))))
        power = 1 + r * (1 + r * (1 / 2 + r * (1 / 6 + r * (1 / 24 + r * (1 / 120 + r * (1 / 720 + r * tail))))))
        scale = np.int64((bits[j] + 1023) << 52).view(np.float64)
        values[j] = 0.0 if values[j] < -708.0 else power * scale


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
    n_rows = max(1, _RUN // n_classes)
    rows = logits.reshape(n_samples * n_epochs, n_classes)
    powers = out.reshape(n_samples * n_epochs, n_classes)
    shifted = np.empty(n_rows * n_classes)
    for first in range(0, len(rows), n_rows):
        last = min(first + n_rows, len(rows))
        for row in range(first, last):
            top = rows[row, 0]
            for c in range(1, n_classes):
                top = max(top, rows[row, c])
            for c in range(n_classes):
                powers[row, c] = np.float64(rows[row, c]) - top
        _exp(powers[first:last].reshape(-1), shifted)
        for row in range(first, last):
            total = 0.0
            for c in range(n_classes):
                total += powers[row, c]
            for c in range(n_classes):
                powers[row, c] /= total


@kernel(**_VALUEWISE)
def widen_float16(bits, out):
    """``out = bits`` of float16 as float32, exactly, subnormals, infinities and nan included.

    Parameters
    ----------
    bits : (n_values,) uint16 array
    out : (n_values,) float32 array
        By integer arithmetic, which LLVM makes vectors of: a half is a float with three zeros less in its exponent.
    """
    wide = out.view(np.int32)
    for j in range(bits.shape[0]):
        half = np.int32(bits[j])
        size = np.int32(half & 0x7FFF)
        normal = np.int32((size << 13) + (112 << 23) + ((112 << 23) if size >= 0x7C00 else 0))
        subnormal = np.float32(np.float32(size) * np.float32(2.0**-24)).view(np.int32)
        wide[j] = np.int32((half & 0x8000) << 16) | (subnormal if size < 0x400 else normal)


@kernel(**_VALUEWISE)
def widen_bfloat16(bits, out):
    """``out = bits`` of bfloat16, the upper half of a float32, as float32; shapes as in `widen_float16`."""
    wide = out.view(np.int32)
    for j in range(bits.shape[0]):
        wide[j] = np.int32(bits[j]) << 16


@kernel
def decode_log8(codes, probs, out):
    """``out[row, c] = probs[codes[row, c]]``, divided by the row's sum where that is within a tenth of 1.

    Parameters
    ----------
    codes : (n_rows, n_classes) uint8 array
    probs : (256,) float32 array
        What each code stands for.
    out : (n_rows, n_classes) float32 array
        A row of another sum is none of rounded probabilities, and is left as it is.
    """
    for row in range(codes.shape[0]):
        total = np.float32(0)
        for c in range(codes.shape[1]):
            out[row, c] = probs[codes[row, c]]
            total += out[row, c]
        scale = np.float32(1 / total) if abs(total - 1) <= 0.1 else np.float32(1)
        for c in range(codes.shape[1]):
            out[row, c] *= scale


@kernel(**_VALUEWISE)
def narrow_to_float16(values, out):
    """``out = values`` rounded to the nearest float16, ties to even; what is too large becomes infinite, nan stays.

    Parameters
    ----------
    values : (n_values,) float32 array
    out : (n_values,) uint16 array
        Bits of float16. NumPy's own cast takes a hundred times as long for values below 6e-5.
    """
    bits = values.view(np.int32)
    for j in range(values.shape[0]):
        size = np.int32(bits[j] & 0x7FFFFFFF)
        odd = np.int32((size >> 13) & 1)
        normal = np.int32((size - (112 << 23) + 0xFFF + odd) >> 13)
        # 0.5 has the exponent at which the last bit of a float32 is worth that of a subnormal half.
        subnormal = np.int32(np.float32(size.view(np.float32) + np.float32(0.5)).view(np.int32) - (126 << 23))
        beyond = np.int32(0x7E00 if size > (255 << 23) else 0x7C00)
        half = subnormal if size < (113 << 23) else (normal if size < (143 << 23) else beyond)
        out[j] = np.uint16(((bits[j] >> 16) & 0x8000) | half)


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
            total, negative = probs.dtype.type(0), False
            for c in range(n_classes):
                total += probs[i, t, c]
                negative |= probs[i, t, c] < 0
            if negative or not abs(total - 1.0) <= tolerance:
                return i * n_epochs + t
    return -1


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
