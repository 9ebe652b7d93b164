"""
Methods beside each other
=========================

The share of their coresets that two methods both keep, from one reading. Chance is 10 %. Methods that ask how far a
sample is from its label choose alike, and so do those that ask how much its probability moved; ``aum`` and
``variability`` share no more than chance would. Of two methods that choose alike, one is enough to train on.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from tdds import compare_scores
from tdds.plotting import OverlapDisplay

X, y = load_digits(return_X_y=True)
network = MLPClassifier(hidden_layer_sizes=32, learning_rate_init=0.005, random_state=0)
epochs = [network.partial_fit(X / 16, y, classes=range(10)).predict_proba(X / 16) for _ in range(30)]
probs = np.stack(epochs, axis=1)  # samples, epochs, classes

methods = ["aum", "confidence", "el2n", "loss", "variability", "dyn_unc", "dual", "tdds"]
comparison = compare_scores(probs, y, method=methods, K=10, pruning_rate=0.9)
OverlapDisplay.from_comparison(comparison, 0.9)
