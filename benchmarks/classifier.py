"""What CoresetClassifier costs and keeps, on data that scikit-learn ships.

    python benchmarks/classifier.py

Test accuracy of SGDClassifier(loss="log_loss") trained on all samples, on half of them at random, and on the half that
TDDS keeps under each weighting; means over the same five splits. And the time of `fit` beside that on all samples.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tdds import CoresetClassifier

WEIGHTINGS = ("none", "root", "per_sample")
DATA = {"digits": load_digits, "cancer": load_breast_cancer, "wine": load_wine}


def new_models() -> dict[str, object]:
    plain = SGDClassifier(loss="log_loss")
    coreset = CoresetClassifier(plain, sampler="class_balanced", pruning_rate=0.5)
    at_random = clone(coreset).set_params(method="random")
    return {"all": plain, "random": at_random} | {
        weighting: clone(coreset).set_params(weighting=weighting) for weighting in WEIGHTINGS
    }


def main() -> None:
    warnings.simplefilter("ignore", ConvergenceWarning)  # large weights, large steps
    table = Table("data", *new_models(), "fit", box=None, header_style="dim")
    for name, load in DATA.items():
        X, y = load(return_X_y=True)
        splits = list(StratifiedShuffleSplit(5, test_size=1 / 3, random_state=0).split(X, y))
        accuracies, seconds = {}, {}
        for what, model in new_models().items():
            scores, times = [], []
            for seed, (train, test) in enumerate(splits):
                seeded = make_pipeline(StandardScaler(), clone(model).set_params(random_state=seed))
                began = time.perf_counter()
                seeded.fit(X[train], y[train])
                times.append(time.perf_counter() - began)
                scores.append(seeded.score(X[test], y[test]))
            accuracies[what], seconds[what] = np.mean(scores), np.median(times)
        ratio = seconds["none"] / seconds["all"]
        table.add_row(name, *(f"{accuracy:.1%}" for accuracy in accuracies.values()), f"{ratio:.1f} x")
    Console().print(table)


if __name__ == "__main__":
    main()
