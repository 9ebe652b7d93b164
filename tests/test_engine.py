"""The engine: every score passes every check, streams, and TDDS epoch by epoch."""

import checks
import equations
import hypothesis.strategies as st
import joblib
import numpy as np
import pytest
from hypothesis import given, settings

import tdds
from tdds.online import EpochwiseTDDS
from tdds.planning import block_shape, plan_reading
from tdds.scores import METHODS, TDDS
from tdds.sources import ArrayTrajectory

#: Every variant of every score: its kind of trajectory, and its options.
VARIANTS = {
    "tdds": ("probs", {"K": 5}),
    "tdds, reference, of logits": ("logits", {"K": 4, "formulation": "reference"}),
    "tdds, reference, signed": ("probs", {"K": 4, "formulation": "reference", "magnitude": False}),
    "tdds, datacull, simple average, of log_probs": ("log_probs", {"K": 3, "formulation": "datacull", "beta": 0}),
    "tdds, ce": ("probs", {"K": 4, "loss": "ce", "beta": 0.5}),
    "tdds, ce, signed, of logits": ("logits", {"K": 6, "loss": "ce", "magnitude": False, "formulation": "reference"}),
    "tdds, losses": ("losses", {"K": 4}),
    "tdds, el2n": ("probs", {"K": 4, "loss": "el2n", "beta": 0.6}),
    "entropy": ("probs", {}),
    "forgetting": ("probs", {}),
    "forgetting, of logits": ("logits", {}),
    "el2n": ("probs", {}),
    "aum": ("probs", {}),
    "aum, of logits": ("logits", {"margin_of": "logits"}),
    "dyn_unc": ("probs", {"K": 4}),
    "dual": ("logits", {"K": 5}),
    "eva": ("probs", {}),
    "margin": ("log_probs", {}),
    "least_confidence": ("probs", {}),
    "confidence": ("probs", {}),
    "variability": ("probs", {}),
    "loss": ("probs", {}),
    "loss, losses": ("losses", {}),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("check", checks.SCORE_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_score(check, variant, tmp_path):
    kind, options = VARIANTS[variant]
    check(variant.split(",")[0], kind, options, tmp_path)


def test_every_method_is_checked():
    named = {variant.split(",")[0] for variant in VARIANTS}
    assert named == set(METHODS) - {"moderate", "random"} == set(checks.JUDGES)  # which read no epoch


@settings(max_examples=60)
@given(st.data())
def test_equals_equations_whatever_the_parameters(data):
    n_epochs, n_classes = data.draw(st.integers(3, 14)), data.draw(st.integers(2, 12))
    T = data.draw(st.none() | st.integers(3, n_epochs))
    options = {
        "T": T,
        "K": data.draw(st.integers(3, T or n_epochs)),
        "beta": data.draw(st.sampled_from([0, 0.1, 0.9, 1]) | st.floats(0.01, 1)),
        "formulation": data.draw(st.sampled_from(["paper", "reference", "datacull"])),
        "loss": data.draw(st.sampled_from(["kl", "ce", "el2n"])),
        "magnitude": data.draw(st.booleans()),
    }
    kind = data.draw(st.sampled_from(checks.KINDS[:3] if options["loss"] == "el2n" else checks.KINDS))
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    values, y = checks.logged(kind, (6, n_epochs, n_classes), seed=data.draw(st.integers(0, 99)), dtype=dtype)
    scores = checks.score(values, y, kind, **options)
    np.testing.assert_allclose(scores, checks.judged("tdds", values, y, kind, **options), rtol=1e-5, atol=1e-12)

    online = EpochwiseTDDS(TDDS(**options), kind=None if kind == "losses" else kind)
    for t in range(n_epochs):
        online.update(values[:, t], y)
    assert online.n_epochs == (T or n_epochs)
    np.testing.assert_allclose(online.scores, scores, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("formulation", ["paper", "reference", "datacull"])
def test_exact_zeros_and_ones_and_constant_rows(formulation):
    steps = np.random.default_rng(0).integers(4, size=(20, 8))
    one_hot = np.eye(4, dtype=int)[steps]
    one_hot[0] = one_hot[0, 0]  # a trajectory that stays
    scores = tdds.score_trajectory(one_hot, K=4, formulation=formulation)
    np.testing.assert_allclose(scores, equations.tdds(one_hot, K=4, formulation=formulation), rtol=1e-9)
    assert scores[0] == 0
    assert scores.max() > 10
    constant = np.full((3, 8, 7), np.float32(1 / 7))
    assert tdds.score_trajectory(constant, K=4, formulation=formulation).tolist() == [0, 0, 0]


def test_minus_infinity_is_the_log_of_zero():
    probs = np.eye(4)[np.random.default_rng(0).integers(4, size=(20, 8))]
    with np.errstate(divide="ignore"):
        log_probs = np.log(probs)
    for kind in ("log_probs", "logits"):
        np.testing.assert_allclose(
            tdds.score_trajectory(log_probs, K=4, kind=kind), tdds.score_trajectory(probs, K=4), rtol=1e-12
        )


@pytest.mark.parametrize(("dtype", "K", "error"), [("float32", 4, 1e-5), ("float32", 10, 1e-5), ("float16", 10, 0.1)])
def test_the_rounding_of_stored_rows_is_no_change(dtype, K, error):
    """Of a model that is sure: what each row's sum lacks of 1 would otherwise be most of the score."""
    rng = np.random.default_rng(0)
    sure = 12 * np.eye(10)[rng.integers(10, size=(500, 1))] + rng.normal(size=(500, 1, 10))
    probs = equations.softmax(sure + 0.02 * rng.normal(size=(500, 30, 10)).cumsum(axis=1))
    true = tdds.score_trajectory(probs, K=K)
    assert np.median(abs(tdds.score_trajectory(probs.astype(dtype), K=K) / true - 1)) < error


def test_beta_0_is_the_simple_average_and_beta_1_the_last_window():
    probs, _ = checks.logged("probs", (10, 9, 4))
    windows = np.stack([tdds.score_trajectory(probs[:, w : w + 4], K=4, beta=1) for w in range(6)])
    np.testing.assert_allclose(tdds.score_trajectory(probs, K=4, beta=0), windows.mean(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(tdds.score_trajectory(probs, K=4, beta=1), windows[-1])


def test_ranking_by_reference_is_another_than_by_paper():
    probs, _ = checks.logged("probs", (200, 12, 10))
    paper, reference = (tdds.score_trajectory(probs, K=5, formulation=f) for f in ("paper", "reference"))
    assert not np.array_equal(np.argsort(paper), np.argsort(reference))
    assert np.corrcoef(np.argsort(np.argsort(paper)), np.argsort(np.argsort(reference)))[0, 1] > 0.6


def test_a_grid_is_read_once_and_equals_its_settings():
    probs, y = checks.logged("probs", (20, 12, 4))
    calls = []

    class Counted(ArrayTrajectory):
        def _read(self, values, start, stop, epoch, out):
            calls.append((start, epoch))
            super()._read(values, start, stop, epoch, out)

    grid = tdds.score_trajectory(
        Counted(probs), y, method=["tdds", "dyn_unc"], T=[8, 12], K=[5, 10], beta=[0, 0.9], formulation=["paper"]
    )
    assert len(calls) == 1
    assert len(grid) == 3 * 2 + 3
    assert "tdds:T=8,K=10,beta=0,formulation=paper" not in grid
    for T, K in ((8, 5), (12, 5), (12, 10)):
        np.testing.assert_array_equal(
            grid[f"dyn_unc:T={T},K={K}"], tdds.score_trajectory(probs, y, method="dyn_unc", T=T, K=K)
        )
        for beta in (0, 0.9):
            one = tdds.score_trajectory(probs, T=T, K=K, beta=beta)
            np.testing.assert_array_equal(grid[f"tdds:T={T},K={K},beta={beta},formulation=paper"], one)
    with pytest.raises(ValueError, match=r"^Nothing to compute: method='tdds', T=4, K=\[5, 6\]"):
        tdds.score_trajectory(probs, T=4, K=[5, 6])


def test_a_stream_is_read_no_further_than_T_and_once():
    probs, _ = checks.logged("probs", (10, 9, 4))
    pulled = []
    stream = (pulled.append(t) or probs[:, t] for t in range(9))
    np.testing.assert_array_equal(
        tdds.score_trajectory(stream, K=4, T=5), tdds.score_trajectory(probs[:, :5].copy(), K=4)
    )
    assert pulled == [0, 1, 2, 3, 4]
    trajectory = tdds.open_trajectory(iter(probs.swapaxes(0, 1)))
    tdds.score_trajectory(trajectory, K=4, T=5)
    with pytest.raises(tdds.TrajectoryError, match=r"^The iterable of epochs was read before; it can be read once\.$"):
        tdds.score_trajectory(trajectory, K=4, T=5)


@pytest.mark.parametrize(
    ("n_epochs", "T", "text"),
    [
        (
            2,
            None,
            r"^K=4, but the trajectory holds 2 epochs: no window of K epochs fits; pass a smaller K, at least 3\.$",
        ),
        (1, None, r"^K=4, but the trajectory holds 1 epoch: no window"),
        (5, 7, r"^T=7, but the trajectory holds 5 epochs\.$"),
    ],
)
def test_a_stream_that_ends_too_early(n_epochs, T, text):
    epochs = checks.logged("probs", (10, n_epochs, 4))[0].swapaxes(0, 1)
    for source in (iter(epochs), list(epochs)):
        with pytest.raises(ValueError, match=text):
            tdds.score_trajectory(source, K=4, T=T)


def test_blocks_stay_within_the_memory_limit(tmp_path):
    values, _ = checks.logged("logits", (3000, 12, 8), dtype=np.float32)
    bound = 2**20
    for name in ("array", "HDF5 chunked TNC", "HDF5 gzip", "directory"):
        source, said = checks.make_source(name, tmp_path, values, "logits")
        rows, epochs = block_shape(tdds.open_trajectory(source, **said), 12, 10**9, bound)
        assert rows * epochs * 8 * (4 + 4) <= bound, name  # as stored and as read
        assert epochs >= 2


@pytest.mark.parametrize("chunk", [(1, 1), (100, 30), (1000, 5), (50_000, 1), (50_000, 4), (7, 11)])
@pytest.mark.parametrize("n_classes", [2, 10, 1000])
@pytest.mark.parametrize("n_series", [1, 5])
def test_blocks_hold_their_series_too_and_read_whole_chunks_of_epochs(chunk, n_classes, n_series):
    trajectory = ArrayTrajectory(np.lib.stride_tricks.as_strided(np.float32(1), (50_000, 30, n_classes), (0, 0, 0)))
    trajectory._chunk = chunk
    for memory in (1 << 20, 1 << 24, 1 << 28):
        rows, width = block_shape(trajectory, 30, 50_000, memory, n_series)
        assert 1 <= rows <= 50_000
        assert 2 <= width <= 30
        assert rows * (width * 2 * 4 * n_classes + 30 * 2 * 8 * n_series) <= memory
        assert width == 30 or (width - 1) % chunk[1] == 0


def test_the_memory_limit_is_that_of_all_threads_together():
    values, _ = checks.logged("probs", (20_000, 12, 8), dtype=np.float32)
    rows, width = plan_reading(tdds.open_trajectory(values), {"tdds": TDDS(K=4)}, 4, 4).block
    assert 4 * rows * (width * 2 * 4 * 8 + 12 * 2 * 8) <= 4 << 20


def test_the_jobs_in_force_are_taken_unless_said():
    trajectory = tdds.open_trajectory(checks.logged("probs")[0])
    with joblib.parallel_config("threading", n_jobs=3):
        plans = [plan_reading(trajectory, {"tdds": TDDS(K=4)}, 256, n_jobs) for n_jobs in (None, 2)]
    assert [plan.n_workers for plan in plans] == [3, 2]


def test_an_infinite_memory_limit_is_none():
    probs, _ = checks.logged("probs", (20, 9, 3))
    scores = tdds.score_trajectory(probs, K=4, memory_limit=np.inf)
    np.testing.assert_array_equal(scores, tdds.score_trajectory(probs, K=4))


def test_labels_given_with_an_open_trajectory_stay_out_of_it():
    values, y = checks.logged("probs")
    trajectory = tdds.open_trajectory(values)
    scores = tdds.score_trajectory(trajectory, y, K=4, loss="ce")
    np.testing.assert_allclose(scores, equations.tdds(values, y, K=4, loss="ce"), rtol=1e-9)
    assert trajectory.labels is None


def test_progress_goes_to_the_standard_error(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as if on a terminal
    monkeypatch.setenv("TERM", "xterm")
    values, _ = checks.logged("probs")
    np.testing.assert_array_equal(
        tdds.score_trajectory(values, K=4, verbose=1), tdds.score_trajectory(values, K=4, verbose=0)
    )
    out, err = capsys.readouterr()
    assert out == ""
    assert "Scoring" in err
    monkeypatch.delenv("FORCE_COLOR")
    tdds.score_trajectory(values, K=4, verbose=1)
    assert capsys.readouterr() == ("", "")  # into a file or a pipe


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda epoch: np.where(np.arange(20)[:, None] == 7, np.nan, epoch), "sample 7 at epoch 4 holds nan"),
        (lambda epoch: epoch[:-1], r"Epoch 4 has shape \(19, 3\); expected \(20, 3\) as before\."),
        (lambda epoch: epoch * 0.7, "sample 0 at epoch 4 sums to 0.7"),
        (lambda epoch: epoch.astype(np.float16), "Epoch 4 has dtype float16; expected float64 as before"),
    ],
)
def test_online_is_as_before_when_an_epoch_is_rejected(spoil, text):
    probs, _ = checks.logged("probs", (20, 9, 3))
    online = EpochwiseTDDS(TDDS(K=4))
    assert online.scores is None
    for t in range(9):
        if t == 4:
            before = online.scores.copy()
            with pytest.raises(tdds.TrajectoryError, match=text):
                online.update(spoil(probs[:, t]))
            assert online.n_epochs == 4
            np.testing.assert_array_equal(online.scores, before)
        online.update(probs[:, t])
    np.testing.assert_allclose(online.scores, tdds.score_trajectory(probs, K=4), rtol=1e-12)


def test_online_scores_are_finite_or_an_error():
    losses = np.array([[1.0, 2.0], [3.0, -1e200], [2.0, 3e200]])
    online = EpochwiseTDDS(TDDS(K=3))
    for epoch in losses[:2]:
        online.update(epoch)
    with pytest.raises(tdds.TrajectoryError, match=r"^The tdds score of sample 1 is (inf|nan): what was logged is too"):
        online.update(losses[2])
    assert (online.n_epochs, online.scores) == (2, None)


def test_online_holds_no_view_of_what_it_was_given():
    probs, _ = checks.logged("probs", (20, 6, 3))
    online, buffer = EpochwiseTDDS(TDDS(K=4)), np.empty((20, 3))
    for t in range(6):
        buffer[:] = probs[:, t]
        online.update(buffer)
        buffer[:] = np.nan
    np.testing.assert_allclose(online.scores, tdds.score_trajectory(probs, K=4), rtol=1e-12)
