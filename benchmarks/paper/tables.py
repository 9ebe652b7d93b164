"""Markdown tables of the results, with 95 % intervals of the mean over the seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paper.experiments import EXPERIMENTS, Experiment
from benchmarks.paper.pictures import draw
from benchmarks.paper.results import Results
from benchmarks.paper.settings import SCALES, Scale
from benchmarks.paper.summary import Values, axes_of, half_width, is_begun, values_of
from benchmarks.paper.training import Schedule


def write(scale: Scale, results: Results, page: Path) -> None:
    """Write the tables of a scale, a Markdown page, and its pictures into `images` beside it.

    What is chosen, and not trained on, stands on the page of the scale's own number of epochs alone.
    """
    own_epochs = scale.training.epochs == SCALES[scale.name].training.epochs
    parts = [f"# Results at `--scale {scale.name}`, {scale.training.epochs} epochs", _settings(scale)]
    shown = {name: one for name, one in EXPERIMENTS.items() if own_epochs or one.shows == "accuracy"}
    for name, experiment in shown.items():
        for dataset in scale.datasets:
            values = values_of(experiment, dataset, scale, results)
            if is_begun(values, experiment):
                picture = Path("images") / f"{page.stem}-{name}-{dataset}.png"
                draw(values, experiment, f"{experiment.title}: {dataset}", page.parent / picture)
                parts.append(f"## {experiment.title}: {dataset}\n\n{_progress(name, values)}")
                parts.append(table(values, experiment))
                parts.append(f"![{experiment.title}: {dataset}]({picture})")
    page.write_text("\n\n".join(parts) + "\n")


def table(values: Values, experiment: Experiment) -> str:
    """In percent: the mean, and its interval where there are three values; the best accuracy of each column is bold."""
    rows, columns = axes_of(values, experiment)
    best = {
        column: max(np.mean(values[row, column]) for row in rows if values.get((row, column)))
        for column in columns
        if experiment.shows == "accuracy"
    }
    lines = [[experiment.rows.replace("label", "method"), *(f"{experiment.columns} = {column}" for column in columns)]]
    lines.append(["---", *["---:"] * len(columns)])
    for row in rows:
        lines.append([str(row), *(_shown(values.get((row, column), []), best.get(column)) for column in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _progress(name: str, values: Values) -> str:
    """How far the experiment has come."""
    numbers = [len(found) for found in values.values() if found]
    low, high = min(numbers), max(numbers)
    runs = f"{low} to {high} runs" if low < high else f"{low} run{'s' * (low > 1)}"
    return f"`{name}`: {len(numbers)} of {len(values)} places of the table, {runs} each."


def _shown(values: list[float], best: float | None) -> str:
    if not values:
        return ""
    mean = f"**{np.mean(values):.1f}**" if np.mean(values) == best else f"{np.mean(values):.1f}"
    return f"{mean} ± {half_width(values):.1f}" if len(values) > 2 else mean


def _settings(scale: Scale) -> str:
    """The scale's entry in `settings.py`, as a table."""
    lines = [f"| {item.name} | {_words(getattr(scale, item.name))} |" for item in fields(scale) if item.name != "name"]
    return "\n".join(["| setting | |", "|---|---|", *lines])


def _words(value: Any) -> str:
    if isinstance(value, Schedule):
        return (
            f"{value.epochs} epochs, batch {value.batch}, lr {value.lr:g}, {value.shape}, decay {value.weight_decay:g}"
        )
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_within(item)}" for name, item in value.items())
    if isinstance(value, tuple):
        return ", ".join(map(_within, value))
    return "all" if value is None else str(value)


def _within(value: Any) -> str:
    return f"({_words(value)})" if isinstance(value, (Mapping, tuple)) else _words(value)
