"""
What the samples are worth
==========================

A trajectory is what the model said of every sample after every epoch. Its scores span orders of magnitude: most samples
have hardly moved by the end of training, and a few still do. The tenth that is kept is blue.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from tdds import TDDSSelector
from tdds.plotting import ScoreDisplay

X, y = load_digits(return_X_y=True)
network = MLPClassifier(hidden_layer_sizes=32, learning_rate_init=0.005, random_state=0)
epochs = [network.partial_fit(X / 16, y, classes=range(10)).predict_proba(X / 16) for _ in range(30)]
probs = np.stack(epochs, axis=1)  # samples, epochs, classes

selector = TDDSSelector(T=30, K=10, pruning_rate=0.9).fit(probs)
ScoreDisplay.from_estimator(selector)

# %%
# What share of all scores does that tenth hold?

print(f"{selector.scores_[selector.sample_indices_].sum() / selector.scores_.sum():.0%}")
