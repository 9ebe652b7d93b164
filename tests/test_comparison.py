"""compare_scores beside the equations; across parameters, across runs; what it prints."""

import dataclasses
import io
import json
import re

import equations
import numpy as np
import pytest
from rich.console import Console

import tdds
from tdds import compare_scores
from tdds.scores import METHODS

RNG = np.random.default_rng
N, T = 60, 12


@pytest.fixture(scope="module")
def probs():
    return RNG(0).dirichlet(np.ones(4), size=(N, T))


@pytest.fixture(scope="module")
def y():
    return RNG(1).integers(4, size=N)


def kept(scores, keeps, y, rate):
    if keeps == "median":
        return equations.nearest_median(scores, y, N - int(rate * N))
    return equations.top(scores if keeps == "largest" else -scores, rate)


def test_equals_equations_for_every_method(probs, y):
    features = RNG(2).normal(size=(N, 3))
    scores = tdds.score_trajectory(probs, y, method=list(METHODS), K=4, features=features, random_state=0)
    comparison = compare_scores(
        probs, y, method=list(METHODS), K=4, features=features, random_state=0, pruning_rate=[0.5, 0.9]
    )
    assert comparison.names == tuple(METHODS)
    assert comparison.runs == ()
    signs = {"largest": 1, "smallest": -1}
    off = np.abs(scores["moderate"] - np.array([np.median(scores["moderate"][y == c]) for c in y]))
    turned = {name: -off if name == "moderate" else signs[METHODS[name].keeps] * scores[name] for name in METHODS}
    for i, one in enumerate(METHODS):
        for j, other in enumerate(METHODS):
            expected = equations.spearman(turned[one], turned[other])
            assert comparison.correlations[i, j] == pytest.approx(expected, abs=1e-9)
            for rate in (0.5, 0.9):
                pair = (kept(scores[name], METHODS[name].keeps, y, rate) for name in (one, other))
                assert comparison.overlaps[rate][i, j] == pytest.approx(equations.overlap(*pair))


def test_what_is_compared_where_no_method_is_named(probs, y):
    needs_labels = set(METHODS) - {"tdds", "entropy", "margin", "least_confidence"}
    assert set(compare_scores(probs, y, K=4).names) == set(METHODS) - {"random", "moderate"}
    assert set(compare_scores(probs, K=4).names) == set(METHODS) - {"random"} - needs_labels
    assert "moderate" in compare_scores(probs, y, K=4, features=np.ones((N, 1))).names
    assert compare_scores(np.log(probs[..., 0]), K=4).names == ("tdds", "loss")


def test_what_needs_more_epochs_is_left_out_where_no_method_is_named(probs, y):
    assert set(METHODS) - set(compare_scores(probs[:, :3], y).names) == {"random", "moderate", "eva"}
    assert not {name for name in compare_scores(probs, y, T=[3, 10], K=3).names if name.startswith("eva")}
    assert set(compare_scores(probs[:, :2], y).names) == {
        "entropy", "margin", "least_confidence", "loss", "forgetting", "el2n", "aum", "confidence", "variability",
    }  # fmt: skip


def test_a_wrong_rate_is_refused_before_anything_is_read():
    def epochs():
        yield np.full((5, 2), 0.5)
        raise AssertionError("read on")

    with pytest.raises(ValueError, match=r"^pruning_rate=1\.0 is out of range"):
        compare_scores(epochs(), method=["tdds", "entropy"], pruning_rate=1.0)


def test_a_grid_of_parameters_in_one_reading(probs, y):
    read = []
    epochs = (read.append(t) or probs[:, t] for t in range(T))
    comparison = compare_scores(epochs, y, method=["tdds", "el2n"], T=[8, 12], K=[4, 6], beta=[0.5, 0.9])
    assert read == list(range(T))
    assert comparison.names[:2] == ("tdds:T=8,K=4,beta=0.5", "tdds:T=8,K=4,beta=0.9")
    assert comparison.names[8:] == ("el2n:T=8", "el2n:T=12")
    one, other = (tdds.score_trajectory(probs, K=4, T=t, beta=0.9) for t in (8, 12))
    assert comparison.correlations[1, 5] == pytest.approx(equations.spearman(one, other))
    # One value in a list is no grid of others; formulations are compared like anything else.
    assert compare_scores(probs, method="tdds", K=[5], formulation=["paper", "reference"]).names == (
        "tdds:K=5,formulation=paper",
        "tdds:K=5,formulation=reference",
    )


