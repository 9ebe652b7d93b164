"""One line of the results, before it is run: everything that changes the outcome."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from types import MappingProxyType
from typing import Any

from benchmarks.paper.training import Schedule


@dataclass(frozen=True)
class Cell:
    """One coreset and the training run on it: whatever changes the outcome, but for the data themselves."""

    dataset: str
    method: str
    pruning_rate: float
    seed: int
    network: str
    training: Schedule
    recorded_network: str
    recording: Schedule
    parameters: Mapping[str, Any] = field(default_factory=dict)  # of the method, where they are not its defaults
    end: str = "kept"  # or "opposite": the samples that the method would remove
    sampler: str = "top"
    weighting: str = "none"
    budget: str = "epochs"  # as many at every rate, or "steps": epochs / (1 - pruning_rate); "none": not trained
    recordings: tuple[int, ...] = (0,)  # the seeds of those over which the scores are averaged
    variant: str = "clean"

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Cell:
        """The cell that a row of the results is of."""
        known = {item.name: row[item.name] for item in fields(cls)}
        schedules = {name: Schedule(**row[name]) for name in ("training", "recording")}
        return cls(**known | schedules | {"recordings": tuple(row["recordings"])})

    @property
    def key(self) -> str:
        """What a row is known by; a random choice is the same whatever was recorded."""
        known = asdict(self)
        if self.method == "random":
            del known["recorded_network"], known["recording"], known["recordings"]
        return json.dumps(known, sort_keys=True)

    def label(self, usual: Mapping[str, Any] = MappingProxyType({})) -> str:
        """What is compared: the method, and what of it is not as usual."""
        words = [f"{name}={value}" for name, value in self.parameters.items() if usual.get(name) != value]
        words += [f"{self.sampler} sampler"] * (self.sampler != "top") + ["opposite end"] * (self.end != "kept")
        return ", ".join([self.method, *words] + [f"weights {self.weighting}"] * (self.weighting != "none"))
