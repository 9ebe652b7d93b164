"""Draw docs/images/pipeline.svg, the picture in the README: python docs/make_pipeline.py

One digit's trajectory, recorded as `tdds demo` records it, on its way to a score.
"""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from tdds import TDDSSelector
from tdds.demo import new_model
from tdds.scores import TDDS, KLDifferences

matplotlib.rcParams["svg.hashsalt"] = "tdds"
T, K = 30, 10
BLUE, RED, GREY = "#4477aa", "#cc6677", "#bbbbbb"

digits = load_digits()
model = new_model(seed=0)
epochs = []
for _ in range(T):
    model.partial_fit(digits.data / 16, digits.target, classes=np.arange(10))
    epochs.append(model.predict_proba(digits.data / 16))
probs = np.stack(epochs, axis=1)
selector = TDDSSelector(T, K, pruning_rate=0.9).fit(probs)

sample = int(np.argsort(-selector.scores_)[12])
diffs = KLDifferences()(probs[sample : sample + 1].copy(), None)
variances = TDDS(T, K).windows(diffs)
averages = [TDDS(T, K).reduce(variances[:, : w + 1])[0] for w in range(variances.shape[1])]
variances = variances[0]

figure = Figure(figsize=(11, 2.5), layout="constrained")
panels = figure.subplots(1, 5, width_ratios=(0.7, 1, 1, 1, 1))
panels[0].imshow(digits.images[sample], cmap="gray_r")
panels[0].set_title("one sample", fontsize=10)
panels[0].axis("off")

for c in range(10):
    own = c == digits.target[sample]
    panels[1].plot(np.arange(1, T + 1), probs[sample, :, c], color=BLUE if own else GREY, linewidth=2 if own else 1)
panels[1].set(title="its probabilities", ylim=(0, 1))

panels[2].bar(np.arange(2, T + 1), np.abs(diffs[0]), color=BLUE)
panels[2].set(title="change, Eq. 10", yscale="log")

panels[3].bar(np.arange(K, T + 1), variances, color=GREY, label="windows, Eq. 11")
panels[3].plot(np.arange(K, T + 1), averages, color=RED, linewidth=2, label="average, Eq. 12")
panels[3].plot(T, averages[-1], "o", color=RED)
panels[3].set(title="windowed variance, average", yscale="log")

scores = selector.scores_
bins = np.geomspace(scores[scores > 0].min(), scores.max(), 40)
panels[4].hist(scores, bins=bins, color=GREY)
panels[4].hist(scores[selector.support_], bins=bins, color=RED)
panels[4].set(xscale="log", title="all scores; the kept tenth", xlabel="score")

for panel in panels[1:4]:
    panel.set_xlabel("epoch")
for panel in panels[1:]:
    panel.title.set_fontsize(10)
    panel.yaxis.set_visible(False)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.tick_params(labelsize=8)
path = Path(__file__).parent / "images" / "pipeline.svg"
figure.savefig(path, metadata={"Date": None})
