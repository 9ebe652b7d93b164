"""One sample on its way to its score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from tdds.plotting.style import (
    BLUE,
    RED,
    check_names,
    grey,
    legend_above,
    new_axes,
    selector_of,
    tdds_score,
)
from tdds.scores import TDDS, default_K
from tdds.sources import open_trajectory
from tdds.summaries import Story, tell_story


class SampleStoryDisplay:
    """One sample on its way to its score: what the model said, how that changed, how much the change varied.

    Parameters
    ----------
    story : tdds.summaries.Story
    sample : int
        For the title.
    class_names : sequence of str, optional

    Attributes
    ----------
    axes_ : (3,) array of matplotlib Axes
        Probabilities; differences; windowed variances and their moving average.
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from tdds.plotting import SampleStoryDisplay
    >>> prob_trajectory = np.random.default_rng(0).dirichlet(np.ones(10), size=(200, 30))
    >>> SampleStoryDisplay.from_trajectory(prob_trajectory, 17).axes_.shape
    (3,)
    """

    def __init__(self, story: Story, *, sample: int, class_names: Sequence[str] | None = None) -> None:
        if story.values.ndim == 2:
            check_names(class_names, story.values.shape[1])
        self.story = story
        self.sample = sample
        self.class_names = class_names

    @classmethod
    def from_trajectory(
        cls,
        source: Any,
        sample: int,
        *,
        y: Any = None,
        score: TDDS | None = None,
        axes: str | None = None,
        kind: str | None = None,
        missing: str = "error",
        class_names: Sequence[str] | None = None,
        ax: Axes | None = None,
    ) -> SampleStoryDisplay:
        """Draw the story of one sample; nothing is read but what the trajectory says of it.

        Parameters
        ----------
        source : array, path or Trajectory
            Anything that `open_trajectory` opens but a stream.
        sample : int
            From 0, in the original order.
        y : (n_samples,) integers, optional
            Labels; left out, the source's own.
        score : TDDS, optional
            The score with its parameters, such as ``TDDS(T=30, K=5)``; ``TDDS()`` where left out, of a trajectory of
            under 10 epochs with all of them for K.
        axes, kind, missing : str, optional
            As for `open_trajectory`.
        class_names : sequence of str, optional
        ax : matplotlib Axes, optional
            Its place is split into three; a new figure where left out.

        Raises
        ------
        ValueError, TrajectoryError
            There is no such sample, the trajectory is a stream, or the score does not fit it.
        """
        trajectory = open_trajectory(source, axes=axes, kind=kind, missing=missing, labels=y)
        story = tell_story(trajectory, sample, score or TDDS(K=default_K(trajectory.n_epochs)))
        return cls(story, sample=sample, class_names=class_names).plot(ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        source: Any,
        sample: int,
        *,
        y: Any = None,
        class_names: Sequence[str] | None = None,
        ax: Axes | None = None,
    ) -> SampleStoryDisplay:
        """Draw the story of one sample on its way to the score of a `TDDSSelector`.

        Parameters
        ----------
        estimator : TDDSSelector, or fitted CoresetClassifier
            Its parameters count; a selector need not be fitted.
        source, sample, y, class_names, ax
            As for `from_trajectory`.

        Raises
        ------
        TypeError
            The estimator's score has no windows.
        ValueError, TrajectoryError
            As for `from_trajectory`.
        """
        selector = selector_of(estimator)
        trajectory, score = selector._open(source), tdds_score(selector)
        return cls.from_trajectory(trajectory, sample, y=y, score=score, class_names=class_names, ax=ax)

    def plot(self, ax: Axes | None = None) -> SampleStoryDisplay:
        """Draw in the place of `ax`, or on a new figure.

        Parameters
        ----------
        ax : matplotlib Axes, optional

        Returns
        -------
        self
        """
        ax = new_axes(ax, (5.5, 6))
        ax.set_axis_off()
        self.figure_ = ax.figure
        place = ax.get_subplotspec()
        if place is None:
            raise ValueError("ax must be one of a figure's subplots: its place is split into three.")
        rows = place.subgridspec(3, 1, height_ratios=(1.3, 1, 1))
        first = self.figure_.add_subplot(rows[0])
        others = [self.figure_.add_subplot(row, sharex=first) for row in (rows[1], rows[2])]
        self.axes_ = np.array([new_axes(one) for one in (first, *others)])
        self._plot_values(self.axes_[0])
        self._plot_diffs(self.axes_[1])
        self._plot_windows(self.axes_[2])
        for one in self.axes_[:2]:
            one.tick_params(labelbottom=False)
        self.axes_[2].set_xlabel("epoch")
        self.axes_[2].xaxis.set_major_locator(MaxNLocator(integer=True))
        return self

    def _plot_values(self, ax: Axes) -> None:
        values, label = self.story.values, self.story.label
        n_epochs = len(values)
        epochs = np.arange(1, n_epochs + 1)
        title = f"Sample {self.sample}"
        if values.ndim == 1:
            ax.plot(epochs, values, color=BLUE, marker="o", markersize=3)
            ax.set_ylabel("loss")
        else:
            order = np.argsort(-values.mean(axis=0), kind="stable")
            order = order if label is None else np.array([label, *order[order != label]])
            for rank, c in reversed(list(enumerate(order[:12]))):  # beyond, all are near 0
                style: dict[str, Any] = {"color": grey(), "linewidth": 1}
                if rank < 2:
                    style = {"color": (BLUE, RED)[rank], "linewidth": 2 - 0.5 * rank, "label": self._name(c)}
                    style |= {"marker": "os"[rank], "markersize": 3}
                ax.plot(epochs, values[:, c], **style)
            ax.set(ylabel="probability", ylim=(-0.02, 1.02))
            handles = ax.get_legend_handles_labels()[0][::-1]  # drawn last, so on top
            legend_above(ax, handles=handles)
            title += "" if label is None else f", {self._name(label)}"
        ax.set_title(f"{title}: score {self.story.averages[-1]:.3g}", fontsize="medium", loc="left", pad=22)

    def _plot_diffs(self, ax: Axes) -> None:
        diffs, n_epochs = self.story.diffs, len(self.story.values)
        self.diff_bars_ = ax.bar(np.arange(n_epochs - len(diffs), n_epochs) + 1, diffs, color=BLUE)
        ax.set_ylabel("change")

    def _plot_windows(self, ax: Axes) -> None:
        n_epochs, n_windows = len(self.story.values), len(self.story.variances)
        ends = np.arange(n_epochs - n_windows, n_epochs) + 1
        self.window_bars_ = ax.bar(ends, self.story.variances, color=grey(), label="of a window")
        (self.average_,) = ax.plot(
            ends, self.story.averages, color=RED, marker="o", markersize=3, label="moving average"
        )
        ax.set_ylabel("variance")
        legend_above(ax)

    def _name(self, c: int) -> str:
        return f"class {c}" if self.class_names is None else str(self.class_names[c])
