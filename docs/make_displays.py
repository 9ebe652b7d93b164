"""Draw docs/images/displays.png, the displays in the README: python docs/make_displays.py

The digits that ship with scikit-learn, recorded as `tdds demo` records them.
"""

import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from tdds import TDDSSelector
from tdds.demo import K, T, record
from tdds.plotting import ClassBalanceDisplay, DataMapDisplay, SampleStoryDisplay, ScoreDisplay
from tdds.scores import TDDS

digits = load_digits()
with tempfile.TemporaryDirectory() as folder:
    run = Path(folder) / "run"
    record(run, digits.data / 16, digits.target)
    selector = TDDSSelector(T, K, pruning_rate=0.9).fit(run)
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    left, right = figure.subfigures(1, 2)
    upper, lower = left.subplots(2, 1)
    ScoreDisplay.from_estimator(selector, ax=upper)
    DataMapDisplay.from_trajectory(run, T=T, K=K, ax=lower)
    upper, lower = right.subplots(2, 1, height_ratios=(1.6, 1))
    sample = int(np.argmax(selector.scores_))
    SampleStoryDisplay.from_trajectory(run, sample, score=TDDS(T, K), class_names=digits.target_names, ax=upper)
    ClassBalanceDisplay.from_estimator(selector, digits.target, ax=lower)
figure.savefig(Path(__file__).parent / "images" / "displays.png", dpi=90)
