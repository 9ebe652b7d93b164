"""Every check, and every sentence that says what was wrong: what was expected, what came, where, what to do.

Samples (in the original order) and epochs count from 0 in every message.
"""

from __future__ import annotations

import csv
import numbers
import os
import stat
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

# A .npy header is parsed as Python, a .npz is a zip; SystemError is what numcodecs raises of some damaged chunks.
_DAMAGE: tuple[type[Exception], ...] = (LookupError, RuntimeError, OSError, EOFError, ValueError, ArithmeticError)
_DAMAGE += (MemoryError, SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error, csv.Error, SystemError)

KINDS = ("probs", "logits", "log_probs", "losses")

_SPECIAL = {stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
_SUM_TOLERANCE = {"float16": 2e-2, "bfloat16": 2e-2, "float32": 1e-3, "log8": 1e-3}


class TrajectoryError(ValueError):
    """A trajectory is damaged, incomplete, or not what it was said to be."""


def sum_tolerance(dtype: str) -> float:
    """How far the sum of a row of `dtype` may be from 1."""
    return _SUM_TOLERANCE.get(dtype, 1e-6)


def check_no_pipe(path: Any) -> None:
    """Raise where `path` is a pipe, a socket or a device: reading may never end, and no file takes its place."""
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
    except (OSError, ValueError):
        return  # what is wrong is said by who opens it
    if kind in _SPECIAL:
        raise TrajectoryError(f"{path}: is a {_SPECIAL[kind]}; expected a file.")


@contextmanager
def file_errors(path: Any, what: str = "a trajectory") -> Iterator[None]:
    """Raise what goes wrong inside a file as a TrajectoryError with the file's name; a missing file stays one.

    What is no file, and might never end, is refused before it is opened.
    """
    check_no_pipe(path)
    try:
        yield
    except (FileNotFoundError, TrajectoryError):
        raise
    except _DAMAGE as error:
        first = error.args[0] if error.args else ""
        reason = getattr(error, "strerror", None) or (first if isinstance(first, str) else str(error))
        reason = reason or type(error).__name__
        raise TrajectoryError(f"{path}: cannot be read as {what}: {reason.splitlines()[0]}") from error


def check_fits_memory(path: Any, n_bytes: int) -> None:
    """Raise where `n_bytes`, which the file at `path` says it unpacks to, are more than this machine's memory."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if n_bytes > memory:
        raise TrajectoryError(
            f"{path}: unpacks to {n_bytes:,} bytes, more than this machine's memory of {memory:,}; "
            "save the arrays as .npy or HDF5, which are read piece by piece."
        )


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    if value not in choices:
        expected = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name}={value!r} is not known; expected one of {expected}.")


def check_integer(name: str, value: Any, low: int) -> int:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r} of type {type(value).__name__}.")
    if value < low:
        raise ValueError(f"{name}={value} is too small; expected {name} >= {low}.")
    return int(value)


def check_real(name: str, value: Any, low: float, high: float, *, high_is_legal: bool = True) -> float:
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {value!r} of type {type(value).__name__}.")
    value = float(value)
    if not (low <= value <= high and (high_is_legal or value < high)):
        raise ValueError(
            f"{name}={value} is out of range; expected {low} <= {name} {'<=' if high_is_legal else '<'} {high}."
        )
    return value


def check_alike(values: Any, epoch: int, shape: tuple[int, ...], dtype: Any, of: str) -> None:
    """Raise where the values of `epoch` have not the shape and the dtype of those `of` an earlier one."""
    for what, expected in (("shape", shape), ("dtype", dtype)):
        if (found := getattr(values, what)) != expected:
            raise TrajectoryError(f"Epoch {epoch} has {what} {found}; expected {expected} as {of}.")


def check_windows(T: int | None, K: int, n_epochs: int | None) -> int | None:
    """The number of epochs that count: `T`, or all of `n_epochs`; None while the number of epochs is not known.

    Raises
    ------
    TypeError
        T or K is no integer.
    ValueError
        K < 3, K > T, or T epochs are not there.
    """
    if check_integer("K", K, 1) < 3:
        raise ValueError(
            f"K={K}: a window of {K} epochs holds {K - 1} difference{'s' * (K != 2)}, whose variance is always 0; "
            "expected K >= 3."
        )
    if T is not None:
        check_integer("T", T, 1)
        if K > T:
            raise ValueError(f"K={K} is larger than T={T}: no window of K epochs fits; expected K <= T.")
    if n_epochs is None:
        return T
    _check_T_is_there(T, n_epochs)
    if T is None and n_epochs < K:
        raise ValueError(
            f"K={K}, but the trajectory holds {n_epochs} epoch{'s' * (n_epochs != 1)}: no window of K "
            "epochs fits; pass a smaller K, at least 3."
        )
    return n_epochs if T is None else T


def check_epochs(
    method: str,
    T: int | None,
    n_epochs: int | None,
    least: int,
    default: int | None = None,
    *,
    windows: bool = False,
) -> int | None:
    """The number of epochs that count: `T`; left out, all of `n_epochs` but no more than `default`.

    None while it is not known. A method of `windows` needs `least` epochs, K, for one of them.

    Raises
    ------
    TypeError
        T is no integer.
    ValueError
        `method` needs more epochs, or T epochs are not there.
    """
    needs = f"{method} needs at least {least} epoch{'s' * (least > 1)}{f', a window of K={least}' * windows}"
    if T is not None and check_integer("T", T, 1) < least:
        raise ValueError(f"T={T}: {needs}.")
    default = None if default is None else max(default, least)
    if n_epochs is None:
        return default if T is None else T
    _check_T_is_there(T, n_epochs)
    if n_epochs < least:
        raise ValueError(f"{needs}; the trajectory holds {n_epochs}.")
    return T if T is not None else min(n_epochs, default or n_epochs)


def _check_T_is_there(T: int | None, n_epochs: int) -> None:
    if T is not None and n_epochs < T:
        raise ValueError(f"T={T}, but the trajectory holds {n_epochs} epochs.")


def random_generator(random_state: Any) -> np.random.Generator:
    """NumPy's generator of a seed: None, an integer, a Generator or, as scikit-learn takes it, a RandomState.

    Raises
    ------
    TypeError, ValueError
        `random_state` is none of these, or negative.
    """
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**31, size=4))
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"random_state={random_state!r} seeds no generator; expected None, an integer of 0 or more, a Generator or "
            "a RandomState."
        ) from None


def check_labels(y: Any, n_samples: int, n_classes: int | None, n_epochs: int | None = None) -> np.ndarray:
    """`y` as int64 of shape (n_samples,), each in [0, n_classes); integral floats and objects are accepted.

    Raises
    ------
    ValueError
        Wrong length, not integral, or out of range: the first such sample is named.
    """
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(f"Labels must be one integer a sample, shape ({n_samples},); got shape {labels.shape}.")
    if len(labels) != n_samples:
        hint = " The epochs axis is that long: is it axes='TNC'?" if len(labels) == n_epochs else ""
        raise ValueError(f"{len(labels)} labels for {n_samples} samples; expected one a sample.{hint}")
    if labels.dtype.kind not in "iu":
        try:
            as_float = labels.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Labels must be integers from 0, got {labels.dtype}: encode them first ({error})."
            ) from None
        wrong = ~(np.isfinite(as_float) & (as_float == np.floor(as_float)))
        if wrong.any():
            sample = int(np.argmax(wrong))
            raise ValueError(f"Label of sample {sample} is {labels[sample]}; expected an integer.")
        labels = as_float
    wrong = (labels < 0) | (labels >= (n_classes or 2**63))
    if wrong.any():
        sample = int(np.argmax(wrong))
        expected = f"0 to {n_classes - 1}" if n_classes else "0 or more, within 64 bits"
        raise ValueError(f"Label of sample {sample} is {int(labels[sample])}; expected {expected}.")
    return labels.astype(np.int64)


def check_features(features: Any, n_samples: int) -> np.ndarray:
    """`features` as a finite array of numbers of shape (n_samples, n_features).

    Raises
    ------
    ValueError
        Another shape, no numbers, or nan or inf: the first such sample is named.
    """
    features = np.asarray(features)
    if features.ndim != 2 or len(features) != n_samples or features.dtype.kind not in "fiu":
        raise ValueError(
            f"features must be numbers of shape ({n_samples}, n_features), one row a sample; "
            f"got shape {features.shape} of {features.dtype}."
        )
    wrong = ~np.isfinite(features).all(axis=1)
    if wrong.any():
        raise ValueError(f"features of sample {int(np.argmax(wrong))} hold nan or inf; expected finite numbers.")
    return features


def check_ids(ids: Any, n_samples: int) -> np.ndarray:
    """`ids` as int64 where they fit, else as an object array of str, of shape (n_samples,).

    Raises
    ------
    ValueError
        Wrong length, or one is no Unicode text: the first such sample is named.
    """
    ids = np.asarray(ids)
    if ids.shape != (n_samples,):
        raise ValueError(f"ids have shape {ids.shape}; expected one a sample, ({n_samples},).")
    if ids.dtype.kind in "iu" and ids.max(initial=0) <= np.iinfo(np.int64).max:
        return ids.astype(np.int64)
    ids = ids.astype(str).astype(object)
    try:
        "".join(ids).encode()
    except UnicodeEncodeError:
        sample = next(i for i, name in enumerate(ids) if name != name.encode(errors="replace").decode())
        raise ValueError(
            f"The id of sample {sample} is {ids[sample]!r}, a name that is no UTF-8; expected text: rename it."
        ) from None
    return ids


def invalid_row(
    values: np.ndarray, probs: np.ndarray, sample: int, epoch: int, kind: str, dtype: str
) -> TrajectoryError:
    """The error for one row, as read and as probabilities, that is no distribution."""
    where = f"sample {sample} at epoch {epoch}"
    logs = kind in ("logits", "log_probs")
    legal = np.isfinite(values) | (logs & np.isneginf(values))
    if not legal.all():
        c = int(np.argmin(legal))
        return TrajectoryError(f"Row of {where} holds {values[c]} for class {c}; expected finite {kind}.")
    if np.isnan(probs).any():
        return TrajectoryError(f"Row of {where} is -inf for every class; expected finite {kind}.")
    if (probs < 0).any():
        c = int(np.argmax(probs < 0))
        hint = "; pass kind='logits' if these are logits"
        return TrajectoryError(f"Row of {where} holds {probs[c]:.4g} for class {c}, expected probabilities{hint}.")
    total, tolerance = probs.sum(dtype=np.float64), sum_tolerance(dtype)
    hint = "they were rounded after they were computed in another type: pass that type"
    if abs(total - 1) > 0.1:
        hint = "pass kind='logits' if these are logits"
    advice = "" if kind == "log_probs" else f"; {hint}"
    return TrajectoryError(f"Row of {where} sums to {total:.7g}, expected 1 within {tolerance:g} of {dtype}{advice}.")


def damaged_store(problems: Sequence[str], whole: Sequence[int]) -> TrajectoryError:
    """The error for a store with `problems`, whose epochs `whole` have none."""
    others = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return TrajectoryError(
        f"{problems[0].rstrip('.')}{others}. Whole: {name_epochs(whole)}; pass damaged='skip' (--skip-damaged) to go "
        "on without the others, or bring them back from a copy."
    )


def name_epochs(epochs: Sequence[int]) -> str:
    """Ascending epochs in words: "epochs 0 to 3, 5"."""
    breaks = [i for i in range(1, len(epochs)) if epochs[i] != epochs[i - 1] + 1]
    runs = [epochs[low:high] for low, high in zip([0, *breaks], [*breaks, len(epochs)], strict=True) if high > low]
    named = [f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    return f"epoch{'s' * (len(epochs) != 1)} {', '.join(named) or 'none'}"


def missing_sample(sample: int, epoch: int, n_missing: int) -> TrajectoryError:
    """The error for a sample that an epoch does not hold."""
    others = f" and {n_missing - 1} other{'s' * (n_missing > 2)}" if n_missing > 1 else ""
    return TrajectoryError(
        f"Epoch {epoch} does not hold sample {sample}{others}; pass missing='carry' (--missing carry) to repeat the "
        "value of the epoch before, or at first that of the next."
    )
