"""Every check, and every sentence that says what was wrong: what was expected, what came, where, what to do."""

from __future__ import annotations

import numpy as np


class TrajectoryError(ValueError):
    """A trajectory is damaged, incomplete, or not what it was said to be."""
