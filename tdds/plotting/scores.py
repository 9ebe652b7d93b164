"""What the samples are worth: the distribution of the scores, and the map of all samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import StrMethodFormatter
from sklearn.utils.validation import check_is_fitted

from tdds.engine import score_trajectory
from tdds.plotting.style import (
    BLUE,
    RED,
    grey,
    ink,
    is_dark,
    legend_above,
    new_axes,
    selector_of,
)
from tdds.samplers import Top, count_kept, draw_coreset
from tdds.summaries import bin_counts, is_heavy_tailed, score_bins
from tdds.validation import check_integer


class ScoreDisplay:
    """The distribution of the scores, and which part of it is kept.

    The axis is logarithmic where the scores are heavy-tailed; its first bar then holds everything below it as well.

    Parameters
    ----------
    scores : (n_samples,) float array
    indices : (n_kept,) int array, optional
        The samples that are kept.
    threshold : float, optional
        The least score kept, or the greatest where the smallest are; what parts the kept from the others.
    name : str, default "score"
        Below the axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    bars_, kept_bars_ : matplotlib BarContainer
        All samples, and those kept; None without `indices`.
    line_ : matplotlib Line2D
        The threshold; None without one.

    Examples
    --------
    >>> import numpy as np
    >>> from tdds.plotting import ScoreDisplay
    >>> scores = np.random.default_rng(0).lognormal(sigma=3, size=1000)
    >>> display = ScoreDisplay.from_scores(scores, pruning_rate=0.9)
    >>> display.ax_.get_xscale(), int(sum(bar.get_height() for bar in display.kept_bars_))
    ('log', 100)
    """

    def __init__(
        self, scores: Any, *, indices: Any = None, threshold: float | None = None, name: str = "score"
    ) -> None:
        self.scores = np.asarray(scores, dtype=np.float64)
        if not np.isfinite(self.scores).all():
            sample = int(np.argmin(np.isfinite(self.scores)))
            raise ValueError(f"The score of sample {sample} is {self.scores[sample]}; expected finite numbers.")
        self.indices = indices
        self.threshold = threshold
        self.name = name

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Axes | None = None) -> ScoreDisplay:
        """Draw the scores and the choice of a fitted selector, or `CoresetClassifier`.

        The threshold is drawn where there is one: for the sampler "top", but of "moderate".

        Parameters
        ----------
        estimator : fitted selector or CoresetClassifier
        ax : matplotlib Axes, optional
            A new figure's where left out.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        check_is_fitted(estimator)
        selector = selector_of(estimator)
        score = selector._score()
        parts = isinstance(selector._sampler(), Top) and score.keeps != "median"
        threshold = selector.threshold_ if parts else None
        name = f"{score.name} score"
        return cls(selector.scores_, indices=selector.sample_indices_, threshold=threshold, name=name).plot(ax)

    @classmethod
    def from_scores(
        cls,
        scores: Any,
        *,
        pruning_rate: float | None = None,
        keeps: str = "largest",
        y: Any = None,
        name: str = "score",
        ax: Axes | None = None,
    ) -> ScoreDisplay:
        """Draw scores, and what the sampler "top" keeps of them.

        Parameters
        ----------
        scores : (n_samples,) float array
        pruning_rate : float in [0, 1), optional
            Share of the samples that is removed; no choice is shown where left out.
        keeps : {"largest", "smallest", "median"}, default "largest"
            Which of the scores are kept.
        y : (n_samples,) integers, optional
            Labels; needed where those nearest the median of their class are kept.
        name : str, default "score"
        ax : matplotlib Axes, optional

        Raises
        ------
        TypeError, ValueError
            `pruning_rate` is out of range, `y` does not fit, or a score is not finite.
        """
        display = cls(scores, name=name)
        if pruning_rate is not None:
            n_kept = count_kept(len(display.scores), pruning_rate)
            coreset = draw_coreset(display.scores, keeps, Top(), n_kept, labels=y)
            display.indices, display.threshold = coreset.indices, None if keeps == "median" else coreset.threshold
        return display.plot(ax)

    def plot(self, ax: Axes | None = None) -> ScoreDisplay:
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
        edges = score_bins(self.scores)
        style: dict[str, Any] = {"width": np.diff(edges), "align": "edge", "linewidth": 0}
        label = f"all {len(self.scores):,}"
        self.bars_ = ax.bar(edges[:-1], bin_counts(self.scores, edges), color=grey(), label=label, **style)
        self.kept_bars_ = self.line_ = None
        if self.indices is not None:
            kept = bin_counts(self.scores[self.indices], edges)
            self.kept_bars_ = ax.bar(edges[:-1], kept, color=BLUE, label=f"kept {len(self.indices):,}", **style)
        if self.threshold is not None:
            label = f"threshold {self.threshold:.3g}"
            self.line_ = ax.axvline(self.threshold, color=RED, linestyle="--", linewidth=1.2, label=label)
        if is_heavy_tailed(self.scores):
            ax.set_xscale("log")
        ax.set(xlabel=self.name, ylabel="samples")
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        ax.margins(x=0.01)
        legend_above(ax)
        return self


