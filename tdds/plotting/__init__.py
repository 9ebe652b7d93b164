"""Pictures of scores and coresets, in scikit-learn's Display convention: `from_...` draws, `plot` draws again.

Every display keeps what it drew: `ax_` (a story has three, `axes_`), `figure_` and its artists. The palette is safe for
the colour-blind, and nothing is told by colour alone.
"""

try:
    import matplotlib  # noqa: F401
except ImportError:
    raise ImportError("tdds.plotting needs matplotlib: pip install 'tdds-coreset[plot]'") from None

from tdds.plotting.accuracy import AccuracyDisplay
from tdds.plotting.coresets import ClassBalanceDisplay, OverlapDisplay
from tdds.plotting.scores import DataMapDisplay, ScoreDisplay
from tdds.plotting.story import SampleStoryDisplay

__all__ = [
    "ScoreDisplay",
    "SampleStoryDisplay",
    "DataMapDisplay",
    "ClassBalanceDisplay",
    "OverlapDisplay",
    "AccuracyDisplay",
]
