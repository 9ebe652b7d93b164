"""Samples by their label."""

from __future__ import annotations

import numpy as np


def by_class(labels: np.ndarray) -> list[np.ndarray]:
    """The samples of each class that is there, ascending: one array a class, from the lowest label up."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
