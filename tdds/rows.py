"""Rows of whatever holds the data: arrays, frames, files, and the data sets of packages that are not imported here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import _safe_indexing


def check_rows(X: Any, n_samples: int) -> None:
    """Raise where `X` has another number of rows than the trajectory has samples.

    Raises
    ------
    TypeError
        X has no length: a stream, or no container at all; or it is a mapping, whose items are no rows.
    ValueError
        X has another number of rows.
    """
    if isinstance(X, Mapping):
        raise TypeError(f"X is a {type(X).__name__} of {len(X)} entries, not of rows; pass each of them by itself.")
    try:
        n_rows = X.shape[0] if getattr(X, "shape", ()) else len(X)
    except TypeError as error:
        raise TypeError(f"X has no rows to take (filter a stream by the indices that are kept): {error}") from None
    if n_rows != n_samples:
        raise ValueError(
            f"X has {n_rows} rows, the trajectory {n_samples} samples; pass the data it belongs to."
            + " Reshape your data if these are one row." * (getattr(X, "ndim", 2) == 1)
        )


def take_rows(X: Any, indices: np.ndarray) -> Any:
    """The rows of `X` at ascending `indices`, in a container of the kind that came in."""
    for base in type(X).__mro__:
        take = _TAKE.get(f"{base.__module__}.{base.__qualname__}")
        if take is not None:
            return take(X, indices)
    if issparse(X) and X.format not in ("csr", "csc"):  # which have no rows to index
        X = X.tocsr()
    return _safe_indexing(X, indices)


def _subset(X: Any, indices: np.ndarray) -> Any:
    from torch.utils.data import Subset

    return Subset(X, indices.tolist())


#: How a class that is not ours gives rows, by its full name: whoever has such an object has its package imported.
_TAKE: dict[str, Callable[[Any, np.ndarray], Any]] = {
    "datasets.arrow_dataset.Dataset": lambda X, indices: X.select(indices),
    "pyarrow.lib.Table": lambda X, indices: X.take(indices),
    "torch.utils.data.dataset.Dataset": _subset,
    "zarr.core.array.Array": lambda X, indices: X.oindex[indices],
}
