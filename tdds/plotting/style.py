"""One palette, and the axes that everything is drawn on."""

from __future__ import annotations

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

BLUE, RED, GREY, DARK = "#4477aa", "#cc6677", "#bbbbbb", "#555555"
#: Colours of lines, after P. Tol's schemes for the colour-blind, and the marker of each.
LINES = ((BLUE, "o"), (RED, "s"), ("#228833", "D"), ("#aa3377", "^"), ("#b8860b", "v"), ("#44a5c2", "P"), (DARK, "X"))


def new_axes(ax: Axes | None, size: tuple[float, float] = (5.5, 3.8)) -> Axes:
    """`ax`, or the axes of a new figure of `size` in inches; without the lines on top and at the right."""
    if ax is None:
        ax = plt.subplots(figsize=size, layout="constrained")[1]
    ax.spines[["top", "right"]].set_visible(False)
    return ax
