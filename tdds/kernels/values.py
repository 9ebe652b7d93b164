"""Stored values to probabilities that can be checked."""

import math

import numpy as np

from tdds.kernels.compiling import RUN, VALUEWISE, kernel

_MAGIC = 1.5 * 2.0**52  # added to a small float64, it leaves the nearest integer in the low bits
LOG8_RANGE = 27  # code 255 is 2^-27
_LOG8_PROBS = np.exp2(-LOG8_RANGE * (np.arange(256) / 255) ** 2).astype(np.float32)
_LN2 = (6.93147180369123816490e-01, 1.90821492927058770002e-10)  # high part with 21 zero bits, and the rest


@kernel(**VALUEWISE)
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
    n_rows = max(1, RUN // n_classes)
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


@kernel(**VALUEWISE)
def widen_bfloat16(bits, out):
    """``out = bits`` of bfloat16, the upper half of a float32, as float32; shapes as in `widen_float16`."""
    wide = out.view(np.int32)
    for j in range(bits.shape[0]):
        wide[j] = np.int32(bits[j]) << 16


@kernel
def decode_log8(codes, out):
    """``out[row, c] = 2^(-27 (k / 255)^2)``, k the code, divided by the row's sum where that is within a tenth of 1.

    Parameters
    ----------
    codes : (n_rows, n_classes) uint8 array
    out : (n_rows, n_classes) float32 array
        A row of another sum is none of rounded probabilities, and is left as it is.
    """
    for row in range(codes.shape[0]):
        total = np.float32(0)
        for c in range(codes.shape[1]):
            out[row, c] = _LOG8_PROBS[codes[row, c]]
            total += out[row, c]
        scale = np.float32(1 / total) if abs(total - 1) <= 0.1 else np.float32(1)
        for c in range(codes.shape[1]):
            out[row, c] *= scale


@kernel
def row_sums(probs, out):
    """``out[i, t] = sum_c probs[i, t, c]``, or nan where a value is negative: no distribution, whatever the sum.

    Parameters
    ----------
    probs : (n_samples, n_epochs, n_classes) float array
    out : (n_samples, n_epochs) float64 array
    """
    n_samples, n_epochs, n_classes = probs.shape
    for i in range(n_samples):
        for t in range(n_epochs):
            total, negative = 0.0, False
            for c in range(n_classes):
                total += np.float64(probs[i, t, c])
                negative |= probs[i, t, c] < 0
            out[i, t] = np.nan if negative else total
