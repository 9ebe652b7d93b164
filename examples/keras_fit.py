"""Record `model.fit` of Keras with one callback, then train a new network on the 30 % that TDDS keeps.

On any backend: pip install 'tdds-coreset[keras]' jax; KERAS_BACKEND=jax python examples/keras_fit.py
"""

import tempfile

import keras
import numpy as np
from sklearn.datasets import load_digits

from tdds import TDDSSelector
from tdds.callbacks.keras import RecordTrajectory


def train(x, y, n_epochs, *callbacks):
    keras.utils.set_random_seed(0)
    layers = keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10, activation="softmax")
    model = keras.Sequential([keras.layers.Input((64,)), *layers])
    model.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=n_epochs, verbose=0, callbacks=list(callbacks))
    return model


def main(path=None, n_epochs=20, pruning_rate=0.7):
    X, y = load_digits(return_X_y=True)
    X, path = X.astype("float32") / 16, path or tempfile.mkdtemp()
    x, x_test, y, y_test = X[:1200], X[1200:], y[:1200], y[1200:]
    model = train(x, y, n_epochs, RecordTrajectory(path, x, n_samples=len(x), n_classes=10, batch_size=256))

    x_kept, y_kept = TDDSSelector(K=10, pruning_rate=pruning_rate).fit(path).select(x, y)
    drawn = np.random.default_rng(0).choice(len(x), len(x_kept), replace=False)
    print(f"{keras.config.backend()}: test accuracy after {n_epochs} epochs; trajectory in {path}")
    for what, network in (
        (f"all {len(x)} digits", model),
        (f"{len(x_kept)} of them, TDDS", train(x_kept, y_kept, n_epochs)),
        (f"{len(x_kept)} of them, random", train(x[drawn], y[drawn], n_epochs)),
    ):
        print(f"  {what:20} {network.evaluate(x_test, y_test, verbose=0)[1]:.1%}")
    return model


if __name__ == "__main__":
    main()
