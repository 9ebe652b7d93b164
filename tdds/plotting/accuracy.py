"""How well coresets train."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from scipy import stats

from tdds.plotting.style import LINES, grey, ink, new_axes


class AccuracyDisplay:
    """Test accuracy against the share of the data that was removed: mean and 95 % interval over the seeds.

    The interval is Student's, of the mean; one seed has none. Rows with nothing removed are the dashed line.

    Parameters
    ----------
    accuracies : mapping of str to mapping of float to sequence of float
        By the name of a line, a method, and pruning rate: one accuracy a seed.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : dict of matplotlib ErrorbarContainer
        By name.

    Examples
    --------
    >>> from tdds.plotting import AccuracyDisplay
    >>> rows = [
    ...     {"method": method, "pruning_rate": rate, "seed": seed, "accuracy": 0.9 - 0.3 * rate + 0.01 * seed}
    ...     for method in ("tdds", "random") for rate in (0.5, 0.7, 0.9) for seed in range(3)
    ... ]
    >>> sorted(AccuracyDisplay.from_results(rows).lines_)
    ['random', 'tdds']
    """

    def __init__(self, accuracies: Mapping[str, Mapping[float, Sequence[float]]]) -> None:
        self.accuracies = accuracies

    @classmethod
    def from_results(
        cls,
        results: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
        *,
        by: Sequence[str] = ("sampler",),
        ax: Axes | None = None,
    ) -> AccuracyDisplay:
        """Draw the rows of a results file.

        Parameters
        ----------
        results : path of a JSON-lines file, or its rows
            Each with `method`, `pruning_rate`, `seed` and `accuracy`, in [0, 1].
        by : sequence of str, default ("sampler",)
            Other fields of a row that tell lines apart: a method that was run with more than one sampler has a line for
            each, "el2n, stratified". Of settings that these do not tell apart, such as two data sets, pass the rows of
            one.
        ax : matplotlib Axes, optional
            A new figure's where left out.

        Raises
        ------
        ValueError
            There is no row, a row lacks one of these or is no JSON, or two are of the same line, rate and seed.
        FileNotFoundError
            There is no such file.
        """
        rows: Iterable[Any] = results  # type: ignore[assignment]
        if isinstance(results, (str, os.PathLike)):
            rows = [line for line in Path(results).read_text(encoding="utf-8").splitlines() if line.strip()]
        found: dict[tuple[str, tuple[str, ...], float, Any], float] = {}
        for number, row in enumerate(rows, 1):
            try:
                row = json.loads(row) if isinstance(row, str) else row
                method, rate, seed = str(row["method"]), float(row["pruning_rate"]), row["seed"]
                setting = tuple(str(row[name]) if name in row else f"no {name}" for name in by)
                key, accuracy = (method, setting, rate, seed), float(row["accuracy"])
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"Row {number} of the results: expected method, pruning_rate, seed and accuracy; {error!r}."
                ) from None
            if key in found:
                raise ValueError(
                    f"Row {number} of the results is a second one of {', '.join((method, *setting))}, {rate:g} "
                    f"removed, seed {seed}; pass the rows of one setting, or by=, the fields that tell them apart."
                )
            found[key] = accuracy
        if not found:
            raise ValueError("The results hold no row; expected one for each method, pruning rate and seed.")
        accuracies: dict[str, dict[float, list[float]]] = {}
        for (method, setting, rate, _), accuracy in found.items():
            others = [other for name, other, _, _ in found if name == method]
            varied = [value for i, value in enumerate(setting) if len({other[i] for other in others}) > 1]
            accuracies.setdefault(", ".join([method, *varied]), {}).setdefault(rate, []).append(accuracy)
        return cls(accuracies).plot(ax)

    def plot(self, ax: Axes | None = None) -> AccuracyDisplay:
        """Draw on `ax`, or on a new figure.

        Parameters
        ----------
        ax : matplotlib Axes, optional

        Returns
        -------
        self
        """
        ax = new_axes(ax)
        self.ax_, self.figure_ = ax, ax.figure
        self.lines_: dict[str, Any] = {}
        full = [a for rates in self.accuracies.values() for a in rates.get(0.0, [])]
        if full:
            ax.axhline(float(np.mean(full)), color=ink(), linestyle="--", linewidth=1, label="all data")
        pruned = {
            method: {rate: rates[rate] for rate in sorted(rates) if rate} for method, rates in self.accuracies.items()
        }
        pruned = {method: rates for method, rates in pruned.items() if rates}
        shifts = np.linspace(-0.006, 0.006, len(pruned)) if len(pruned) > 1 else [0.0]  # intervals side by side
        for i, (method, rates) in enumerate(pruned.items()):
            color, marker = LINES[i % len(LINES)]
            self.lines_[method] = ax.errorbar(
                np.array(list(rates)) + shifts[i],
                np.array([np.mean(values) for values in rates.values()]),
                np.array([_half_width(values) for values in rates.values()]),
                color=color, marker=marker, markersize=5, linewidth=1.5, capsize=2.5, label=method,
                linestyle="-" if i < len(LINES) else ":",
            )  # fmt: skip
        present = sorted({rate for rates in pruned.values() for rate in rates})
        ax.set_xticks(present)
        if present:  # a single rate is a narrow column, not all of the axis
            ax.set_xlim(min(present) - 0.05, max(present) + 0.05)
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.yaxis.set_major_formatter(PercentFormatter(1))
        ax.set(xlabel="removed", ylabel="test accuracy")
        ax.grid(axis="y", color=grey(), linewidth=0.5, alpha=0.6)
        ax.legend(frameon=False, fontsize="small", labelspacing=0.3, loc="upper left", bbox_to_anchor=(1, 1))
        return self


def _half_width(values: Sequence[float]) -> float:
    """Half the 95 % interval of the mean, by Student's t; nan of a single value."""
    if len(values) < 2:
        return np.nan
    return float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
