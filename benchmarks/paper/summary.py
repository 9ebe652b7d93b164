"""What an experiment has found so far: the values of each place in its table, and their interval."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.stats import t as student

from benchmarks.paper.experiments import Experiment
from benchmarks.paper.results import Results
from benchmarks.paper.settings import Scale

#: By row and column of a table: one value a seed.
Values = dict[tuple[Any, Any], list[float]]


def values_of(experiment: Experiment, dataset: str, scale: Scale, results: Results) -> Values:
    """Every value that there is, in percent; an empty list where there is none yet.

    Of a paired table those of the seeds that all places have which hold any.
    """
    found: dict[tuple[Any, Any], dict[int, float]] = defaultdict(dict)
    for cell in experiment.cells(scale):
        if cell.dataset == dataset:
            by_seed = found[experiment.place(cell, scale)]
            by_seed |= {row["seed"]: 100 * row[experiment.shows] for row in results.of(cell) if experiment.shows in row}
    if experiment.paired and (filled := [by_seed.keys() for by_seed in found.values() if by_seed]):
        shared = set.intersection(*map(set, filled))
        return {place: [value for seed, value in by_seed.items() if seed in shared] for place, by_seed in found.items()}
    return {place: list(by_seed.values()) for place, by_seed in found.items()}


def is_begun(values: Values, experiment: Experiment) -> bool:
    """Whether there is something to compare: experiments share training runs, and often a part is another's.

    That is two rows, and two columns but for pruning rates, each of which says something alone. A random choice does
    not count; it stands where nothing else was run.
    """
    filled = [place for place, found in values.items() if found and place[0] != "random"]
    rows, columns = ({place[axis] for place in filled} for axis in (0, 1))
    alone = experiment.columns == "pruning_rate" or len({column for _, column in values}) == 1
    return len(rows) > 1 and len(columns) > (0 if alone else 1)


def half_width(values: list[float]) -> float:
    """Half of the 95 % interval of the mean by Student's t; 0 for fewer than three values, of which it says nothing."""
    if len(values) < 3:
        return 0.0
    return float(student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))


def axes_of(values: Values, experiment: Experiment) -> tuple[list[Any], list[Any]]:
    """Rows, and columns, that hold something: numbers ascending, words as they come, but methods best first.

    Best by the last column that they have a value in. A random choice alone fills no column.
    """
    filled = {place: found for place, found in values.items() if found}
    rows = _in_order(row for row, _ in filled)
    columns = _in_order(column for row, column in filled if row != "random")
    if experiment.rows == "label":
        last = {row: np.mean(filled[row, column]) for row in rows for column in columns if (row, column) in filled}
        rows.sort(key=last.__getitem__, reverse=True)
    return rows, columns


def _in_order(items: Iterable[Any]) -> list[Any]:
    once = list(dict.fromkeys(items))
    return once if any(isinstance(item, str) for item in once) else sorted(once)
