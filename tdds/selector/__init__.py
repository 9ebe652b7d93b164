"""Scikit-learn-style selectors: a trajectory in, a coreset out. Thin composition, no arithmetic."""

from tdds.selector.base import Selector
from tdds.selector.selectors import CoresetSelector, TDDSSelector

__all__ = ["Selector", "CoresetSelector", "TDDSSelector"]
