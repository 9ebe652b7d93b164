"""Score a training loop of plain NumPy while it runs; no trajectory is stored anywhere.

Softmax regression by mini-batches: the softmax, its gradient, and one line for the scores.
"""

import numpy as np
from sklearn.datasets import load_digits

from tdds import TDDSSelector


def softmax(logits):
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def main(n_epochs=20, batch_size=32, learning_rate=0.5):
    X, y = load_digits(return_X_y=True)
    X, rng = X / 16, np.random.default_rng(0)
    weights = np.zeros((64, 10))
    selector = TDDSSelector(K=10, pruning_rate=0.9)

    for _ in range(n_epochs):
        probs = np.empty((len(X), 10))  # of this epoch, as each batch was trained
        for batch in np.array_split(rng.permutation(len(X)), len(X) // batch_size):
            probs[batch] = softmax(X[batch] @ weights)
            weights -= learning_rate * X[batch].T @ (probs[batch] - np.eye(10)[y[batch]]) / len(batch)
        selector.partial_fit(probs)

    print(f"accuracy {np.mean((X @ weights).argmax(axis=1) == y):.1%} on {len(X)} digits")
    print("digits    " + " ".join(f"{digit:4}" for digit in range(10)))
    print("kept      " + " ".join(f"{count:4}" for count in np.bincount(y[selector.support_], minlength=10)))
    return selector


if __name__ == "__main__":
    main()
