"""What a store holds: kinds, dtypes, and how values are checked and cast on the way in and out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tdds.validation import TrajectoryError

STORED = {"float16": "<f2", "float32": "<f4", "float64": "<f8", "bfloat16": "<u2", "log8": "<u1"}
# The smallest and largest legal value of each kind; minus infinity is the logarithm of an exact 0.
RANGES = {
    "probs": (0.0, 1.001),
    "logits": (-np.inf, np.finfo(np.float64).max),
    "log_probs": (-np.inf, 0.02),
    "losses": (-np.finfo(np.float64).max, np.finfo(np.float64).max),
}
_LARGEST = {name: float(np.finfo(name).max) for name in ("float16", "float32", "float64")} | {"bfloat16": 3.3895e38}

# The bits of halves from 0 on lie in the order of the numbers; those of negative ones and of nan lie above.
_LARGEST_HALF = np.float16(RANGES["probs"][1]).view(np.uint16)

LOG8_RANGE = 27  # code 255 is 2^-27


def float32_to_bfloat16(values: np.ndarray) -> np.ndarray:
    """Round to the nearest bfloat16, ties to even; returns its bits as uint16. NaN stays NaN."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


def probs_to_log8(probs: np.ndarray) -> np.ndarray:
    """One byte a probability, uint8: k = round(255 sqrt(-log2(p) / 27)); smaller than 2^-27 counts as 2^-27."""
    return np.rint(255 * np.sqrt(-np.log2(np.clip(probs, 2.0**-LOG8_RANGE, 1)) / LOG8_RANGE)).astype(np.uint8)


def widen(values: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Stored values as floats that kernels take: halves and codes as float32, other floats as they are.

    Parameters
    ----------
    values : float array, or uint16 (bits of bfloat16), or uint8 (codes of log8; rows lie along the last axis)
        The probabilities of each log8 row are made to sum to 1, where they nearly do.
    out : (n_values,) float32 array, optional
        At least as many as values: memory to use.

    Returns
    -------
    array of the shape of `values`
    """
    if values.dtype.char not in "eHB" or not values.dtype.isnative:  # float16, uint16, uint8
        return values
    from tdds import kernels  # Numba takes most of a second to import: not for who only reads a header

    values = np.ascontiguousarray(values)
    wide = (np.empty(values.size, np.float32) if out is None else out)[: values.size]
    if values.dtype.char == "B":
        rows = (-1, values.shape[-1])
        kernels.decode_log8(values.reshape(rows), wide.reshape(rows))
    else:
        kernel = kernels.widen_float16 if values.dtype.char == "e" else kernels.widen_bfloat16
        kernel(values.view(np.uint16).reshape(-1), wide)
    return wide.reshape(values.shape)


def dtype_name(dtype: Any, kind: str) -> str:
    """Return the store's name of a dtype; raises ValueError for one that cannot hold values of `kind`."""
    name = dtype if dtype in ("bfloat16", "log8") else np.dtype(dtype).name
    if name not in STORED:
        raise ValueError(f"dtype must be one of {', '.join(STORED)}, got {dtype!r}")
    if name == "log8" and kind != "probs":
        raise ValueError(f"dtype='log8' holds probabilities; got kind={kind!r}. Record kind='probs', or as float16.")
    return name


def encode(values: np.ndarray, kind: str, dtype: str, place: Callable[[tuple[int, ...]], str]) -> np.ndarray:
    """Check `values` and cast them to what is stored; `place` words the position of a bad one."""
    if values.dtype == np.uint8 and dtype == "log8":
        sums = widen(values).sum(axis=-1)
        if not (abs(sums - 1) < 0.01).all():
            row = int(np.argmax(abs(sums - 1)))
            raise TrajectoryError(
                f"{place((row,))} has codes of sum {sums[row]:.4g}, expected log8 of probabilities, which sum to 1; "
                "nothing of this call was recorded. Did the training diverge?"
            )
        return values
    stored_so = dtype == "float16" and kind == "probs" and values.dtype == STORED["float16"]
    if stored_so and values.view(np.uint16).max() <= _LARGEST_HALF:
        return values
    wide = widen(values)
    low, high = RANGES[kind]
    smallest, largest = float(wide.min()), float(wide.max())
    if not (low <= smallest and largest <= high):
        at = tuple(int(i) for i in np.argwhere(~((wide >= low) & (wide <= high)))[0])
        raise TrajectoryError(
            f"{place(at)} has the value {wide[at]}, expected {kind} between {low:.4g} and {high:.4g}; "
            "nothing of this call was recorded. Is kind= right, or did the training diverge?"
        )
    encoded = values if values.dtype == STORED[dtype] else _narrow(wide, dtype)
    if max(-smallest, largest) > _LARGEST.get(dtype, np.inf):
        lost = np.argwhere(np.isinf(widen(encoded)) & np.isfinite(wide))
        if len(lost):
            at = tuple(int(i) for i in lost[0])
            raise TrajectoryError(
                f"{place(at)} has the value {wide[at]}, too large for {dtype}; nothing of this call was recorded. "
                'Pass dtype="float32" (or "bfloat16") for a new store, or record probabilities'
            )
    return encoded


def _narrow(wide: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "log8":
        return probs_to_log8(wide)
    with np.errstate(over="ignore"):
        if dtype == "bfloat16":
            return float32_to_bfloat16(wide.astype(np.float32, copy=False))
        if dtype != "float16" or wide.dtype != np.float32:
            return wide.astype(STORED[dtype])
    from tdds import kernels

    bits: np.ndarray = np.empty(wide.shape, np.uint16)
    kernels.narrow_to_float16(np.ascontiguousarray(wide).reshape(-1), bits.reshape(-1))
    return bits.view(np.float16)
