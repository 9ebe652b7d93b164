"""From scores to a coreset and its weights."""

import equations
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tdds
from tdds.samplers import (
    SAMPLERS,
    WEIGHTINGS,
    BetaDraw,
    Stratified,
    count_kept,
    draw_coreset,
    fill_smallest_first,
    importance_weights,
    preference,
    top,
)
from tdds.scores import METHODS

SCORES = np.array([0.5, 3.0, 1.0, 2.0, 1.0])


@pytest.mark.parametrize(
    ("n_samples", "pruning_rate", "n_kept"),
    [(100, 0.29, 71), (100, 0, 100), (9, 1 - 1e-12, 1), (3, 0.5, 2), (1, 0.9, 1), (50_000, 0.9, 5_000), (7, 1 / 7, 6)],
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
    assert top(np.array([3, 0, 200], np.uint8), 1).tolist() == [2]
    assert preference(np.array([3, 0, 200], np.uint8), "smallest").tolist() == [-3, 0, -200]


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
    for weighting in WEIGHTINGS:
        assert importance_weights(np.array([0.0, 0.0, 1.0]), np.array([0, 1]), weighting).tolist() == [1, 1]


def test_preference_refuses():
    with pytest.raises(ValueError, match=r"^keeps='most' is not known; expected one of 'largest', 'smallest', 'median"):
        preference(SCORES, "most")
    with pytest.raises(ValueError, match=r"^Scores kept near the median of their class need labels; pass y, one int"):
        preference(SCORES, "median")
    with pytest.raises(ValueError, match=r"^4 labels for 5 samples; expected one a sample\.$"):
        preference(SCORES, "median", [0, 1, 0, 1])


@pytest.mark.parametrize(("keeps", "threshold"), [("largest", 1.0), ("smallest", 1.0), ("median", 0.5)])
def test_the_threshold_is_the_score_of_the_least_preferred_that_is_kept(keeps, threshold):
    assert draw_coreset(SCORES, keeps, SAMPLERS["top"](), 3, labels=np.zeros(5, int)).threshold == threshold


def test_unknown_weighting():
    with pytest.raises(
        ValueError,
        match=r"^weighting='best' is not known; expected one of 'per_sample', 'root', 'batch_mean', 'none'\.$",
    ):
        importance_weights(SCORES, np.array([1]), "best")


# -------------------------------------------------------------------------------------------------------- samplers

RNG = np.random.default_rng
#: Scores of every shape, the second score (AUM or the mean of p_y, both within [0, 1] here) and labels beside.
DISTRIBUTIONS = {
    "all equal": np.full(97, 0.3),
    "all 0": np.zeros(97),
    "heavy tail": RNG(0).pareto(0.2, size=97),
    "one far off": np.append(np.zeros(96), 1e300),
    "turned": -RNG(1).random(97),
    "two values": np.repeat([0.0, 1.0], [90, 7]),
    "fewer than strata": RNG(2).random(7),
    "one": np.ones(1),
    "a hair apart": 1 + np.arange(97) * np.finfo(float).eps,
}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_keeps_exactly_M(sampler, distribution):
    scores = DISTRIBUTIONS[distribution]
    n_samples = len(scores)
    second, labels = RNG(3).random(n_samples), RNG(4).choice(4, size=n_samples, p=[0.7, 0.2, 0.1, 0])
    for n_kept in range(1, n_samples + 1):
        beside = {"second": second, "labels": labels, "random_state": n_kept}
        kept = SAMPLERS[sampler]()(scores, n_kept, **beside)
        assert len(kept) == n_kept
        assert (np.diff(kept) > 0).all()
        assert 0 <= kept[0] <= kept[-1] < n_samples
        np.testing.assert_array_equal(kept, SAMPLERS[sampler]()(scores, n_kept, **beside))


@pytest.mark.parametrize("sampler", ["random", "stratified", "beta"])
def test_another_seed_draws_others(sampler):
    scores, second = RNG(0).random(200), RNG(1).random(200)
    one, other = (SAMPLERS[sampler]()(scores, 40, second=second, random_state=seed) for seed in (0, 1))
    assert not np.array_equal(one, other)


def test_a_random_choice_is_not_the_head_of_a_permutation_of_the_same_seed():
    """Or it would hold all labels that were spoilt with that seed, and nothing else."""
    spoilt = RNG(0).permutation(1000)[:200]
    kept = SAMPLERS["random"]()(np.zeros(1000), 200, random_state=0)
    assert 20 < len(np.intersect1d(spoilt, kept)) < 60


def test_class_balanced_of_labels_far_apart():
    labels = np.array([10**14, 0, 10**14, 0])
    assert SAMPLERS["class_balanced"]()(np.arange(4.0), 2, labels=labels).tolist() == [2, 3]


def test_class_balanced_quotas_sum_exactly_and_are_filled_from_the_top():
    labels = np.repeat([0, 1, 2, 4], [50, 30, 13, 7])
    scores = RNG(0).random(100)
    for n_kept in range(1, 101):
        kept = SAMPLERS["class_balanced"]()(scores, n_kept, labels=labels)
        counts = np.bincount(labels[kept], minlength=5)
        assert counts.sum() == n_kept
        assert (np.abs(counts - np.array([50, 30, 13, 0, 7]) * n_kept / 100) < 1).all()
        for c in (0, 1, 2, 4):
            own = np.flatnonzero(labels == c)
            np.testing.assert_array_equal(kept[labels[kept] == c], own[top(scores[own], counts[c])])


def test_class_balanced_gives_ties_to_the_lower_class():
    kept = [SAMPLERS["class_balanced"]()(np.arange(4.0), n, labels=np.array([0, 0, 1, 1])).tolist() for n in (1, 3)]
    assert kept == [[1], [0, 1, 3]]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.floats(0, 1))
