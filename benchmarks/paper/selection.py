"""From recorded trajectories to the coresets of many cells: each trajectory is read once, whatever is asked of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.paper.cells import Cell
from benchmarks.paper.data import Dataset
from benchmarks.paper.training import FEATURES, Schedule
from tdds import open_trajectory
from tdds.engine import compute_scores
from tdds.samplers import SAMPLERS, Coreset, count_kept, draw_coreset
from tdds.scores import Random, Score, make_score

Recording = tuple[str, Schedule, int]  # network, schedule, seed


def recordings_of(cell: Cell) -> list[Recording]:
    """Those that the cell's scores are made of; none for a random choice."""
    if cell.method == "random":
        return []
    return [(cell.recorded_network, cell.recording, seed) for seed in cell.recordings]


def choose(cells: Sequence[Cell], dataset: Dataset, folders: Mapping[Recording, Path]) -> dict[str, Coreset]:
    """The coreset of each cell, by its key; all are of `dataset`, whose recordings lie in `folders`."""
    wanted: dict[Recording, dict[str, Score]] = defaultdict(dict)
    for cell in cells:
        for recording in recordings_of(cell):
            wanted[recording] |= {repr(score): score for score in (_score(cell), _second(cell)) if score is not None}
    scores = {recording: _compute(folders[recording], chosen) for recording, chosen in wanted.items()}

    def mean_of(cell: Cell, score: Score | None) -> np.ndarray | None:
        if score is None:
            return None
        if isinstance(score, Random):
            return score.finish(np.zeros(len(dataset)), None)
        return np.mean([scores[recording][repr(score)] for recording in recordings_of(cell)], axis=0)

    labels = dataset.labels.cpu().numpy()
    coresets = {}
    for cell in cells:
        score = _score(cell)
        coresets[cell.key] = draw_coreset(
            mean_of(cell, score) * (1 if cell.end == "kept" else -1),
            score.keeps,
            SAMPLERS[cell.sampler](),
            count_kept(len(dataset), cell.pruning_rate),
            weighting=cell.weighting,
            second=mean_of(cell, _second(cell)),
            labels=labels,
            random_state=cell.seed,
        )
    return coresets


def has_features(cells: Iterable[Cell], folders: Mapping[Recording, Path]) -> bool:
    """Whether those of the cells that need features have recordings with them; there are older ones without."""
    recordings = (one for cell in cells if _score(cell).needs_features for one in recordings_of(cell))
    return all((folders[recording] / FEATURES).exists() for recording in recordings)


def _compute(folder: Path, scores: Mapping[str, Score]) -> dict[str, np.ndarray]:
    features = np.load(folder / FEATURES) if any(score.needs_features for score in scores.values()) else None
    return compute_scores(open_trajectory(folder / "run"), scores, features=features)


def _score(cell: Cell) -> Score:
    return make_score(cell.method, random_state=cell.seed, **cell.parameters)


def _second(cell: Cell) -> Score | None:
    """The other score that the sampler needs, of the same epochs."""
    name = SAMPLERS[cell.sampler].second
    default_T = getattr(_score(cell), "default_T", None)
    return None if name is None else make_score(name, T=cell.parameters.get("T"), default_T=default_T)
