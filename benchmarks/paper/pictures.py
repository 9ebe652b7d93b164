"""Pictures of the results: what the tables hold, with 95 % intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.paper.experiments import Experiment
from benchmarks.paper.summary import Values, axes_of, half_width

TDDS, OTHERS = "#cc6677", "#4477aa"


def draw(values: Values, experiment: Experiment, title: str, path: Path) -> None:
    """Methods as points, a panel a column; numbers against numbers as a map, or as a line where there is one column."""
    rows, columns = axes_of(values, experiment)
    shows = f"{experiment.shows.replace('_', ' ')} (%)"
    if experiment.rows == "label":
        figure = Figure(figsize=(3 + 2.8 * len(columns), 1.2 + 0.22 * len(rows)), layout="constrained")
        panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
        for axes, column in zip(panels, columns, strict=True):
            _points(axes, values, rows[::-1], column)
            axes.set_title(f"{experiment.columns} = {column}", fontsize=10)
            axes.set_xlabel(shows)
    else:
        figure = Figure(figsize=(5, 3.6), layout="constrained")
        axes = figure.subplots()
        if len(columns) > 1:
            _map(axes, values, rows, columns)
            axes.set(xlabel=experiment.columns, ylabel=experiment.rows)
        else:
            found = [values[row, columns[0]] for row in rows]
            axes.errorbar(
                rows, [np.mean(one) for one in found], list(map(half_width, found)), marker="o", capsize=3, color=TDDS
            )
            axes.spines[["top", "right"]].set_visible(False)
            axes.set(xlabel=experiment.rows, ylabel=shows)
    figure.suptitle(title, fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _points(axes: Axes, values: Values, rows: list[Any], column: Any) -> None:
    """A point and an interval a method, its seeds behind it; the dashed line is a random choice."""
    for height, row in enumerate(rows):
        if found := values.get((row, column)):
            color = TDDS if row.startswith("tdds") else OTHERS
            axes.plot(found, [height] * len(found), "|", color=color, alpha=0.5)
            axes.errorbar(np.mean(found), height, xerr=half_width(found), fmt="o", ms=4, capsize=2, color=color)
    if found := values.get(("random", column)):
        axes.axvline(np.mean(found), color="0.6", linestyle="--", linewidth=1, zorder=0)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_ylim(-0.8, len(rows) - 0.2)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _map(axes: Axes, values: Values, rows: list[Any], columns: list[Any]) -> None:
    means = np.array([[np.mean(values.get((row, column)) or np.nan) for column in columns] for row in rows])
    axes.imshow(means, cmap="viridis", aspect="auto", origin="lower")
    middle = (np.nanmin(means) + np.nanmax(means)) / 2
    for (i, j), mean in np.ndenumerate(means):
        if np.isfinite(mean):
            axes.text(j, i, f"{mean:.1f}", ha="center", va="center", color="white" if mean < middle else "black")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