def test_strata_are_filled_as_in_equations(sizes, share):
    total = int(share * sum(sizes))
    budgets = fill_smallest_first(np.array(sizes), total)
    assert budgets.tolist() == equations.fill_smallest_first(sizes, total)
    assert budgets.sum() == total
    assert (budgets <= sizes).all()


def test_stratified_drops_the_hardest_first_and_covers_the_range():
    scores, aum = np.arange(1000.0), np.arange(1000.0)[::-1]  # the highest-scored are the hardest
    kept = Stratified(cutoff=0.3)(scores, 100, second=aum, random_state=0)
    assert kept.max() < 700
    assert np.bincount(Stratified().strata(scores[:700])[kept], minlength=50).tolist() == [2] * 50
    # No more is dropped than leaves M.
    np.testing.assert_array_equal(Stratified(cutoff=0.9)(scores, 600, second=aum, random_state=0), np.arange(600))


def test_stratified_drops_of_samples_as_hard_those_of_the_lower_index():
    kept = Stratified(cutoff=0.3)(np.arange(100.0), 70, second=np.tile([0.0, 1.0], 50), random_state=0)
    assert kept.tolist() == sorted({*range(100)} - {*range(0, 60, 2)})


@pytest.mark.parametrize(
    ("cutoff", "pruning_rate", "n_dropped"),
    [("cifar10", 0.9, 300), ("cifar10", 0.89, 100), ("cifar10", 0.2, 0), ("imagenet", 0.8, 200), (0.29, 0.5, 290)],
)
def test_published_cutoffs(cutoff, pruning_rate, n_dropped):
    assert Stratified(cutoff=cutoff).count_dropped(1000, count_kept(1000, pruning_rate)) == n_dropped


@pytest.mark.parametrize("lowest", [0.0, 0.9])
def test_beta_draws_by_score_and_density(lowest):
    """Each sample's share of many draws of one is its probability; scores above 0 are not shifted."""
    scores, m = np.array([1.0, 2.0, 3.0, lowest, 4.0]), np.array([0.2, 0.4, 0.6, 0.5, 0.9])
    b = 15 * (1 - m.mean()) * (1 - (4 / 5) ** 4)
    density = scores * m ** (16 - b - 1) * (1 - m) ** (b - 1)
    drawn = [BetaDraw()(scores, 1, second=m, random_state=seed)[0] for seed in range(3000)]
    np.testing.assert_allclose(np.bincount(drawn, minlength=5) / 3000, density / density.sum(), atol=0.03)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Stratified(cutoff="svhn"), ValueError, r"^cutoff='svhn' is not known; expected one of 'cifar10', "),
        (lambda: Stratified(cutoff=1.0), ValueError, r"^cutoff=1.0 is out of range; expected 0 <= cutoff < 1\.$"),
        (lambda: Stratified(n_strata=0), ValueError, r"^n_strata=0 is too small; expected n_strata >= 1\.$"),
        (lambda: BetaDraw(c=-1), ValueError, r"^c=-1.0 is out of range"),
    ],
)
def test_samplers_refuse(make, error, text):
    with pytest.raises(error, match=text):
        make()


# ------------------------------------------------------------------------------------------------- CoresetSelector


def trajectory(n_samples=120, n_epochs=12):
    probs = RNG(0).dirichlet(np.ones(5), size=(n_samples, n_epochs))
    return probs, RNG(1).integers(5, size=n_samples)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("method", METHODS)
