"""Record a training loop of JAX: the logits that the loss was computed from come back beside the gradient.

pip install tdds-coreset jax; python examples/jax_loop.py
"""

import tempfile

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

from tdds import TrajectoryWriter, score_trajectory


def loss_and_logits(params, x, y):
    (w1, b1), (w2, b2) = params
    logits = jax.nn.relu(x @ w1 + b1) @ w2 + b2
    return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(y)), y]), logits


@jax.jit
def step(params, x, y, learning_rate):
    (_, logits), gradients = jax.value_and_grad(loss_and_logits, has_aux=True)(params, x, y)
    return jax.tree.map(lambda p, g: p - learning_rate * g, params, gradients), logits


def main(path=None, n_epochs=20, batch_size=64, learning_rate=0.3):
    X, y = load_digits(return_X_y=True)
    X, path, rng = X.astype(np.float32) / 16, path or tempfile.mkdtemp(), np.random.default_rng(0)
    params = [  # of two layers
        (rng.normal(0, np.sqrt(2 / 64), (64, 64)).astype(np.float32), np.zeros(64, np.float32)),
        (rng.normal(0, np.sqrt(2 / 64), (64, 10)).astype(np.float32), np.zeros(10, np.float32)),
    ]

    with TrajectoryWriter(path, n_samples=len(X), n_classes=10, kind="logits", labels=y) as writer:
        for _ in range(n_epochs):
            for batch in np.array_split(rng.permutation(len(X)), len(X) // batch_size):
                params, logits = step(params, X[batch], y[batch], learning_rate)
                writer.write(batch, logits)
            writer.end_epoch()

    scores = score_trajectory(path, K=10)
    print(f"{n_epochs} epochs of {len(X)} digits in {path}")
    print(f"the five that matter most: {np.argsort(-scores)[:5]}, the five that matter least: {np.argsort(scores)[:5]}")
    return scores


if __name__ == "__main__":
    main()
