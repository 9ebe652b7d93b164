"""Score how every training sample's predictions moved, keep the samples that matter, train on less data."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tdds._version import __version__

if TYPE_CHECKING:
    from tdds.classifier import CoresetClassifier
    from tdds.comparison import compare_scores
    from tdds.engine import score_trajectory
    from tdds.selector import CoresetSelector, TDDSSelector
    from tdds.sources import open_trajectory
    from tdds.store import TrajectoryWriter
    from tdds.validation import TrajectoryError

_HOME = {
    "TDDSSelector": "selector",
    "CoresetSelector": "selector",
    "CoresetClassifier": "classifier",
    "score_trajectory": "engine",
    "compare_scores": "comparison",
    "open_trajectory": "sources",
    "TrajectoryWriter": "store",
    "TrajectoryError": "validation",
}

__all__ = [
    "TDDSSelector",
    "CoresetSelector",
    "CoresetClassifier",
    "score_trajectory",
    "compare_scores",
    "open_trajectory",
    "TrajectoryWriter",
    "TrajectoryError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tdds' has no attribute {name!r}")
    return getattr(import_module(f"tdds.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
