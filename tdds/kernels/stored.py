"""Eq. 10 of values as they are stored: widened, summed and scored a few samples at a time, in the cache."""

import numpy as np
from numba.extending import overload

from tdds.kernels.compiling import kernel
from tdds.kernels.differences import kl_differences
from tdds.kernels.halves import widen_float16
from tdds.kernels.values import decode_log8, row_sums, widen_bfloat16

_CACHED = 1 << 16  # float32 values, half of a common second-level cache


def _as_they_are(stored, wide):
    return stored


def _of_float16(stored, wide):
    widen_float16(stored.reshape(-1), wide[: stored.size])
    return wide[: stored.size].reshape(stored.shape)


def _of_bfloat16(stored, wide):
    widen_bfloat16(stored.reshape(-1), wide[: stored.size])
    return wide[: stored.size].reshape(stored.shape)


def _of_log8(stored, wide):
    rows = (stored.shape[0] * stored.shape[1], stored.shape[2])
    decode_log8(stored.reshape(rows), wide[: stored.size].reshape(rows))
    return wide[: stored.size].reshape(stored.shape)


_WAYS = {"uint16": _of_float16, "int16": _of_bfloat16, "uint8": _of_log8}


def _widened(stored, wide):
    return _WAYS.get(stored.dtype.name, _as_they_are)(stored, wide)


@overload(_widened)
def _compiled(stored, wide):
    return _WAYS.get(stored.dtype.name, _as_they_are)


@kernel
def stored_kl_differences(stored, single, inner_magnitude, sums, out):
    """`row_sums` and `kl_differences` of stored probabilities, each read from memory once.

    Parameters
    ----------
    stored : (n_samples, n_epochs, n_classes) array
        float32, float64, uint16 (bits of float16), int16 (bits of bfloat16) or uint8 (codes of log8).
    single, inner_magnitude : bool
        As for `kl_differences`; `single` must be False for float64.
    sums : (n_samples, n_epochs) float64 array
    out : (n_samples, n_epochs - 1) float64 array
    """
    n_samples, n_epochs, n_classes = stored.shape
    step = max(1, _CACHED // (n_epochs * n_classes))
    wide = np.empty(step * n_epochs * n_classes, np.float32)
    for first in range(0, n_samples, step):
        last = min(first + step, n_samples)
        probs = _widened(stored[first:last], wide)
        row_sums(probs, sums[first:last])
        kl_differences(probs, single, inner_magnitude, out[first:last])
