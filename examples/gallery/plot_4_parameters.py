"""
T decides
=========

How much of the coreset of T = 30, K = 10 remains when T and K are others. The last window of the T epochs carries 90 %
of the score: where it lies elsewhere, at T = 15 and below, next to nothing remains. A narrower window in the same place
changes less. So choose T first. All of these settings are scored in one reading of the trajectory.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from tdds.plotting import OverlapDisplay
from tdds.scores import TDDS

X, y = load_digits(return_X_y=True)
network = MLPClassifier(hidden_layer_sizes=32, learning_rate_init=0.005, random_state=0)
epochs = [network.partial_fit(X / 16, y, classes=range(10)).predict_proba(X / 16) for _ in range(30)]
probs = np.stack(epochs, axis=1)  # samples, epochs, classes

OverlapDisplay.from_trajectory(probs, T=[10, 15, 20, 25, 30], K=[5, 8, 10], score=TDDS(T=30, K=10), pruning_rate=0.9)
