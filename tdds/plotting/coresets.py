"""What a coreset is: its classes, and what it shares with others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, PercentFormatter
from sklearn.utils.validation import check_is_fitted

from tdds.plotting.style import BLUE, check_names, grey, ink, legend_above, new_axes, selector_of, tdds_score
from tdds.samplers import count_kept
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
        cls,
        estimator: Any,
        y: Any,
        *,
        class_names: Sequence[str] | None = None,
        max_classes: int = 30,
        ax: Axes | None = None,
    ) -> ClassBalanceDisplay:
        """Draw what a fitted selector, or `CoresetClassifier`, keeps.

        Parameters
        ----------
        estimator : fitted selector or CoresetClassifier
        y : (n_samples,) integers
            Labels.
        class_names : sequence of str, optional
        max_classes : int, default 30
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
        return cls.from_indices(y, selector.sample_indices_, class_names=class_names, max_classes=max_classes, ax=ax)

    @classmethod
    def from_indices(
        cls,
        y: Any,
        indices: Any,
        *,
        class_names: Sequence[str] | None = None,
        max_classes: int = 30,
        ax: Axes | None = None,
    ) -> ClassBalanceDisplay:
        """Draw the classes of the samples at `indices`.

        Parameters
        ----------
        y : (n_samples,) integers
            Labels.
        indices : (n_kept,) integers
        class_names : sequence of str, optional
        max_classes : int, default 30
        ax : matplotlib Axes, optional

        Raises
        ------
        ValueError
            `y` are no labels, there are no indices, or one is out of range.
        """
        y, indices = check_labels(y, len(y), None), np.asarray(indices)
        if indices.dtype.kind not in "iu" or not indices.size or not 0 <= indices.min() <= indices.max() < len(y):
            raise ValueError(f"indices must be one or more integers from 0 to {len(y) - 1}.")
        kept, full = class_counts(y, indices)
        return cls(kept, full, class_names=class_names, max_classes=max_classes).plot(ax)

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
        if n_epochs is None and (T is None or K is None):
            raise ValueError(f"{trajectory!r} does not know its number of epochs; pass T and K.")
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
        trajectory, score = selector._open(source), tdds_score(selector)
        n_kept = count_kept(trajectory.n_samples, selector.pruning_rate, selector.n_select)
        rate = 1 - n_kept / trajectory.n_samples
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
