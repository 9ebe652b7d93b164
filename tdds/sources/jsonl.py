"""JSON lines and text, one file an epoch: dataset cartography, datacull, Dyn-Unc."""

import json
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from tdds.sources.numbered import NumberedFiles
from tdds.sources.spooled import Rows, SpooledTrajectory
from tdds.validation import KINDS, TrajectoryError, check_choice, check_ids, file_errors

_BATCH = 1024  # lines that become one array
_LINE_BYTES = 1 << 24  # of a line, at most: a million classes


class JsonLines(SpooledTrajectory):
    """A folder of JSON lines, one file an epoch, one sample a line."""

    pattern: str
    form: str

    def __init__(self, folder: Path, *, kind: str | None = None, missing: str = "error") -> None:
        super().__init__(missing=missing)
        self.name = str(folder)
        self._files = NumberedFiles(folder, self.pattern)
        self.n_epochs = self._files.n_epochs
        first = next(self._records(0), None)
        if first is None:
            raise TrajectoryError(f"{self._files.path(0)}: is empty.")
        values = first[1]
        self.kind = kind or ("logits" if values.ndim else "losses")
        check_choice("kind", self.kind, KINDS[:3] if values.ndim else KINDS[3:])
        self._measure()

    def paths_read(self) -> list[Path]:
        return self._files.paths()

    @abstractmethod
    def record(self, line: Any, number: int) -> tuple[Any, Any, Any]:
        """Name, values and label (or None) of the sample of one line of the file of that number."""

    def _records(self, epoch: int) -> Iterator[tuple[Any, np.ndarray, Any]]:
        number, path = self._files.number(epoch), self._files.path(epoch)
        with file_errors(path), open(path, "rb") as lines:
            for n, line in enumerate(iter(lambda: lines.readline(_LINE_BYTES), b""), start=1):
                if len(line) == _LINE_BYTES:
                    raise TrajectoryError(f"{path}: line {n} is longer than {_LINE_BYTES} bytes; expected one sample.")
                try:
                    name, values, label = self.record(json.loads(line), number)
                    yield name, np.array(values, dtype=np.float32), label
                except (ValueError, TypeError, LookupError, AttributeError) as error:
                    raise TrajectoryError(
                        f"{path}: line {n} is {line[:60]!r}; expected {self.form.format(number)} ({error})."
                    ) from None

    def parse(self, epoch: int) -> Iterator[Rows]:
        records = self._records(epoch)
        while batch := list(islice(records, _BATCH)):
            names, values, labels = zip(*batch, strict=True)
            if len({row.shape for row in values}) > 1:
                raise TrajectoryError(f"{self._files.path(epoch)}: lines hold different numbers of values.")
            yield epoch, np.array(names), np.stack(values), None if None in labels else np.array(labels)


class CartographyLogs(JsonLines):
    """What dataset cartography logs: ``training_dynamics/dynamics_epoch_{t}.jsonl``, with guid, logits and gold label.

    Samples are numbered in ascending order of their guids, the same in every run; the guids are their `ids`.
    """

    pattern = r"dynamics_epoch_(\d+)\.jsonl"
    form = '{{"guid": ..., "logits_epoch_{0}": [...], "gold": ...}}'

    _guids: np.ndarray | None = None

    def record(self, line: Any, number: int) -> tuple[Any, Any, Any]:
        return line["guid"], line[f"logits_epoch_{number}"], line.get("gold")

    def locate(self, names: np.ndarray, epoch: int) -> np.ndarray:
        if self._guids is None:
            self._guids = np.unique(names)
            if self._guids.dtype.kind not in "iu" or (self._guids != np.arange(len(self._guids))).any():
                self.ids = check_ids(self._guids, len(self._guids))
        where = np.searchsorted(self._guids, names.astype(self._guids.dtype))
        where = where.clip(max=len(self._guids) - 1)
        unknown = self._guids[where] != names
        if unknown.any():
            raise TrajectoryError(
                f"{self._files.path(epoch)}: guid {names[unknown][0]} is none of the {len(self._guids)} of epoch 0."
            )
        return where


class DatacullLogs(JsonLines):
    """What datacull's `DCLogger` writes: ``epoch{t}.jsonl``, a line a sample, its number and its logits or loss."""

    pattern = r"epoch(\d+)\.jsonl"
    form = '{{"sample": [...]}}'

    def record(self, line: Any, number: int) -> tuple[Any, Any, Any]:
        ((name, values),) = line.items()
        return int(name), values, None


class DynUncLogs(SpooledTrajectory):
    """What Dyn-Unc logs: ``pred_prob_history/prob_{t}.txt``, the probability of each sample's label, a line a sample.

    Read as two classes, the label (0) and all others, which is exact for the methods that look at the label alone:
    "dyn_unc", "dual", "confidence", "variability", "loss", and "tdds" with ``loss="ce"``. With ``kind="losses"``,
    -log(p + 1e-8). A sample that an epoch did not see has 0 there, and is missing.
    """

    pattern = r"prob_(\d+)\.txt"

    def __init__(self, folder: Path, *, kind: str | None = None, missing: str = "error") -> None:
        super().__init__(missing=missing)
        self.name = str(folder)
        self.kind = kind or "probs"
        check_choice("kind", self.kind, ("probs", "losses"))
        self._files = NumberedFiles(folder, self.pattern)
        self.n_epochs = self._files.n_epochs
        self._measure()

    def paths_read(self) -> list[Path]:
        return self._files.paths()

    def parse(self, epoch: int) -> Iterator[Rows]:
        path = self._files.path(epoch)
        with file_errors(path), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of an empty file, in which every sample is missing
            probs = np.loadtxt(path, dtype=np.float32, ndmin=1)
        seen = np.flatnonzero(probs)
        probs = probs[seen]
        if self.kind == "losses":
            yield epoch, seen, -np.log(probs + np.float32(1e-8)), None
        else:
            yield epoch, seen, np.stack([probs, 1 - probs], axis=1), np.zeros(len(seen), dtype=np.int64)
