"""
Which classes a coreset prefers
===============================

A score knows nothing of classes, so a coreset has its own mixture of them: more of what the network finds hard to tell
apart, less of what is plain. ``CoresetSelector(sampler="class_balanced")`` keeps the same share of each instead.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from tdds import TDDSSelector
from tdds.plotting import ClassBalanceDisplay

X, y = load_digits(return_X_y=True)
network = MLPClassifier(hidden_layer_sizes=32, learning_rate_init=0.005, random_state=0)
epochs = [network.partial_fit(X / 16, y, classes=range(10)).predict_proba(X / 16) for _ in range(30)]
probs = np.stack(epochs, axis=1)  # samples, epochs, classes

ClassBalanceDisplay.from_estimator(TDDSSelector(K=10, pruning_rate=0.9).fit(probs), y)
