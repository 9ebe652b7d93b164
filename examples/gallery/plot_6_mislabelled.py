"""
Find wrong labels
=================

One label in ten is made wrong. A network learns the others first, so that the margin of a wrong label stays low: the
area under the margin, ``method="aum"``, puts them first. The same samples are what ``CoresetSelector("aum")`` would
keep, as the hardest, so look at them before you prune.
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from tdds import score_trajectory

X, true = load_digits(return_X_y=True)
rng = np.random.default_rng(0)
wrong = rng.choice(len(true), len(true) // 10, replace=False)
y = true.copy()
y[wrong] = (y[wrong] + rng.integers(1, 10, size=len(wrong))) % 10

network = MLPClassifier(hidden_layer_sizes=32, learning_rate_init=0.005, random_state=0)
epochs = [network.partial_fit(X / 16, y, classes=range(10)).predict_proba(X / 16) for _ in range(15)]
suspects = np.argsort(score_trajectory(np.stack(epochs, axis=1), y, method="aum"))

figure, axes = plt.subplots(3, 8, figsize=(8, 4), layout="constrained")
for ax, sample in zip(axes.flat, suspects, strict=False):
    ax.imshow(X[sample].reshape(8, 8), cmap="gray_r")
    ax.set_title(f"labelled {y[sample]}", fontsize="small")
    ax.set_axis_off()

# %%
# Of as many suspects as there are wrong labels, how many are wrong?

print(f"{np.isin(suspects[: len(wrong)], wrong).mean():.0%}")
