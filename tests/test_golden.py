"""What the authors' script computes, and a real run."""

import equations
import numpy as np
import pytest

import tdds


@pytest.mark.parametrize("case", range(6))
def test_golden(case, shared):
    path = shared(f"golden/case{case}.npz")
    with np.load(path) as golden:
        options = {"K": int(golden["K"]), "beta": float(golden["beta"])}
        probs = equations.softmax(equations.arrange(golden["logits"], golden["index"]))
        expected = {name: golden[f"{name}_scores"] for name in ("paper", "reference")}
        mask, sorted_scores = golden["official_mask"], golden["official_sorted_score"]
    scores = {name: tdds.score_trajectory(path, formulation=name, **options) for name in expected}
    for name in expected:
        np.testing.assert_allclose(scores[name], expected[name], rtol=1e-9)
        np.testing.assert_allclose(tdds.score_trajectory(probs, formulation=name, **options), expected[name], rtol=1e-9)
    np.testing.assert_array_equal(np.argsort(scores["reference"], kind="stable"), mask)
    np.testing.assert_allclose(np.sort(scores["reference"]), sorted_scores, rtol=1e-3)


@pytest.fixture(scope="module")
def run(shared):
    """The real run as a source, and 500 of its samples as the judge reads them."""
    path = shared("data/cifar10-trajectory-seed0.npz")
    with np.load(path) as file:
        arranged = equations.arrange(file["logits"], file["index"])
        labels = file["labels"]
    chosen = np.random.default_rng(0).choice(len(arranged), 500, replace=False)
    return tdds.open_trajectory(path), chosen, equations.softmax(arranged[chosen]), labels[chosen]


@pytest.mark.parametrize(
    "options",
    [
        {"T": 10, "K": 5},
        {"T": 12, "K": 10},
        {"T": 12, "K": 10, "formulation": "reference"},
        {"T": 10, "K": 5, "loss": "ce", "beta": 0},
    ],
    ids=str,
)
def test_real_run(run, options):
    trajectory, chosen, probs, labels = run
    scores = tdds.score_trajectory(trajectory, **options)
    assert scores.shape == (50_000,)
    np.testing.assert_allclose(scores[chosen], equations.tdds(probs, labels, **options), rtol=1e-5)
