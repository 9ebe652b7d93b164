"""What a store holds: kinds, dtypes, and how values are checked and cast on the way in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tdds import kernels
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


def dtype_name(dtype: Any) -> str:
    """Return the store's name of a dtype; raises ValueError for one that a store cannot hold."""
    name = dtype if dtype == "bfloat16" else np.dtype(dtype).name
    if name not in STORED:
        raise ValueError(f"dtype must be one of {', '.join(STORED)}, got {dtype!r}")
    return name


def widen(values: np.ndarray) -> np.ndarray:
    """Float16, and bfloat16 as its bits, as float32, exactly; other types as they are."""
    if values.dtype not in (np.float16, np.uint16):
        return values
    bits = np.ascontiguousarray(values).view(np.uint16)
    wide: np.ndarray = np.empty(values.shape, np.float32)
    kernel = kernels.widen_float16 if values.dtype == np.float16 else kernels.widen_bfloat16
    kernel(bits.reshape(-1), wide.reshape(-1))
    return wide


def encode(values: np.ndarray, kind: str, dtype: str, place: Callable[[tuple[int, ...]], str]) -> np.ndarray:
    """Check `values` and cast them to what is stored; `place` words the position of a bad one."""
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
    if max(-smallest, largest) > _LARGEST[dtype]:
        lost = np.argwhere(np.isinf(widen(encoded)) & np.isfinite(wide))
        if len(lost):
            at = tuple(int(i) for i in lost[0])
            raise TrajectoryError(
                f"{place(at)} has the value {wide[at]}, too large for {dtype}; nothing of this call was recorded. "
                'Pass dtype="float32" (or "bfloat16") for a new store, or record probabilities'
            )
    return encoded


def _narrow(wide: np.ndarray, dtype: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        if dtype == "bfloat16":
            return float32_to_bfloat16(wide.astype(np.float32, copy=False))
        if dtype != "float16" or wide.dtype != np.float32:
            return wide.astype(STORED[dtype])
    bits: np.ndarray = np.empty(wide.shape, np.uint16)
    kernels.narrow_to_float16(np.ascontiguousarray(wide).reshape(-1), bits.reshape(-1))
    return bits.view(np.float16)