def test_runs(probs, y):
    runs = {f"seed {s}": RNG(s).dirichlet(np.ones(4), size=(N, T)) * 0.3 + probs * 0.7 for s in (3, 4, 5)}
    comparison = compare_scores(runs, y, method=["aum", "entropy"], pruning_rate=0.5)
    assert comparison.runs == tuple(runs)
    scores = [tdds.score_trajectory(run, y, method=["aum", "entropy"]) for run in runs.values()]
    between = [equations.spearman(scores[i]["aum"], scores[j]["aum"]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert comparison.run_correlations[0] == pytest.approx(np.mean(between))
    kept = [equations.top(-run["aum"], 0.5) for run in scores]
    shares = [equations.overlap(kept[i], kept[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert comparison.run_overlaps[0.5][0] == pytest.approx(np.mean(shares))
    within = [equations.spearman(-run["aum"], run["entropy"]) for run in scores]
    assert comparison.correlations[0, 1] == pytest.approx(np.mean(within))
    # The same as scores; one score in several runs is enough.
    of_scores = compare_scores(dict(zip(runs, scores, strict=True)), pruning_rate=0.5)
    np.testing.assert_allclose(of_scores.run_correlations, comparison.run_correlations)
    one = compare_scores(runs, y, method="aum", pruning_rate=0.5)
    assert one.run_correlations.tolist() == comparison.run_correlations[:1].tolist()
    table = comparison.to_pandas()
    assert table[["first", "second"]].to_numpy().tolist() == [
        ["aum", "entropy"],
        ["aum", "aum"],
        ["entropy", "entropy"],
    ]
    assert table["spearman"][1] == comparison.run_correlations[0]


def test_scores_by_name(y):
    up = np.arange(10.0)
    comparison = compare_scores({"mine": up, "aum": up, "lowest": up}, keeps={"lowest": "smallest"}, pruning_rate=0.8)
    assert comparison.correlations[0].tolist() == pytest.approx([1, -1, -1])
    assert comparison.overlaps[0.8].tolist() == [[1, 0, 0], [0, 1, 1], [0, 1, 1]]
    merged = compare_scores({"a": {"mine": up}, "b": {"other": up}})
    assert (merged.names, merged.runs) == (("mine", "other"), ())
    near = compare_scores({"moderate": up, "mine": -np.abs(up - 4.5)}, [0] * 10)
    assert near.correlations[0, 1] == pytest.approx(1)


def test_a_trajectory_has_labels_of_its_own(probs, y):
    options = {"method": ["moderate", "aum"], "features": RNG(2).normal(size=(N, 3))}
    comparison = compare_scores(tdds.open_trajectory(probs, labels=y), **options)
    np.testing.assert_array_equal(comparison.correlations, compare_scores(probs, y, **options).correlations)


def test_keeps_of_a_trajectory_and_of_names_that_are_not_there(probs, y):
    usual, turned = (
        compare_scores(probs, y, method=["tdds", "aum"], K=4, keeps=keeps) for keeps in (None, {"aum": "largest"})
    )
    assert turned.correlations[0, 1] == pytest.approx(-usual.correlations[0, 1])
    for source in (probs, {"a": np.ones(3), "b": np.ones(3)}):
        with pytest.raises(ValueError, match=r"^keeps names 'zz', which is no score here; expected some of \w+, \w+"):
            compare_scores(source, keeps={"zz": "smallest"})


def test_K_left_out_fits_a_short_trajectory(probs, y):
    assert compare_scores(probs[:, :8], y).names == compare_scores(probs[:, :8], y, K=8).names
    np.testing.assert_array_equal(
        compare_scores(probs[:, :8], y).correlations, compare_scores(probs[:, :8], y, K=8).correlations
    )
    np.testing.assert_array_equal(compare_scores(probs, y).correlations, compare_scores(probs, y, K=10).correlations)
    np.testing.assert_array_equal(
        compare_scores(probs, y, T=5).correlations, compare_scores(probs, y, T=5, K=5).correlations
    )
    names = compare_scores(probs, y, T=[5, None], method=["tdds", "dual"]).names
    assert names == ("tdds:T=5", "tdds:T=None", "dual:T=5", "dual:T=None")


def test_what_is_passed_through(probs, y, tmp_path):
    comparison = compare_scores(probs, y, method="tdds", loss="ce", K=4, magnitude=[True, False], memory_limit=8)
    signed, absolute = (tdds.score_trajectory(probs, y, loss="ce", K=4, magnitude=one) for one in (False, True))
    assert comparison.names == ("tdds:magnitude=True", "tdds:magnitude=False")
    assert comparison.correlations[0, 1] == pytest.approx(equations.spearman(signed, absolute))
    with pytest.raises(ValueError, match=r"^memory_limit=0\.0 is out of range"):
        compare_scores(probs, K=4, memory_limit=0)
    with pytest.raises(ValueError, match=r"^damaged='error', but .* has no checksums"):
        compare_scores(probs, K=4, damaged="error")


def test_constant_scores_correlate_with_nothing():
    comparison = compare_scores({"flat": np.ones(10), "up": np.arange(10.0)}, pruning_rate=0.5)
    assert np.isnan(comparison.correlations[0, 1])
    assert comparison.overlaps[0.5][0, 1] == 0
    assert "?" in str(comparison)
    assert json.loads(json.dumps(comparison.to_dict()))["spearman"] == [[None, None], [None, pytest.approx(1)]]


def test_what_it_prints(probs, y):
    comparison = compare_scores({"a[1]": probs, "b": probs[:, ::-1]}, y, method=["tdds", "aum"], K=5, pruning_rate=0.9)
    assert repr(comparison) == "<Comparison of 2 scores of 60 samples in 2 runs, at p = 0.9>"
    text = str(comparison)
    assert "Share of the coreset that both keep, %, p = 0.9 (chance 10), mean of 2 runs" in text
    assert "Each score with itself in another run (a[1], b)" in text
    shown = f"{comparison.correlations[0, 1]:.2f}".replace("0.", ".")
    assert any(line.split() == ["1", "tdds", shown] for line in text.splitlines())
    share = f"{100 * comparison.overlaps[0.9][0, 1]:.0f}"
    assert any(line.split() == ["2", "aum", share] for line in text.splitlines())
    console = Console(width=100, file=io.StringIO())
    console.print(comparison)
    assert [line.rstrip() for line in console.file.getvalue().splitlines()] == text.splitlines()


def test_nearly_0_has_no_sign():
    comparison = compare_scores({"a": np.arange(4.0), "b": np.arange(4.0)})
    near = dataclasses.replace(comparison, correlations=np.array([[1, -0.001], [-0.001, 1]]))
    assert any(line.split() == ["1", "a", ".00"] for line in str(near).splitlines())


@pytest.mark.parametrize("width", [40, 80])
def test_what_is_too_wide_goes_below(probs, y, width):
    comparison = compare_scores(probs, y, T=[8, 9, 10, 11, 12], K=[4, 5, 6], pruning_rate=0.9)
    console = Console(width=width, file=io.StringIO())
    console.print(comparison)
    narrow, wide = console.file.getvalue(), str(comparison)
    assert max(map(len, narrow.splitlines())) <= width < max(map(len, wide.splitlines()))
    assert "…" not in narrow
    for name in comparison.names:
        shown, expected = (
            sorted(" ".join(re.findall(f"{re.escape(name)} (.*)", text)).split()) for text in (narrow, wide)
        )
        assert shown == expected


def test_tables(probs, y):
    pd = pytest.importorskip("pandas")
    comparison = compare_scores(probs, y, method=["tdds", "aum", "el2n"], K=5)
    table = comparison.to_pandas()
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == ["first", "second", "spearman", "overlap_0.5", "overlap_0.9"]
    assert table[["first", "second"]].to_numpy().tolist() == [["tdds", "aum"], ["tdds", "el2n"], ["aum", "el2n"]]
    assert table["overlap_0.9"][2] == comparison.overlaps[0.9][1, 2]
    held = json.loads(json.dumps(comparison.to_dict()))
    assert held["overlap"]["0.9"] == comparison.overlaps[0.9].tolist()
    assert "runs" not in held


@pytest.mark.parametrize(
    ("source", "options", "text"),
    [
        ("probs", {"method": "best"}, r"^method='best' is not known; expected one of 'tdds'"),
        ("probs", {"method": "tdds"}, r"^There is tdds to compare, and no other; name two, or two runs\.$"),
        ("probs", {"method": "tdds", "K": [4, 13]}, r"^K=13, but the trajectory holds 12 epochs"),
        ("probs", {"method": "aum"}, r"^aum needs labels"),
        ("probs", {"K": 4, "pruning_rate": [0.5, 1.0]}, r"^pruning_rate=1\.0 is out of range"),
        ({}, {}, r"^There is nothing to compare"),
        ({"a": np.ones(3), "b": np.ones(4)}, {}, r"^The scores are of 3 and 4 samples; expected the same samples\.$"),
        (
            {"moderate": np.ones(3), "b": np.ones(3)},
            {},
            r"^Scores kept near the median of their class need labels",
        ),
        ({"a": np.ones(3), "b": np.ones(3)}, {"keeps": {"a": "most"}}, r"^keeps='most' is not known; expected one of"),
        (
            {"r": {"a": np.ones(3), "b": np.ones(3)}, "s": {"b": np.ones(3)}},
            {},
            r"^Runs must hold the same scores, or none in common: r holds a, b; s holds b\.$",
        ),
    ],
)
def test_refuses(probs, source, options, text):
    with pytest.raises(ValueError, match=text):
        compare_scores(probs if isinstance(source, str) else source, **options)
