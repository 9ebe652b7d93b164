"""From scores to a coreset and its weights."""

import equations
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdds.samplers import count_kept, importance_weights, top

SCORES = np.array([0.5, 3.0, 1.0, 2.0, 1.0])


@pytest.mark.parametrize(
    ("n_samples", "pruning_rate", "n_kept"),
    [(100, 0.29, 71), (100, 0, 100), (100, 0.999, 1), (3, 0.5, 2), (1, 0.9, 1), (50_000, 0.9, 5_000), (7, 1 / 7, 6)],
)
def test_count_kept(n_samples, pruning_rate, n_kept):
    assert count_kept(n_samples, pruning_rate) == n_kept


def test_count_kept_by_number_does_not_look_at_the_rate():
    assert count_kept(5, 7.0, n_select=5) == 5
    assert count_kept(5, 0.5, n_select=np.int64(1)) == 1


@pytest.mark.parametrize(
    ("pruning_rate", "n_select", "error", "text"),
    [
        (1.0, None, ValueError, r"^pruning_rate=1.0 is out of range; expected 0 <= pruning_rate < 1\.$"),
        (-0.1, None, ValueError, r"^pruning_rate=-0.1 is out of range"),
        (np.nan, None, ValueError, r"^pruning_rate=nan is out of range"),
        (True, None, TypeError, r"^pruning_rate must be a number, got True of type bool\.$"),
        ("0.5", None, TypeError, r"^pruning_rate must be a number, got '0.5' of type str\.$"),
        (0.5, 0, ValueError, r"^n_select=0 is too small; expected n_select >= 1\.$"),
        (0.5, 6, ValueError, r"^n_select=6, but there are 5 samples; expected 1 to 5\.$"),
        (0.5, 2.0, TypeError, r"^n_select must be an integer, got 2.0 of type float\.$"),
        (0.5, True, TypeError, r"^n_select must be an integer, got True of type bool\.$"),
    ],
)
def test_count_kept_refuses(pruning_rate, n_select, error, text):
    with pytest.raises(error, match=text):
        count_kept(5, pruning_rate, n_select)


def test_top_is_ascending_and_gives_ties_to_the_lower_index():
    assert [top(SCORES, n).tolist() for n in (1, 2, 3, 5)] == [[1], [1, 3], [1, 2, 3], [0, 1, 2, 3, 4]]
    assert top(np.zeros(9), 4).tolist() == [0, 1, 2, 3]


@given(st.lists(st.sampled_from([0.0, 0.1, 0.5, 2.0, 1e300]), min_size=1, max_size=40), st.floats(0, 0.99))
def test_top_equals_equations(scores, pruning_rate):
    scores = np.array(scores)
    kept = top(scores, count_kept(len(scores), pruning_rate))
    assert kept.tolist() == equations.top(scores, pruning_rate)


@pytest.mark.parametrize(
    ("weighting", "expected"),
    [
        ("batch_mean", [1.0, 0.2, 0.6]),  # (R - 0.5) / 2.5, as the authors scale it
        ("per_sample", [5 / 3, 1 / 3, 1.0]),  # the same, over its mean 0.6
        ("root", np.sqrt([1.0, 0.2, 0.6]) / np.sqrt([1.0, 0.2, 0.6]).mean()),
        ("none", [1, 1, 1]),
    ],
)
def test_importance_weights(weighting, expected):
    weights = importance_weights(SCORES, np.array([1, 2, 3]), weighting)
    np.testing.assert_allclose(weights, expected, rtol=1e-12)
    if weighting != "batch_mean":
        assert weights.mean() == pytest.approx(1)


@pytest.mark.parametrize("weighting", ["per_sample", "root", "batch_mean", "none"])
def test_constant_scores_weigh_1(weighting):
    assert importance_weights(np.full(5, 0.3), np.array([0, 4]), weighting).tolist() == [1, 1]


def test_weights_of_the_least_scores_alone_are_1():
    assert importance_weights(np.array([0.0, 0.0, 1.0]), np.array([0, 1])).tolist() == [1, 1]


def test_unknown_weighting():
    with pytest.raises(
        ValueError,
        match=r"^weighting='best' is not known; expected one of 'per_sample', 'root', 'batch_mean', 'none'\.$",
    ):
        importance_weights(SCORES, np.array([1]), "best")
