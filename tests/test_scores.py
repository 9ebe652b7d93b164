"""Every method beside its equations where that is hard: ties, one class, few epochs; several at once; refusals."""

import checks
import equations
import numpy as np
import pytest

import tdds
from tdds.scores import METHODS, TDDS, make_score, make_scores
from tdds.validation import random_generator

RNG = np.random.default_rng
FIVE = ["tdds", "forgetting", "aum", "el2n", "entropy"]
DETERMINISTIC = sorted(set(METHODS) - {"moderate", "random"})
WITH_WINDOWS = {"tdds", "dyn_unc", "dual"}
LEAST = {"forgetting": 2, "variability": 2, "eva": 4}


def random_probs(shape, seed=0):
    probs = RNG(seed).dirichlet(np.full(shape[2], 0.4), size=shape[:2])
    return probs, RNG(seed + 1).integers(shape[2], size=shape[0])


def tied_probs(shape):
    """Sixteenths, many of them equal: exact in every dtype."""
    counts = RNG(0).multinomial(16, np.full(shape[2], 1 / shape[2]), size=shape[:2])
    return counts / 16, RNG(1).integers(shape[2], size=shape[0])


#: Trajectories that are hard for some method; two epochs and less are `test_least_epochs`.
HARD = {
    "random": random_probs((30, 12, 7)),
    "long": random_probs((12, 45, 3)),
    "ties": tied_probs((60, 11, 4)),
    "one class": (np.ones((5, 11, 1)), np.zeros(5, dtype=int)),
    "constant": (np.full((6, 11, 4), 0.25), np.arange(6) % 4),
    "one-hot": (np.eye(3)[RNG(2).integers(3, size=(20, 11))], RNG(3).integers(3, size=20)),
}