class DataMapDisplay:
    """Every sample by how sure the model was of its label and how much that varied, coloured by its score.

    Easy samples lie at the top left, ambiguous ones at the right, hard or mislabelled ones at the bottom left
    (S. Swayamdipta et al., "Dataset Cartography", EMNLP 2020).

    Parameters
    ----------
    confidence, variability, scores : (n_samples,) float arrays
    name : str, default "score"
        At the colour bar.
    n_shown : int, default 5000
        At most so many samples, drawn at random with a fixed seed, are shown.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    points_ : matplotlib PathCollection
    shown_ : (n_shown,) int array
        The samples that are shown, the highest scores last, so on top.

    Examples
    --------
    >>> import numpy as np
    >>> from tdds.plotting import DataMapDisplay
    >>> rng = np.random.default_rng(0)
    >>> prob_trajectory = rng.dirichlet(np.ones(10), size=(200, 30))
    >>> display = DataMapDisplay.from_trajectory(prob_trajectory, rng.integers(10, size=200))
    >>> display.points_.get_offsets().shape
    (200, 2)
    """

    def __init__(
        self, confidence: Any, variability: Any, scores: Any, *, name: str = "score", n_shown: int = 5000
    ) -> None:
        self.confidence = np.asarray(confidence)
        self.variability = np.asarray(variability)
        self.scores = np.asarray(scores)
        shapes = [values.shape for values in (self.confidence, self.variability, self.scores)]
        if len(set(shapes)) > 1 or self.scores.ndim != 1:
            raise ValueError(f"confidence, variability and scores have shapes {shapes}; expected (n_samples,) for all.")
        self.name = name
        self.n_shown = check_integer("n_shown", n_shown, 1)

    @classmethod
    def from_trajectory(
        cls,
        source: Any,
        y: Any = None,
        *,
        method: str = "tdds",
        n_shown: int = 5000,
        ax: Axes | None = None,
        **parameters: Any,
    ) -> DataMapDisplay:
        """Score a trajectory, in one reading, and draw its map.

        Parameters
        ----------
        source : array, path, iterable of epochs or Trajectory
            Anything that `open_trajectory` opens.
        y : (n_samples,) integers, optional
            Labels; left out, the source's own.
        method : str, default "tdds"
            What colours the samples.
        n_shown : int, default 5000
        ax : matplotlib Axes, optional
        **parameters
            Of `score_trajectory`, one value each.

        Raises
        ------
        TrajectoryError, ValueError, TypeError, FileNotFoundError
            As for `score_trajectory`.
        """
        scores = score_trajectory(source, y, method=["confidence", "variability", method], **parameters)
        if unknown := {"confidence", "variability", method} - scores.keys():
            raise ValueError(
                f"A map shows one score: {', '.join(scores)} have no {min(unknown)}; pass one value a parameter."
            )
        return cls.from_scores(
            scores["confidence"],
            scores["variability"],
            scores[method],
            name=f"{method} score",
            n_shown=n_shown,
            ax=ax,
        )

    @classmethod
    def from_scores(
        cls,
        confidence: Any,
        variability: Any,
        scores: Any,
        *,
        name: str = "score",
        n_shown: int = 5000,
        ax: Axes | None = None,
    ) -> DataMapDisplay:
        """Draw the map of scores that are there already.

        Parameters
        ----------
        confidence, variability, scores : (n_samples,) float arrays
        name : str, default "score"
        n_shown : int, default 5000
        ax : matplotlib Axes, optional
        """
        return cls(confidence, variability, scores, name=name, n_shown=n_shown).plot(ax)

    @classmethod
    def from_estimator(
        cls, estimator: Any, source: Any, y: Any = None, *, n_shown: int = 5000, ax: Axes | None = None
    ) -> DataMapDisplay:
        """Draw the map of a trajectory, coloured by the scores of a selector that was fitted to it.

        Parameters
        ----------
        estimator : fitted selector or CoresetClassifier
        source : array, path or Trajectory
            What it was fitted to.
        y : (n_samples,) integers, optional
            Labels; left out, the source's own.
        n_shown : int, default 5000
        ax : matplotlib Axes, optional

        Raises
        ------
        NotFittedError
            Before `fit`.
        TrajectoryError, ValueError, TypeError, FileNotFoundError
            As for `score_trajectory`, or the trajectory is of another number of samples.
        """
        check_is_fitted(estimator)
        selector = selector_of(estimator)
        trajectory = selector._open(source)
        if trajectory.n_samples != len(selector.scores_):
            raise ValueError(
                f"The trajectory holds {trajectory.n_samples} samples, the estimator was fitted to "
                f"{len(selector.scores_)}; pass the one that it was fitted to."
            )
        spread = score_trajectory(trajectory, y, method=["confidence", "variability"], T=selector.T)
        name = f"{selector._score().name} score"
        return cls.from_scores(**spread, scores=selector.scores_, name=name, n_shown=n_shown, ax=ax)

    def plot(self, ax: Axes | None = None) -> DataMapDisplay:
        """Draw on `ax`, or on a new figure.

        Parameters
        ----------
        ax : matplotlib Axes, optional

        Returns
        -------
        self
        """
        ax = new_axes(ax, (5.5, 4.2))
        self.ax_, self.figure_ = ax, ax.figure
        drawn = np.random.default_rng(0).permutation(len(self.scores))[: self.n_shown]
        self.shown_ = drawn[np.argsort(self.scores[drawn], kind="stable")]
        norm = Normalize()
        if is_heavy_tailed(self.scores):
            edges = score_bins(self.scores)
            norm = LogNorm(edges[0], edges[-1], clip=True)
        self.points_ = ax.scatter(
            self.variability[self.shown_],
            self.confidence[self.shown_],
            c=self.scores[self.shown_],
            cmap="cividis" if is_dark() else "cividis_r",  # the highest stand out from the ground
            norm=norm,
            s=float(np.clip(2e4 / len(self.shown_), 4, 20)),
            linewidths=0,
            rasterized=True,
        )
        self.figure_.colorbar(self.points_, ax=ax, label=self.name, pad=0.02)
        ax.set(xlabel="variability of the label's probability", ylabel="its mean (confidence)", ylim=(-0.02, 1.02))
        if len(self.shown_) < len(self.scores):
            note = f"{len(self.shown_):,} of {len(self.scores):,} samples"
            ax.set_title(note, fontsize="small", color=ink(), loc="right")
        return self
