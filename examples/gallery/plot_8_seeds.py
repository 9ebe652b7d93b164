"""
Combine seeds
=============

The same training with another seed keeps another coreset. The mean of the scores over several runs is steadier: two
means of three seeds each share more than two single runs do. At the command line, ``tdds combine seed0.h5 seed1.h5
seed2.h5 -o mean.h5`` makes such a mean.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from tdds import TDDSSelector
from tdds.plotting import OverlapDisplay
from tdds.samplers import top

X, y = load_digits(return_X_y=True)
selector, scores = TDDSSelector(K=10), []
for seed in range(6):
    network = MLPClassifier(hidden_layer_sizes=32, learning_rate_init=0.005, random_state=seed)
    epochs = [network.partial_fit(X / 16, y, classes=range(10)).predict_proba(X / 16) for _ in range(20)]
    scores.append(selector.fit(np.stack(epochs, axis=1)).scores_)

names = [f"seed {seed}" for seed in range(6)] + ["mean of 0 to 2", "mean of 3 to 5"]
coresets = [top(values, len(y) // 10) for values in [*scores, np.mean(scores[:3], axis=0), np.mean(scores[3:], axis=0)]]
shared = [[np.isin(a, b).mean() for b in coresets] for a in coresets]
OverlapDisplay(shared, names, names, title="shared coreset, 90% removed").plot()
