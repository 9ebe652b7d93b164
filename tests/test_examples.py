"""The examples run, and record what their models predicted."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import tdds

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recorded(path):
    """Samples first, float64; an error where an epoch lacks a sample."""
    trajectory = tdds.open_trajectory(path)
    out = np.empty((trajectory.n_samples, trajectory.n_epochs, trajectory.n_classes))
    with trajectory.reader() as read:
        read(0, trajectory.n_samples, 0, out)
    return out


def test_mlp_classifier(tmp_path, capsys):
    network, selector = example("mlp_classifier").main(tmp_path, n_epochs=10)
    X, y = load_digits(return_X_y=True)
    X, _, y, _ = train_test_split(X / 16, y, test_size=1 / 3, stratify=y, random_state=0)
    again, epochs = MLPClassifier(hidden_layer_sizes=64, learning_rate_init=0.003, random_state=0), []
    for _ in range(10):
        epochs.append(again.partial_fit(X, y, classes=np.arange(10)).predict_proba(X))
    np.testing.assert_array_equal(recorded(tmp_path), np.stack(epochs, axis=1).astype(np.float16))
    np.testing.assert_array_equal(tdds.open_trajectory(tmp_path).labels, y)
    np.testing.assert_array_equal(network.predict_proba(X), epochs[-1])
    assert len(selector.sample_indices_) == 599
    printed = capsys.readouterr().out
    for line in ("all 1198 digits", "599 of them, TDDS", "599 of them, random"):
        assert f"  {line} " in printed


def test_numpy_softmax(monkeypatch, capsys):
    epochs, partial_fit = [], tdds.TDDSSelector.partial_fit

    def collect(self, probs, y=None):
        epochs.append(probs.copy())
        return partial_fit(self, probs, y)

    monkeypatch.setattr(tdds.TDDSSelector, "partial_fit", collect)
    selector = example("numpy_softmax").main(n_epochs=12)
    X, y = load_digits(return_X_y=True)
    trajectory = np.stack(epochs, axis=1)
    np.testing.assert_allclose(trajectory.sum(axis=2), 1, rtol=1e-12)
    assert (trajectory[:, 11].argmax(axis=1) == y).mean() > 0.95
    np.testing.assert_allclose(selector.scores_, tdds.score_trajectory(trajectory, K=10), rtol=1e-9)
    kept = capsys.readouterr().out.splitlines()[-1].split()[1:]
    assert [int(count) for count in kept] == np.bincount(y[selector.support_], minlength=10).tolist()
    assert selector.support_.sum() == len(X) - len(X) * 9 // 10


@pytest.mark.frameworks
def test_jax_loop(tmp_path, monkeypatch):
    pytest.importorskip("jax")
    module = example("jax_loop")
    step, by_hand, calls = module.step, np.full((1797, 11, 10), np.nan), []
    rows = {row.tobytes(): i for i, row in enumerate(load_digits().data.astype(np.float32) / 16)}

    def collect(params, x, y, learning_rate):
        (w1, b1), (w2, b2) = params
        index = [rows[row.tobytes()] for row in x]
        by_hand[index, len(calls) // (1797 // 64)] = np.maximum(x @ w1 + b1, 0) @ w2 + b2
        calls.append(index)
        return step(params, x, y, learning_rate)

    monkeypatch.setattr(module, "step", collect)
    scores = module.main(tmp_path, n_epochs=11)
    np.testing.assert_allclose(recorded(tmp_path), by_hand, rtol=2e-3, atol=2e-3)
    np.testing.assert_array_equal(scores, tdds.score_trajectory(tmp_path, K=10))


@pytest.mark.frameworks
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_keras_fit(tmp_path, backend):
    for needed in ("keras", backend):
        if importlib.util.find_spec(needed) is None:  # importing keras would settle its backend
            pytest.skip(f"{needed} is not installed")
    code = (
        "import sys, numpy, keras_fit, sklearn.datasets as data\n"
        "model = keras_fit.main('run', n_epochs=10)\n"
        "numpy.save('last.npy', model(data.load_digits().data[:1200].astype('float32') / 16).tolist())"
    )
    path = os.pathsep.join([str(EXAMPLES), str(EXAMPLES.parent)])
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": path}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{backend}: test accuracy after 10 epochs")
    probs = recorded(tmp_path / "run")
    assert probs.shape == (1200, 10, 10)
    np.testing.assert_allclose(probs[:, -1], np.load(tmp_path / "last.npy"), rtol=2e-3, atol=1e-6)
