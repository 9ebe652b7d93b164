"""Folders that hold a numbered file an epoch."""

import math
import re
from pathlib import Path

import numpy as np

from tdds.sources.arrays import map_npy
from tdds.sources.arrival import NpyDirectory
from tdds.sources.base import Trajectory, resolve_kind
from tdds.validation import TrajectoryError


class NumberedFiles:
    """The files of a folder whose names `pattern` numbers, an epoch each, at equal distances."""

    def __init__(self, folder: Path, pattern: str) -> None:
        self.folder = folder
        found: dict[int, str] = {}
        for name in sorted(file.name for file in folder.iterdir()):
            if not (match := re.fullmatch(pattern, name)):
                continue
            if (number := int(match[1])) in found:
                raise TrajectoryError(
                    f"{folder}: {found[number]} and {name} are both epoch {number}; expected one run: move the other "
                    "into a folder of its own."
                )
            found[number] = name
        if not found:
            raise TrajectoryError(f"{folder}: holds no file of the pattern {pattern}.")
        self._first, last = min(found), max(found)
        self._step = math.gcd(*(number - self._first for number in found)) or 1
        self._example = found[self._first]
        self._names = found
        self.n_epochs = (last - self._first) // self._step + 1

    def paths(self) -> list[Path]:
        """All of them."""
        return [self.folder / name for name in self._names.values()]

    def number(self, epoch: int) -> int:
        return self._first + epoch * self._step

    def path(self, epoch: int) -> Path:
        """The file of `epoch`.

        Raises
        ------
        TrajectoryError
            It is not there, though later ones are.
        """
        number = self.number(epoch)
        if number not in self._names:
            raise TrajectoryError(f"{self.folder}: epoch {number} is missing: no such file beside {self._example}.")
        return self.folder / self._names[number]


class NpyEpochs(NpyDirectory):
    """A folder of one ``.npy`` an epoch, (n_samples, n_classes), or (n_samples,) of losses, numbered in its name.

    Rows lie in the order of the samples, the same in every epoch.
    """

    pattern = r".*?(\d+)\D*\.npy"

    def __init__(self, path: Path, *, kind: str | None = None) -> None:
        super(NpyDirectory, self).__init__()
        self.path, self.name = path, str(path)
        self._files = NumberedFiles(path, self.pattern)
        self.n_epochs = self._files.n_epochs
        self.kind = resolve_kind(kind, losses=map_npy(self._file(0)).ndim == 1, default="probs")
        self._measure()
        self._in_order = np.arange(self.n_samples, dtype=np.int32)

    # Read where it lies: nothing is gained by more samples than a block holds, nor by a sorted copy.
    chunk = Trajectory.chunk
    in_runs = Trajectory.in_runs

    def _file(self, epoch: int) -> Path:
        return self._files.path(epoch)

    def paths_read(self) -> list[Path]:
        return self._files.paths()

    def index(self, epoch: int) -> np.ndarray:
        return np.arange(self._layout(epoch)[1])

    def rows(self, epoch: int) -> np.ndarray:
        if (n_rows := self._layout(epoch)[1]) != self.n_samples:
            raise TrajectoryError(
                f"{self._file(epoch)}: {n_rows} rows; expected {self.n_samples} as in {self._file(0).name}, one a "
                "sample in the same order."
            )
        return self._in_order
