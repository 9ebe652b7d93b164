"""What a store holds: kinds, dtypes, and how values are checked and cast on the way in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tdds.validation import TrajectoryError

STORED = {"float16": "<f2", "float32": "<f4", "float64": "<f8", "bfloat16": "<u2"}
# The smallest and largest legal value of each kind; minus infinity is the logarithm of an exact 0.
RANGES = {
    "probs": (0.0, 1.001),
    "logits": (-np.inf, np.finfo(np.float64).max),
    "log_probs": (-np.inf, 0.02),
    "losses": (-np.finfo(np.float64).max, np.finfo(np.float64).max),
}
_LARGEST = {name: float(np.finfo(name).max) for name in ("float16", "float32", "float64")} | {"bfloat16": 3.3895e38}


def float32_to_bfloat16(values: np.ndarray) -> np.ndarray:
    """Round to the nearest bfloat16, ties to even; returns its bits as uint16. NaN stays NaN."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """Return the float32 values, exact, of bfloat16 bits held in uint16."""
    return (np.asarray(bits).astype(np.uint32) << 16).view(np.float32)


def to_float16(values: np.ndarray) -> np.ndarray:
    """Round float32 or float64 to the nearest float16, ties to even, as `astype` does; none may overflow.

    NumPy raises a flag for each value below 6e-5, of which probabilities are full, and takes many times as long
    (`benchmarks/recording.py`).
    """
    unsigned: Any = np.uint32 if values.dtype == np.float32 else np.uint64
    n_bits, bias = (23, 127) if unsigned is np.uint32 else (52, 1023)
    bits = values.view(unsigned)
    # The power of two at or below each value, 2**-14 at least: below it the float16 numbers are evenly spaced.
    power = bits & unsigned((2 * bias + 1) << n_bits)
    least = unsigned((bias - 14) << n_bits)
    np.maximum(power, least, out=power)
    # Added to this multiple of it, the value is rounded to 10 bits by the processor, and stands in the lowest bits.
    magic = power + unsigned((n_bits - 10) << n_bits)
    rounded = (np.abs(values) + magic.view(values.dtype)).view(unsigned)
    rounded -= magic
    power -= least
    power >>= unsigned(n_bits - 10)
    rounded += power
    rounded |= (bits >> unsigned(8 * values.itemsize - 16)) & unsigned(0x8000)
    return rounded.astype(np.uint16).view(np.float16)


def dtype_name(dtype: Any) -> str:
    """Return the store's name of a dtype; raises ValueError for one that a store cannot hold."""
    name = dtype if dtype == "bfloat16" else np.dtype(dtype).name
    if name not in STORED:
        raise ValueError(f"dtype must be one of {', '.join(STORED)}, got {dtype!r}")
    return name


def encode(values: np.ndarray, kind: str, dtype: str, place: Callable[[tuple[int, ...]], str]) -> np.ndarray:
    """Check `values` and cast them to what is stored; `place` words the position of a bad one."""
    if values.dtype == np.uint16:
        values = bfloat16_to_float32(values)
    low, high = RANGES[kind]
    if kind == "probs" and values.dtype == dtype == "float16":
        bits = values.view(np.uint16)  # in the order of the numbers from 0 on; negative ones and nan lie above
        if bits.max() <= np.float16(high).view(np.uint16):
            return values
    smallest, largest = float(values.min()), float(values.max())
    if not (low <= smallest and largest <= high):
        at = tuple(int(i) for i in np.argwhere(~((values >= low) & (values <= high)))[0])
        raise TrajectoryError(
            f"{place(at)} has the value {values[at]}, expected {kind} between {low:.4g} and {high:.4g}; "
            "nothing of this call was recorded. Is kind= right, or did the training diverge?"
        )
    fits = max(-smallest, largest) <= _LARGEST[dtype]
    with np.errstate(over="ignore"):
        if dtype == "bfloat16":
            encoded = float32_to_bfloat16(values.astype(np.float32, copy=False))
        elif dtype == "float16" and fits and values.dtype in (np.float32, np.float64):
            encoded = to_float16(values)
        else:
            encoded = values.astype(STORED[dtype], copy=False)
    if not fits:
        decoded = bfloat16_to_float32(encoded) if dtype == "bfloat16" else encoded
        lost = np.argwhere(np.isinf(decoded) & np.isfinite(values))
        if len(lost):
            at = tuple(int(i) for i in lost[0])
            raise TrajectoryError(
                f"{place(at)} has the value {values[at]}, too large for {dtype}; nothing of this call was recorded. "
                'Pass dtype="float32" (or "bfloat16") for a new store, or record probabilities'
            )
    return encoded
