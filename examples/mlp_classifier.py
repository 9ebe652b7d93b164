"""Record a scikit-learn network while it trains, then train a new one on half of the data: the half that TDDS keeps.

Whatever has `partial_fit` and `predict_proba` is recorded in the same way.
"""

import tempfile

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from tdds import TDDSSelector, TrajectoryWriter


def train(X, y, n_epochs, writer=None):
    network = MLPClassifier(hidden_layer_sizes=64, learning_rate_init=0.003, random_state=0)
    for _ in range(n_epochs):
        network.partial_fit(X, y, classes=np.arange(10))  # one pass over the data
        if writer is not None:
            writer.write(None, network.predict_proba(X))
            writer.end_epoch()
    return network


def main(path=None, n_epochs=30, pruning_rate=0.5):
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, test_size=1 / 3, stratify=y, random_state=0)
    path = path or tempfile.mkdtemp()
    with TrajectoryWriter(path, n_samples=len(X), n_classes=10, labels=y) as writer:
        network = train(X, y, n_epochs, writer)

    selector = TDDSSelector(K=10, pruning_rate=pruning_rate).fit(path)
    X_kept, y_kept = selector.select(X, y)
    drawn = np.random.default_rng(0).choice(len(X), len(X_kept), replace=False)
    print(f"test accuracy after {n_epochs} epochs; trajectory in {path}")
    print(f"  all {len(X)} digits     {network.score(X_test, y_test):.1%}")
    print(f"  {len(X_kept)} of them, TDDS   {train(X_kept, y_kept, n_epochs).score(X_test, y_test):.1%}")
    print(f"  {len(X_kept)} of them, random {train(X[drawn], y[drawn], n_epochs).score(X_test, y_test):.1%}")
    return network, selector


if __name__ == "__main__":
    main()
