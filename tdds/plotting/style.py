"""One palette, on light and on dark grounds, and the axes that everything is drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib import pyplot as plt
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from tdds.scores import TDDS, Score

BLUE, RED = "#4477aa", "#cc6677"
#: Colours of lines, after P. Tol's schemes for the colour-blind, and the marker of each.
LINES = (
    (BLUE, "o"),
    (RED, "s"),
    ("#228833", "D"),
    ("#aa3377", "^"),
    ("#b8860b", "v"),
    ("#3892b0", "P"),
    ("#808080", "X"),
)


def is_dark() -> bool:
    """Whether what is drawn now stands on a dark ground: its text is light."""
    return sum(to_rgb(rcParams["text.color"])) > 1.5


def grey() -> str:
    """The colour of what stays behind: all samples, other classes."""
    return "#666666" if is_dark() else "#bbbbbb"


def ink() -> str:
    """The colour of notes, and of what all is compared with."""
    return "#cccccc" if is_dark() else "#555555"


def new_axes(ax: Axes | None, size: tuple[float, float] = (5.5, 3.8)) -> Axes:
    """`ax`, or the axes of a new figure of `size` in inches; without the lines on top and at the right."""
    if ax is None:
        ax = plt.subplots(figsize=size, layout="constrained")[1]
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def legend_above(ax: Axes, **options: Any) -> None:
    """A legend in one line above the axes, where it hides nothing."""
    ax.legend(
        frameon=False, fontsize="small", ncols=4, handlelength=1.2, columnspacing=1, borderaxespad=0.2,
        loc="lower left", bbox_to_anchor=(0, 1), **options,
    )  # fmt: skip


def selector_of(estimator: Any) -> Any:
    """The selector that a `CoresetClassifier` or a sampler was fitted with; a selector itself."""
    return getattr(estimator, "selector_", estimator)


def check_names(class_names: Sequence[str] | None, n_classes: int) -> None:
    if class_names is not None and len(class_names) < n_classes:
        raise ValueError(f"{len(class_names)} class_names for {n_classes} classes; expected one a class.")


def tdds_score(estimator: Any) -> TDDS:
    """The score of a selector, which has windows to show; raises where it has none."""
    score: Score = estimator._score()
    if not isinstance(score, TDDS):
        raise TypeError(f"{estimator!r} scores by {score.name}, which has no windows to show; expected tdds.")
    return score
