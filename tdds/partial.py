"""Scores of a long run, kept beside its output until all are written: the same command goes on from them."""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tdds._version import __version__
from tdds.sources import Trajectory

SAVE_SECONDS = 10.0
"""A kill loses no more work than this; what takes less touches no disk."""

Part = dict[str, np.ndarray]  # what each score makes of samples that follow one another


class PartialScores:
    """Parts of scores in a folder ``.{output}.{fingerprint}.partial``, in files that are named by their first sample.

    The fingerprint is that of the files and the values that are read, of labels, scores and this library: a run on
    other data, or with other parameters, finds nothing there. `going_on` is called with the number of samples
    that are found there, and the folder.
    """

    def __init__(
        self,
        output: Path,
        trajectory: Trajectory,
        scores: Mapping[str, Any],
        going_on: Callable[[int, Path], object] = lambda n_samples, folder: None,
    ) -> None:
        self._output, self._trajectory, self._scores, self._going_on = output, trajectory, dict(scores), going_on

    @cached_property
    def folder(self) -> Path:
        """Named when it is first wanted: the fingerprint of logs takes their parsing."""
        trajectory, scores = self._trajectory, self._scores
        read = trajectory.fingerprint(max(one.check(trajectory.n_epochs) or 1 for one in scores.values()))
        labels = b"" if trajectory.labels is None else trajectory.labels.tobytes()
        key = repr([__version__, repr(trajectory), read, trajectory.skipped, trajectory.state(), scores])
        fingerprint = hashlib.sha256(key.encode() + labels).hexdigest()[:16]
        return self._output.with_name(f".{self._output.name}.{fingerprint}.partial")

    def load(self) -> list[Part]:
        """Parts from sample 0 on, up to the first that is missing or damaged."""
        parts: list[Part] = []
        start = 0
        while (path := self.folder / f"{start}.npz").exists():
            try:
                with np.load(path, allow_pickle=False) as file:
                    parts.append({name: file[name] for name in file.files})
            except (OSError, ValueError, EOFError, zipfile.BadZipFile):
                break
            start += count_samples(parts[-1])
        if start:
            self._going_on(start, self.folder)
        return parts

    def keep(self, start: int, parts: Iterable[Part]) -> Iterator[Part]:
        """Hand on `parts`, the first of which begins at sample `start`, and save them every few seconds."""
        unsaved: list[Part] = []
        saved_at = time.monotonic()
        for part in parts:
            unsaved.append(part)
            if time.monotonic() - saved_at >= SAVE_SECONDS:
                joined = {name: np.concatenate([one[name] for one in unsaved]) for name in part}
                self._save(self.folder / f"{start}.npz", joined)
                start += count_samples(joined)
                unsaved, saved_at = [], time.monotonic()
            yield part

    def _save(self, path: Path, part: Part) -> None:
        self.folder.mkdir(exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        with open(temporary, "wb") as file:
            np.savez(file, **part)  # type: ignore[arg-type]
        os.replace(temporary, path)

    def remove(self) -> None:
        """Remove what was kept for this output, by runs with other fingerprints too."""
        for folder in self._output.parent.glob(f".{glob.escape(self._output.name)}.*.partial"):
            shutil.rmtree(folder, ignore_errors=True)


def count_samples(part: Part) -> int:
    return len(next(iter(part.values())))
