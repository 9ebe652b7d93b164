"""Markdown tables of the results, with 95 % intervals of the mean over the seeds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.paper.experiments import EXPERIMENTS, Experiment
from benchmarks.paper.pictures import draw
from benchmarks.paper.results import Results
from benchmarks.paper.settings import Scale
from benchmarks.paper.summary import Values, axes_of, half_width, values_of


def write(scale: Scale, results: Results, folder: Path) -> Path:
    """Write the tables and pictures of a scale into `folder`: one Markdown file, which is returned."""
    parts = [f"# Results at `--scale {scale.name}`", _settings(scale)]
    for name, experiment in EXPERIMENTS.items():
        for dataset in scale.datasets:
            values, n_cells = values_of(experiment, dataset, scale, results)
            if len(values) > 1:  # rows are shared: one of another experiment makes no table
                n_done = sum(map(len, values.values()))
                picture = Path("images") / f"{scale.name}-{name}-{dataset}.png"
                draw(values, experiment, f"{experiment.title}: {dataset}", folder / picture)
                parts.append(f"## {experiment.title}: {dataset}\n\n`{name}`, {n_done} of {n_cells} runs.")
                parts.append(table(values, experiment))
                parts.append(f"![{experiment.title}: {dataset}]({picture})")
    path = folder / f"{scale.name}.md"
    path.write_text("\n\n".join(parts) + "\n")
    return path


def table(values: Values, experiment: Experiment) -> str:
    """In percent: the mean and its interval where there are several seeds; the best of each column is bold."""
    rows, columns = axes_of(values, experiment)
    best = {column: max(np.mean(values[row, column]) for row in rows if (row, column) in values) for column in columns}
    lines = [[experiment.rows.replace("label", "method"), *(f"{experiment.columns} = {column}" for column in columns)]]
    lines.append(["---", *["---:"] * len(columns)])
    for row in rows:
        lines.append([str(row), *(_shown(values.get((row, column), []), best[column]) for column in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(values: list[float], best: float) -> str:
    if not values:
        return ""
    mean = f"**{np.mean(values):.1f}**" if np.mean(values) == best else f"{np.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {half_width(values):.1f}"


def _settings(scale: Scale) -> str:
    lines = [f"| {name} | {value} |" for name, value in asdict(scale).items() if name != "name"]
    return "\n".join(["| setting | |", "|---|---|", *lines])