@pytest.mark.parametrize("case", HARD)
@pytest.mark.parametrize("method", DETERMINISTIC)
def test_equals_equations(method, case):
    values, y = HARD[case]
    options = {"K": 4} if method in WITH_WINDOWS else {}
    for dtype in (np.float64, np.float32, np.float16):
        stored = values.astype(dtype)
        scores = tdds.score_trajectory(stored, y, method=method, **options)
        # A sixteenth is exact, 1e-6 absolute: of the windowed sums of squares too.
        np.testing.assert_allclose(scores, checks.judged(method, stored, y, "probs", **options), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", sorted(set(DETERMINISTIC) - WITH_WINDOWS))
def test_least_epochs(method):
    least = LEAST.get(method, 1)
    values, y = random_probs((20, least, 4))
    for source in (values, iter(values.swapaxes(0, 1)), list(values.swapaxes(0, 1))):
        scores = tdds.score_trajectory(source, y, method=method)
        np.testing.assert_allclose(scores, checks.judged(method, values, y, "probs"), rtol=1e-9, atol=1e-15)
    with checks.small_blocks(1):
        np.testing.assert_array_equal(tdds.score_trajectory(values, y, method=method), scores)


@pytest.mark.parametrize(("method", "default"), [("el2n", 10), ("dual", 30), ("aum", 40)])
def test_default_T_is_that_of_the_authors_and_never_more_than_logged(method, default):
    values, y = random_probs((9, 40, 3))
    for n_logged in (12, 40):
        part = values[:, :n_logged]
        expected = tdds.score_trajectory(part, y, method=method, T=min(default, n_logged))
        for source in (part, iter(part.swapaxes(0, 1))):
            np.testing.assert_array_equal(tdds.score_trajectory(source, y, method=method), expected)


@pytest.mark.parametrize("width", [2, 3, 7])
def test_many_methods_in_one_pass_equal_many_passes(width, tmp_path):
    values, y = random_probs((40, 45, 6))
    options = {"K": 5}
    alone = {method: tdds.score_trajectory(values, y, method=method, **options) for method in DETERMINISTIC}
    assert list(tdds.score_trajectory(values, y, method=FIVE, **options)) == FIVE
    sources = {name: checks.make_source(name, tmp_path, values, "probs") for name in ("array TNC", "generator")}
    together = [
        tdds.score_trajectory(values, y, method=DETERMINISTIC, **options),
        *(tdds.score_trajectory(s, y, method=tuple(DETERMINISTIC), **said, **options) for s, said in sources.values()),
    ]
    with pytest.MonkeyPatch.context() as patch:  # blocks of `width` epochs
        patch.setattr("tdds.planning.block_shape", lambda *args: (11, width))
        together.append(tdds.score_trajectory(values, y, method=DETERMINISTIC, **options))
    for scores in together:
        for method in DETERMINISTIC:
            np.testing.assert_array_equal(scores[method], alone[method], err_msg=method)


def test_parameters_go_where_they_are_known():
    values, y = random_probs((10, 12, 4))
    scores = tdds.score_trajectory(values, y, method=["aum", "tdds"], T=8, K=99 // 20, beta=0.3, margin_of="logits")
    np.testing.assert_allclose(scores["aum"], equations.aum(values, y, T=8, margin_of="logits", floor=1e-8), rtol=1e-9)
    np.testing.assert_allclose(scores["tdds"], equations.tdds(values, y, T=8, K=4, beta=0.3), rtol=1e-9)
    np.testing.assert_array_equal(
        tdds.score_trajectory(values, y, method="aum", K=500), tdds.score_trajectory(values, y, method="aum")
    )


def test_margin_of_logits_is_the_difference_of_the_logits():
    logits = 30 * RNG(0).normal(size=(20, 8, 5))
    y = RNG(1).integers(5, size=20)
    expected = [np.mean([l[c] - np.delete(l, c).max() for l in sample]) for sample, c in zip(logits, y, strict=True)]
    scores = tdds.score_trajectory(logits, y, method="aum", margin_of="logits", kind="logits")
    np.testing.assert_allclose(scores, expected, rtol=1e-9)
    # Stored probabilities end at 1e-8.
    certain = np.array([[[1.0, 0.0, 0.0]]])
    assert tdds.score_trajectory(certain, [0], method="aum", margin_of="logits")[0] == pytest.approx(np.log(1e8))


def test_forgetting_by_hand():
    right, wrong, tie = [0.2, 0.8], [0.8, 0.2], [0.5, 0.5]
    probs = np.array([[right, wrong, right, tie], [wrong, wrong, tie, wrong], [wrong, wrong, right, right]])
    assert tdds.score_trajectory(probs, [1, 1, 1], method="forgetting").tolist() == [2, 4, 0]
    assert tdds.score_trajectory(probs, [0, 0, 0], method="forgetting").tolist() == [1, 0, 1]


def test_eva_of_many_epochs_takes_the_published_windows():
    values, y = random_probs((8, 200, 3))
    e = np.linalg.norm(values - np.eye(3)[y][:, None], axis=2)
    early, late = e[:, :10].var(axis=1), e[:, 100:110].var(axis=1)
    expected = 0.5 * early / early.sum() + 0.5 * late / late.sum()
    np.testing.assert_allclose(tdds.score_trajectory(values, y, method="eva"), expected, rtol=1e-9)


def test_random_is_seeded_and_reads_nothing():
    values = np.full((50, 3, 2), np.nan)
    scores = tdds.score_trajectory(values, method="random", random_state=3)
    np.testing.assert_array_equal(scores, tdds.score_trajectory(values, method="random", random_state=3))
    assert not np.array_equal(scores, tdds.score_trajectory(values, method="random", random_state=4))
    assert len(set(scores)) == 50
    both = tdds.score_trajectory(random_probs((50, 3, 2))[0], method=["random", "entropy"], random_state=3)
    np.testing.assert_array_equal(both["random"], scores)


def test_random_states():
    for state in (5, RNG(5), np.random.RandomState(5)):
        assert 0 <= random_generator(state).random() < 1
    first, second = (random_generator(np.random.RandomState(5)).random() for _ in range(2))
    assert first == second
    for state, error in (("five", TypeError), (-1, ValueError)):
        with pytest.raises(error, match=rf"^random_state={state!r} seeds no generator; expected None, an integer"):
            random_generator(state)


def test_every_method_says_which_end_it_keeps():
    smallest = {method for method in METHODS if METHODS[method].keeps == "smallest"}
    assert smallest == {"aum", "margin", "confidence"}
    assert [method for method in METHODS if METHODS[method].keeps == "median"] == ["moderate"]
    others = set(METHODS) - smallest - {"moderate"}
    assert {METHODS[method].keeps for method in others} == {"largest"}
    assert all(METHODS[method].__doc__ for method in METHODS)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_moderate(dtype):
    features, y = (10 * RNG(0).normal(size=(60, 5))).astype(dtype), RNG(1).choice([0, 1, 4], size=60)
    y[7] = 2  # the only one of its class
    spoilt = np.full((60, 3, 5), np.nan)  # the trajectory is not read
    scores = tdds.score_trajectory(spoilt, y, method="moderate", features=features)
    np.testing.assert_allclose(scores, equations.moderate(features, y), rtol=1e-12)
    assert scores[7] == 0
    for n_select in (1, 7, 30, 60):
        selector = tdds.CoresetSelector("moderate", n_select=n_select).fit(spoilt, y, features=features)
        assert selector.sample_indices_.tolist() == equations.nearest_median(scores, y, n_select)
    kept = tdds.CoresetSelector("moderate", n_select=30).fit_transform(y, y, trajectory=spoilt, features=features)
    assert kept.tolist() == y[equations.nearest_median(scores, y, 30)].tolist()


@pytest.mark.parametrize(
    ("features", "text"),
    [
        (None, r"^moderate needs features; pass features=, \(n_samples, n_features\), what a trained model makes of"),
        (np.ones(8), r"^features must be numbers of shape \(8, n_features\), one row a sample; got shape \(8,\) of"),
        (np.ones((7, 2)), r"^features must be .* got shape \(7, 2\) of float64\.$"),
        (np.full((8, 2), "a"), r"^features must be .* got shape \(8, 2\) of <U1\.$"),
        (
            np.where(np.arange(16) == 11, np.nan, 1).reshape(8, 2),
            r"^features of sample 5 hold nan or inf; expected fin",
        ),
    ],
)
def test_moderate_refuses(features, text):
    with pytest.raises(ValueError, match=text):
        tdds.score_trajectory(np.full((8, 5, 3), np.nan), [0] * 8, method=["moderate", "aum"], features=features)


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"tdds", "loss", "moderate", "random"}))
def test_losses_are_no_probabilities(method):
    text = rf"^{method} needs probabilities, .*; the trajectory holds losses, one number a sample"
    with pytest.raises(ValueError, match=text):
        tdds.score_trajectory(np.ones((5, 12)), [0] * 5, method=method)


