"""
A map of the data
=================

Every sample by how sure the network was of its label, on average over the epochs, and by how much that varied. What
was learned at once lies at the top, what took long at the right, what was never learned at the bottom left. The colour
is the score: of this network, what was learned late or never still moves most at the end.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from tdds.plotting import DataMapDisplay

X, y = load_digits(return_X_y=True)
network = MLPClassifier(hidden_layer_sizes=32, learning_rate_init=0.005, random_state=0)
epochs = [network.partial_fit(X / 16, y, classes=range(10)).predict_proba(X / 16) for _ in range(30)]
probs = np.stack(epochs, axis=1)  # samples, epochs, classes

DataMapDisplay.from_trajectory(probs, y, K=10)
