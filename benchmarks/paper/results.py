"""The results file: one JSON object a line, one line a training run; lines are only ever added."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections import defaultdict
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.paper.cells import Cell

LIBRARIES = ("tdds-coreset", "numpy", "scikit-learn")


class Results:
    """Rows by what was run on which data; a line that a crash cut short does not count, and goes when one is added."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)  # by cell, then by the data's hash
        *lines, self._cut = (path.read_bytes() if path.exists() else b"").split(b"\n")
        for line in lines:
            self._hold(json.loads(line))

    def get(self, cell: Cell, dataset_sha256: str) -> dict[str, Any] | None:
        return self._rows[cell.key].get(dataset_sha256)

    def of(self, cell: Cell) -> list[dict[str, Any]]:
        """The row of a cell, whatever the data's hash, or none.

        Raises
        ------
        ValueError
            There are rows of different data under one name, which no table can hold.
        """
        found = self._rows[cell.key]
        if len(found) > 1:
            hashes = ", ".join(sha256[:8] for sha256 in found)
            raise ValueError(
                f"{self.path} has rows of different data called {cell.dataset}: {hashes}; keep those of your own data "
                "in a file of their own, --results FILE."
            )
        return list(found.values())

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row; it is on disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._cut:
            os.truncate(self.path, self.path.stat().st_size - len(self._cut))
            self._cut = b""
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._hold(row)

    def _hold(self, row: Mapping[str, Any]) -> None:
        self._rows[Cell.of(row).key][row["dataset_sha256"]] = dict(row)


def sha256_of(indices: np.ndarray) -> str:
    """Of the ascending indices of a coreset, as little-endian int64."""
    return hashlib.sha256(np.ascontiguousarray(indices, dtype="<i8")).hexdigest()


def processor_name() -> str:
    return str(torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine())


def machine(device: str) -> dict[str, Any]:
    """What the row was made on."""
    processor = torch.cuda.get_device_name() if device == "cuda" else processor_name()
    return {
        "machine": f"{os.cpu_count()} cores, {processor}",
        "versions": {name: version(name) for name in LIBRARIES} | {"torch": str(torch.__version__)},  # says which CUDA
    }
