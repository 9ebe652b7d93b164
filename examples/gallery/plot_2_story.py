"""
Why this sample
===============

One sample on its way to its score. On top is what the network said of it, in the middle how far each epoch moved the
whole distribution, at the bottom how much these changes varied within windows of ten epochs. The moving average follows
the newest window, and its last value is the score.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from tdds import score_trajectory
from tdds.plotting import SampleStoryDisplay
from tdds.scores import TDDS

X, y = load_digits(return_X_y=True)
network = MLPClassifier(hidden_layer_sizes=32, learning_rate_init=0.005, random_state=0)
epochs = [network.partial_fit(X / 16, y, classes=range(10)).predict_proba(X / 16) for _ in range(30)]
probs = np.stack(epochs, axis=1)  # samples, epochs, classes

best = int(score_trajectory(probs, K=10).argmax())
SampleStoryDisplay.from_trajectory(probs, best, y=y, score=TDDS(K=10), class_names=[f"a {c}" for c in range(10)])
