"""What a coreset is: its classes, what it shares with others, how well it trains."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, PercentFormatter
from scipy import stats
from sklearn.utils.validation import check_is_fitted

from tdds.plotting.style import BLUE, LINES, check_names, grey, ink, legend_above, new_axes, selector_of, tdds_score
from tdds.scores import TDDS, default_K
from tdds.sources import open_trajectory
from tdds.summaries import class_counts, default_grid, overlap_grid
from tdds.validation import check_integer, check_labels


class ClassBalanceDisplay:
    """The share of each class in all data, and in the coreset.

    Classes are sorted by what the coreset makes of them, those that grow most on top; of more than `max_classes`, the
    two ends are shown.

    Parameters
    ----------
    kept, full : (n_classes,) int arrays
        Samples of each class in the coreset, and in all data; classes without any are left out.
    class_names : sequence of str, optional
        One a class.
    max_classes : int, default 30

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    classes_ : int array
        The classes shown, from the bottom up.
    full_, kept_ : matplotlib Line2D
        Their shares.

    Examples
    --------
    >>> import numpy as np
    >>> from tdds.plotting import ClassBalanceDisplay
    >>> y = np.random.default_rng(0).integers(4, size=100)
    >>> display = ClassBalanceDisplay.from_indices(y, np.flatnonzero(y < 3))
    >>> int(display.classes_[0])  # the class that lost most
    3
    """

    def __init__(
        self, kept: Any, full: Any, *, class_names: Sequence[str] | None = None, max_classes: int = 30
    ) -> None:
        self.kept = np.asarray(kept)
        self.full = np.asarray(full)
        check_names(class_names, len(self.full))
        self.class_names = class_names
        self.max_classes = check_integer("max_classes", max_classes, 1)

    @classmethod
    def from_estimator(
        cls, estimator: Any, y: Any, *, class_names: Sequence[str] | None = None, ax: Axes | None = None
    ) -> ClassBalanceDisplay:
        """Draw what a fitted selector, or `CoresetClassifier`, keeps.

        Parameters
        ----------
        estimator : fitted selector or CoresetClassifier
        y : (n_samples,) integers
            Labels.
        class_names : sequence of str, optional
        ax : matplotlib Axes, optional
            A new figure's where left out.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            `y` does not fit.
        """
        check_is_fitted(estimator)
        selector = selector_of(estimator)
        y = check_labels(y, len(selector.support_), None)
        return cls.from_indices(y, selector.sample_indices_, class_names=class_names, ax=ax)

    @classmethod
    def from_indices(
        cls, y: Any, indices: Any, *, class_names: Sequence[str] | None = None, ax: Axes | None = None
    ) -> ClassBalanceDisplay:
        """Draw the classes of the samples at `indices`.

        Parameters
        ----------
        y : (n_samples,) integers
            Labels.
        indices : (n_kept,) integers
        class_names : sequence of str, optional
        ax : matplotlib Axes, optional

        Raises
        ------
        ValueError
            `y` are no labels, there are no indices, or one is out of range.
        """
        y, indices = check_labels(y, len(y), None), np.asarray(indices)
        if indices.dtype.kind not in "iub" or not indices.size or not 0 <= indices.min() <= indices.max() < len(y):
            raise ValueError(f"indices must be one or more integers from 0 to {len(y) - 1}.")
        kept, full = class_counts(y, indices)
        return cls(kept, full, class_names=class_names).plot(ax)

    def plot(self, ax: Axes | None = None) -> ClassBalanceDisplay:
        """Draw on `ax`, or on a new figure.

        Parameters
        ----------
        ax : matplotlib Axes, optional

        Returns
        -------
        self
        """
        present = np.flatnonzero(self.full)
        full, kept = self.full / self.full.sum(), self.kept / self.kept.sum()
        order = present[np.argsort(kept[present] / full[present], kind="stable")]
        half = self.max_classes // 2
        n_between = max(0, len(order) - self.max_classes)
        self.classes_ = np.r_[order[:half], order[half + n_between :]]
        rows = np.arange(len(self.classes_))
        ax = new_axes(ax, (5.5, 1.2 + 0.22 * len(rows)))
        self.ax_, self.figure_ = ax, ax.figure
        full, kept = full[self.classes_], kept[self.classes_]
        ax.hlines(rows, full, kept, color=grey(), linewidth=2)
        (self.full_,) = ax.plot(full, rows, "o", color=ink(), markerfacecolor=ax.get_facecolor(), label="of all data")
        (self.kept_,) = ax.plot(kept, rows, "o", color=BLUE, label="of the coreset")
        names = [str(c) if self.class_names is None else str(self.class_names[c]) for c in self.classes_]
        if n_between:
            ax.axhline(half - 0.5, color=grey(), linestyle=":", linewidth=1)
            ax.annotate(
                f"{n_between} classes between", (1, half - 0.5), xycoords=("axes fraction", "data"),
                ha="right", va="bottom", fontsize="small", color=ink(),
            )  # fmt: skip
        ax.set_yticks(rows, names, fontsize="small" if len(rows) > 12 else None)
        ax.set(xlabel="share of the samples", ylim=(-0.8, len(rows) - 0.2))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g}%"))
        legend_above(ax)
        return self


class OverlapDisplay:
    """What share of a coreset others share with it, as a heat map.

    Parameters
    ----------
    overlaps : (n_rows, n_columns) float array
        In [0, 1]; nan is left blank.
    rows, columns : sequences
        Names of the rows, from the top, and of the columns.
    row_label, column_label, title : str

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    image_ : matplotlib AxesImage
    texts_ : list of matplotlib Text
        The numbers in the cells.

    Examples
    --------
    >>> import numpy as np
    >>> from tdds.plotting import OverlapDisplay
    >>> prob_trajectory = np.random.default_rng(0).dirichlet(np.ones(10), size=(200, 12))
    >>> display = OverlapDisplay.from_trajectory(prob_trajectory, T=[6, 12], K=[3, 5, 10], pruning_rate=0.9)
    >>> display.overlaps.shape
    (2, 3)
    """

    def __init__(
        self,
        overlaps: Any,
        rows: Sequence[Any],
        columns: Sequence[Any],
        *,
        row_label: str = "",
        column_label: str = "",
        title: str = "",
    ) -> None:
        self.overlaps = np.asarray(overlaps)
        self.rows = rows
        self.columns = columns
        self.row_label = row_label
        self.column_label = column_label
        self.title = title

    @classmethod
    def from_trajectory(
        cls,
        source: Any,
        *,
        y: Any = None,
        T: Sequence[int] | None = None,
        K: Sequence[int] | None = None,
        score: TDDS | None = None,
        pruning_rate: float = 0.5,
        axes: str | None = None,
        kind: str | None = None,
        missing: str = "error",
        ax: Axes | None = None,
    ) -> OverlapDisplay:
        """Draw how much of the coreset of `score` remains at each T and K; all are scored in one reading.

        Parameters
        ----------
        source : array, path, iterable of epochs or Trajectory
            Anything that `open_trajectory` opens.
        y : (n_samples,) integers, optional
            Labels, where `score` needs them.
        T, K : sequences of int, optional
            Values spread over the epochs where left out.
        score : TDDS, optional
            What the others are compared with; ``TDDS()`` where left out, of a trajectory of under 10 epochs with all of
            them for K.
        pruning_rate : float in [0, 1), default 0.5
            Share of the samples that is removed.
        axes, kind, missing : str, optional
            As for `open_trajectory`.
        ax : matplotlib Axes, optional
            A new figure's where left out.

        Raises
        ------
        TrajectoryError, ValueError, TypeError, FileNotFoundError
            As for `score_trajectory`.
        """
        trajectory = open_trajectory(source, axes=axes, kind=kind, missing=missing, labels=y)
        score = score or TDDS(K=default_K(trajectory.n_epochs))
        n_epochs = score.check(trajectory.n_epochs)
        some_T, some_K = default_grid(trajectory.n_epochs or n_epochs or 0)
        T, K = some_T if T is None else T, some_K if K is None else K
        return cls(
            overlap_grid(trajectory, score, T, K, pruning_rate),
            T,
            K,
            row_label="T",
            column_label="K",
            title=f"shared with T={n_epochs}, K={score.K}, {pruning_rate:.0%} removed",
        ).plot(ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        source: Any,
        *,
        y: Any = None,
        T: Sequence[int] | None = None,
        K: Sequence[int] | None = None,
        ax: Axes | None = None,
    ) -> OverlapDisplay:
        """Draw how much of the coreset of a `TDDSSelector` remains at each T and K, at its own pruning rate.

        Parameters
        ----------
        estimator : TDDSSelector, or fitted CoresetClassifier
            Its parameters count; a selector need not be fitted.
        source : array, path, iterable of epochs or Trajectory
        y : (n_samples,) integers, optional
        T, K : sequences of int, optional
        ax : matplotlib Axes, optional

        Raises
        ------
        TypeError
            The estimator's score has no T and K.
        TrajectoryError, ValueError, FileNotFoundError
            As for `from_trajectory`.
        """
        selector = selector_of(estimator)
        trajectory, score, rate = selector._open(source), tdds_score(selector), selector.pruning_rate
        return cls.from_trajectory(trajectory, y=y, T=T, K=K, score=score, pruning_rate=rate, ax=ax)

    @classmethod
    def from_comparison(cls, comparison: Any, pruning_rate: float, *, ax: Axes | None = None) -> OverlapDisplay:
        """Draw what `tdds.compare_scores` found at one pruning rate: every method against every other.

        Parameters
        ----------
        comparison : Comparison
            With `names` and `overlaps`, a matrix by pruning rate.
        pruning_rate : float
        ax : matplotlib Axes, optional

        Raises
        ------
        ValueError
            The comparison was not made at that rate.
        """
        if pruning_rate not in comparison.overlaps:
            held = ", ".join(str(rate) for rate in comparison.overlaps)
            raise ValueError(f"pruning_rate={pruning_rate} was not compared; expected one of {held}.")
        return cls(
            comparison.overlaps[pruning_rate],
            comparison.names,
            comparison.names,
            title=f"shared coreset, {pruning_rate:.0%} removed",
        ).plot(ax)

    def plot(self, ax: Axes | None = None) -> OverlapDisplay:
        """Draw on `ax`, or on a new figure.

        Parameters
        ----------
        ax : matplotlib Axes, optional

        Returns
        -------
        self
        """
        n_rows, n_columns = self.overlaps.shape
        ax = new_axes(ax, (1.8 + 0.55 * n_columns, 1.6 + 0.45 * n_rows))
        self.ax_, self.figure_ = ax, ax.figure
        self.image_ = ax.imshow(self.overlaps, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        self.texts_ = [
            ax.text(
                j, i, f"{100 * value:.0f}", ha="center", va="center", fontsize="small",
                color="white" if value < 0.47 else "black",
            )
            for (i, j), value in np.ndenumerate(self.overlaps) if np.isfinite(value)
        ]  # fmt: skip
        longest = max(len(str(name)) for name in self.columns)
        ax.set_xticks(range(n_columns), self.columns)
        if longest > 4:
            ax.tick_params(axis="x", labelrotation=90)
        ax.set_yticks(range(n_rows), self.rows)
        ax.set(xlabel=self.column_label, ylabel=self.row_label)
        ax.set_title(self.title, fontsize="small", loc="left")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        self.figure_.colorbar(self.image_, ax=ax, format=PercentFormatter(1), pad=0.03)
        return self


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