def test_any_method_with_any_sampler(method, sampler):
    probs, y = trajectory()
    features = RNG(2).normal(size=(len(y), 3))
    selector = tdds.CoresetSelector(method, sampler, 0.7, K=4, weighting="per_sample", random_state=0)
    selector.fit(probs, y, features=features)
    assert len(selector.sample_indices_) == len(selector.transform(y)) == 36
    scores = tdds.score_trajectory(probs, y, method=method, K=4, random_state=0, features=features)
    np.testing.assert_array_equal(selector.scores_, scores)
    assert selector.sample_weight_.mean() == pytest.approx(1)
    preferred = preference(scores, METHODS[method].keeps, y)
    np.testing.assert_array_equal(selector.sample_weight_, importance_weights(preferred, selector.sample_indices_))
    assert selector.threshold_ in scores[selector.sample_indices_]
    if sampler == "top":
        assert preferred[~selector.support_].max() <= preferred[scores == selector.threshold_].max()


def test_the_selectors_are_one():
    probs, y = trajectory()
    one, other = (
        tdds.TDDSSelector(8, 4, 0.5, 0.6).fit(probs),
        tdds.CoresetSelector(T=8, K=4, beta=0.5, pruning_rate=0.6),
    )
    np.testing.assert_array_equal(one.sample_weight_, other.fit(probs).sample_weight_)
    np.testing.assert_array_equal(one.sample_indices_, other.sample_indices_)
    assert not hasattr(other, "partial_fit")
    online = tdds.TDDSSelector(K=4, loss="el2n")
    for t in range(12):
        online.partial_fit(probs[:, t], y)
    np.testing.assert_allclose(online.scores_, online.fit(probs, y).scores_, rtol=1e-10)


@pytest.mark.parametrize("form", ["array", "stream"])
def test_the_draw_of_dual_looks_at_the_epochs_of_dual(form):
    probs, y = trajectory(n_epochs=40)
    spoilt = probs.copy()
    spoilt[:, 30:] = np.nan
    source = spoilt if form == "array" else iter(spoilt.swapaxes(0, 1))
    kept = tdds.CoresetSelector("dual", "beta", random_state=0).fit(source, y).sample_indices_
    m = tdds.score_trajectory(probs[:, :30], y, method="confidence")
    scores = tdds.score_trajectory(probs, y, method="dual")
    np.testing.assert_array_equal(kept, BetaDraw()(scores, 60, second=m, random_state=0))


def test_the_draw_of_dual_looks_at_the_epochs_of_dual_past_the_thirtieth():
    probs, y = trajectory(n_epochs=40)
    kept = tdds.CoresetSelector("dual", "beta", K=35, random_state=0).fit(probs, y).sample_indices_
    m = tdds.score_trajectory(probs, y, method="confidence", T=35)
    scores = tdds.score_trajectory(probs, y, method="dual", K=35)
    np.testing.assert_array_equal(kept, BetaDraw()(scores, 60, second=m, random_state=0))


@pytest.mark.parametrize("sampler", [Stratified, lambda scores, n_kept, **beside: np.arange(n_kept)])
def test_what_is_no_sampler(sampler):
    with pytest.raises(TypeError, match=r"^sampler=<.*> is no sampler; expected one of 'top', .*, or an object with"):
        tdds.CoresetSelector("el2n", sampler).fit(*trajectory())


def test_a_sampler_as_an_object():
    probs, y = trajectory()
    kept = tdds.CoresetSelector("el2n", Stratified(cutoff=0.2), random_state=0).fit(probs, y).sample_indices_
    second, scores = (tdds.score_trajectory(probs, y, method=method) for method in ("aum", "el2n"))
    np.testing.assert_array_equal(kept, Stratified(cutoff=0.2)(scores, 60, second=second, random_state=0))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"method": "best"}, "The 'method' parameter of CoresetSelector must be a str among"),
        ({"sampler": "best"}, "The 'sampler' parameter of CoresetSelector must be a str among"),
        ({"method": "entropy", "sampler": "class_balanced"}, r"^sampler='class_balanced' needs labels; pass y, one"),
        (
            {"method": "entropy", "sampler": "stratified"},
            r"^The sampler's aum needs labels; pass y",
        ),
        ({"method": "el2n"}, r"^el2n needs labels; pass y, one integer a sample\.$"),
    ],
)
def test_coreset_selector_refuses(options, text):
    with pytest.raises(ValueError, match=text):
        tdds.CoresetSelector(**options).fit(trajectory()[0])