def test_el2n_in_tdds_needs_probabilities_and_labels():
    with pytest.raises(ValueError, match=r"^tdds needs probabilities with these parameters"):
        tdds.score_trajectory(np.ones((5, 12)), loss="el2n")
    with pytest.raises(ValueError, match=r"^tdds needs labels with these parameters"):
        tdds.score_trajectory(random_probs((5, 12, 3))[0], loss="el2n")


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"tdds", "entropy", "margin", "least_confidence", "random"}))
def test_labels_are_needed_before_reading(method):
    spoilt = np.full((5, 12, 3), np.nan)
    text = rf"^{method} needs labels; pass y, one integer a sample\.$"
    with pytest.raises(ValueError, match=text):
        tdds.score_trajectory(spoilt, method=method, features=np.ones((5, 2)))


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"method": "best"}, ValueError, r"^method='best' is not known; expected one of 'tdds', 'entropy', "),
        ({"method": ["tdds", "best"]}, ValueError, r"^method='best' is not known"),
        ({"method": []}, ValueError, r"^Nothing to compute: method=\[\], "),
        ({"method": "forgetting", "T": 1}, ValueError, r"^T=1: forgetting needs at least 2 epochs\.$"),
        ({"method": "eva", "T": 3}, ValueError, r"^T=3: eva needs at least 4 epochs\.$"),
        ({"method": "aum", "T": 0}, ValueError, r"^T=0 is too small; expected T >= 1\.$"),
        ({"method": "aum", "T": 2.0}, TypeError, r"^T must be an integer, got 2.0 of type float\.$"),
        ({"method": "aum", "T": 6}, ValueError, r"^T=6, but the trajectory holds 5 epochs\."),
        (
            {"method": "dual"},
            ValueError,
            r"^dual needs at least 10 epochs, a window of K=10; the trajectory holds 5\.$",
        ),
        ({"method": "dyn_unc", "T": 4}, ValueError, r"^T=4: dyn_unc needs at least 10 epochs, a window of K=10\.$"),
        ({"method": "dyn_unc", "K": 1}, ValueError, r"^K=1 is too small; expected K >= 2\.$"),
        (
            {"method": "aum", "margin_of": "x"},
            ValueError,
            r"^margin_of='x' is not known; expected one of 'probs', 'log",
        ),
    ],
)
def test_refuses(options, error, text):
    spoilt = np.full((8, 5, 3), np.nan)  # nothing is read before the parameters are known to fit
    with pytest.raises(error, match=text):
        tdds.score_trajectory(spoilt, [0] * 8, **options)


def test_a_stream_that_ends_too_early_names_the_method():
    values, y = random_probs((8, 3, 3))
    with pytest.raises(ValueError, match=r"^eva needs at least 4 epochs; the trajectory holds 3\.$"):
        tdds.score_trajectory(iter(values.swapaxes(0, 1)), y, method=["eva", "entropy"])
    with pytest.raises(ValueError, match=r"^T=6, but the trajectory holds 3 epochs\.$"):
        tdds.score_trajectory(iter(values.swapaxes(0, 1)), y, method=["entropy", "loss"], T=6)


def test_two_scores_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"^Two scores are called 'tdds'; give one of them another name\.$"):
        make_scores(["tdds", TDDS(K=5)], K=4)
    assert list(make_scores(["tdds", "tdds", TDDS(K=4)], K=4)) == ["tdds"]


def test_make_score_takes_what_a_method_has():
    assert make_score("entropy", T=3, K=5, beta=0.1, nonsense=1).T == 3


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"magnitude": "False"}, r"^magnitude must be True or False, got 'False'\.$"),
        ({"magnitude": 1}, r"^magnitude must be True or False, got 1\.$"),
        ({"method": None}, r"^method=None is no method; expected a name or a list of names: tdds, entropy, "),
        ({"method": 5}, r"^method=5 is no method; "),
    ],
)
def test_what_is_no_magnitude_and_no_method(options, text):
    with pytest.raises(TypeError, match=text):
        tdds.score_trajectory(np.full((8, 5, 3), 1 / 3), K=4, **options)
