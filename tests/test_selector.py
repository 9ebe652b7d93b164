"""TDDSSelector: what it keeps, of what, epoch by epoch too, and how far it is a scikit-learn transformer."""

import pickle
import re
import warnings
from dataclasses import dataclass
from typing import ClassVar

import checks
import equations
import h5py
import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import tdds
from tdds import CoresetSelector, TDDSSelector, TrajectoryError
from tdds.engine import compute_scores
from tdds.samplers import Stratified
from tdds.scores import METHODS

N, T, C = 40, 9, 4


@pytest.fixture(scope="module")
def probs():
    return checks.logged("probs", (N, T, C))[0]


@pytest.fixture(scope="module")
def y():
    return checks.logged("probs", (N, T, C))[1]


@pytest.fixture(scope="module")
def selector(probs):
    return TDDSSelector(K=4, pruning_rate=0.75).fit(probs)


def state_of(selector):
    """What is fitted, as values that compare."""
    return {name: np.array(value).tolist() for name, value in vars(selector).items() if name.endswith("_")}


# --------------------------------------------------------------------------------------------------- what it keeps


def test_the_literal_line():
    prob_trajectory = checks.logged("probs", (60, 14, 5))[0]
    X = np.random.default_rng(0).normal(size=(60, 3))
    T, K, beta = 12, 10, 0.9
    kept = TDDSSelector(T, K, beta).fit(prob_trajectory).transform(X)
    expected = equations.top(equations.tdds(prob_trajectory, T=T, K=K, beta=beta), 0.5)
    np.testing.assert_array_equal(kept, X[expected])


@pytest.mark.parametrize("formulation", ["paper", "reference", "datacull"])
@pytest.mark.parametrize("loss", ["kl", "ce"])
def test_fitted_attributes(probs, y, loss, formulation):
    options = {"K": 4, "beta": 0.7, "pruning_rate": 0.75, "loss": loss, "formulation": formulation}
    selector = TDDSSelector(**options, weighting="per_sample")
    assert selector.fit(probs, y) is selector
    scores = equations.tdds(probs, y, K=4, beta=0.7, loss=loss, formulation=formulation)
    kept = equations.top(scores, 0.75)
    np.testing.assert_allclose(selector.scores_, scores, rtol=1e-9)
    assert selector.sample_indices_.tolist() == kept
    assert np.flatnonzero(selector.support_).tolist() == kept
    assert selector.support_.dtype == bool
    assert selector.threshold_ == selector.scores_[kept].min()
    assert selector.n_features_in_ == T
    scaled = (scores - scores.min()) / np.ptp(scores)
    np.testing.assert_allclose(selector.sample_weight_, scaled[kept] / scaled[kept].mean(), rtol=1e-9)
    np.testing.assert_array_equal(selector.get_support(), selector.support_)
    np.testing.assert_array_equal(selector.get_support(indices=True), kept)


@pytest.mark.parametrize(
    ("weighting", "expected"),
    [
        ("none", lambda scaled: np.ones(len(scaled))),
        ("batch_mean", lambda scaled: scaled),
        ("root", lambda scaled: np.sqrt(scaled) / np.sqrt(scaled).mean()),
    ],
)
def test_weighting(probs, weighting, expected):
    selector = TDDSSelector(K=4, weighting=weighting).fit(probs)
    scaled = (selector.scores_ - selector.scores_.min()) / np.ptp(selector.scores_)
    np.testing.assert_allclose(selector.sample_weight_, expected(scaled[selector.sample_indices_]), rtol=1e-12)


def test_how_many_are_kept():
    losses = checks.logged("losses", (100, 5, 3))[0]
    for pruning_rate, n_kept in [(0.29, 71), (0, 100), (0.999, 1), (0.5, 50)]:
        assert TDDSSelector(K=3, pruning_rate=pruning_rate).fit(losses).support_.sum() == n_kept
    for n_select in (1, 71, 100):
        assert len(TDDSSelector(K=3, n_select=n_select).fit(losses).sample_indices_) == n_select


def test_ties_go_to_the_lower_index_and_constant_scores_weigh_1():
    selector = TDDSSelector(K=3, pruning_rate=0.6).fit(np.full((10, 5, 4), 0.25))
    assert selector.sample_indices_.tolist() == [0, 1, 2, 3]
    assert selector.sample_weight_.tolist() == [1, 1, 1, 1]
    assert selector.scores_.tolist() == [0] * 10


@pytest.mark.parametrize("name", ["array TNC", "generator", "directory", "store", "packed"])
def test_fits_any_source(name, probs, tmp_path):
    source, said = checks.make_source(name, tmp_path, probs, "probs")
    selector = TDDSSelector(K=4, T=8, n_jobs=2, **said).fit(source)
    np.testing.assert_array_equal(selector.scores_, TDDSSelector(K=4, T=8).fit(probs).scores_)


def test_what_an_epoch_lacks_is_carried_where_asked(probs, tmp_path):
    with tdds.TrajectoryWriter(tmp_path, *probs[:, 0].shape, dtype="float64") as writer:
        for t in range(probs.shape[1]):
            writer.write(slice(int(t == 5), None), probs[int(t == 5) :, t])
            writer.end_epoch()
    carried = probs.copy()
    carried[0, 5] = carried[0, 4]
    with pytest.raises(TrajectoryError, match=r"^Epoch 5 does not hold sample 0; pass missing='carry'"):
        TDDSSelector(K=4).fit(tmp_path)
    scores = TDDSSelector(K=4, missing="carry").fit(tmp_path).scores_
    np.testing.assert_array_equal(scores, TDDSSelector(K=4).fit(carried).scores_)


def test_labels_of_the_source_are_used(probs, y, tmp_path):
    store = checks.write_store(tmp_path / "run", probs, "probs", labels=y)
    selector = TDDSSelector(K=4, loss="ce").fit(store)
    np.testing.assert_allclose(selector.scores_, equations.tdds(probs, y, K=4, loss="ce"), rtol=1e-9)


# -------------------------------------------------------------------------------------------------- epoch by epoch


@pytest.mark.parametrize("T_limit", [None, 6])
@pytest.mark.parametrize("beta", [0, 0.9])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("probs", {"formulation": "paper"}),
        ("logits", {"formulation": "reference"}),
        ("log_probs", {"formulation": "datacull"}),
        ("probs", {"loss": "ce"}),
        ("losses", {"formulation": "reference"}),
    ],
)
def test_partial_fit_equals_fit(kind, options, beta, T_limit):
    values, y = checks.logged(kind, (N, T, C))
    options = {"T": T_limit, "K": 4, "beta": beta, "kind": kind, **options}
    whole, online = TDDSSelector(**options).fit(values, y), TDDSSelector(**options)
    for t in range(T):
        assert online.partial_fit(values[:, t], y) is online
        assert hasattr(online, "scores_") == (t >= 3)
        if 3 <= t < (T_limit or T):
            so_far = TDDSSelector(**{**options, "T": t + 1}).fit(values, y)
            np.testing.assert_allclose(online.scores_, so_far.scores_, rtol=1e-12, atol=1e-15)
            assert online.n_features_in_ == t + 1
    np.testing.assert_allclose(online.scores_, whole.scores_, rtol=1e-12, atol=1e-15)
    assert online.sample_indices_.tolist() == whole.sample_indices_.tolist()
    np.testing.assert_allclose(online.sample_weight_, whole.sample_weight_, rtol=1e-11)


def test_fit_forgets_what_partial_fit_began(probs):
    selector = TDDSSelector(K=3)
    for t in range(5):
        selector.partial_fit(probs[:, t] if t != 2 else probs[:, 8])
    selector.fit(probs)
    for t in range(3):
        selector.partial_fit(probs[:, t])
    np.testing.assert_allclose(selector.scores_, TDDSSelector(K=3, T=3).fit(probs).scores_, rtol=1e-12)


def test_partial_fit_begins_anew_after_fit(probs):
    selector = TDDSSelector(K=3).fit(probs)
    selector.partial_fit(probs[:30, 0])
    assert set(state_of(selector)) == {"n_features_in_"}
    with pytest.raises(NotFittedError):
        selector.transform(NUMBERS[:30])
    for t in (1, 2):
        selector.partial_fit(probs[:30, t])
    assert len(selector.support_) == 30


@pytest.mark.parametrize("t_bad", [0, 2, 5])
def test_a_rejected_epoch_leaves_the_selector_as_it_was(probs, t_bad):
    selector = TDDSSelector(K=3)
    for t in range(7):
        if t == t_bad:
            before = state_of(selector)
            bad = probs[:, t].copy()
            bad[11, 1] = np.nan
            for _ in range(2):
                with pytest.raises(
                    tdds.TrajectoryError, match=f"^Row of sample 11 at epoch {t} holds nan for class 1; "
                ):
                    selector.partial_fit(bad)
                assert state_of(selector) == before
        selector.partial_fit(probs[:, t])
    np.testing.assert_allclose(selector.scores_, TDDSSelector(K=3, T=7).fit(probs).scores_, rtol=1e-12)


def test_parameters_of_a_rejected_first_epoch_do_not_stick(probs):
    selector = TDDSSelector(K=3)
    with pytest.raises(tdds.TrajectoryError, match=r"sums to 0\.5"):
        selector.partial_fit(probs[:, 0] / 2)
    selector.set_params(K=5)
    for t in range(6):
        selector.partial_fit(probs[:, t])
    np.testing.assert_allclose(selector.scores_, TDDSSelector(K=5, T=6).fit(probs).scores_, rtol=1e-12)


@pytest.mark.parametrize("change", [{"T": 8}, {"K": 3}, {"beta": 0.5}, {"loss": "ce"}, {"kind": "log_probs"}], ids=str)
def test_the_score_does_not_change_between_epochs(probs, y, change):
    selector = TDDSSelector(K=4)
    for t in range(5):
        selector.partial_fit(probs[:, t], y)
    before = state_of(selector)
    ((name, value),) = change.items()
    begun = getattr(selector, name)
    text = rf"^{name}={value!r}, but the epochs so far were scored with {name}={begun!r}; set it back, or begin anew"
    with pytest.raises(ValueError, match=text):
        selector.set_params(**change).partial_fit(probs[:, 5], y)
    assert state_of(selector) == before
    selector.set_params(**{name: begun}, pruning_rate=0.9, weighting="none").partial_fit(probs[:, 5], y)
    twin = TDDSSelector(K=4, T=6, pruning_rate=0.9).fit(probs)
    np.testing.assert_allclose(selector.scores_, twin.scores_, rtol=1e-12)
    assert selector.sample_indices_.tolist() == twin.sample_indices_.tolist()
    assert selector.sample_weight_.tolist() == [1] * 4
    fresh = clone(selector.set_params(**change, pruning_rate=0.5))
    for t in range(9):
        fresh.partial_fit(np.log(probs[:, t]) if name == "kind" else probs[:, t], y)
    np.testing.assert_allclose(fresh.scores_, clone(fresh).set_params(kind=None).fit(probs, y).scores_, rtol=1e-9)


def test_online_state_survives_pickling(probs):
    selector = TDDSSelector(K=4)
    for t in range(T):
        selector = pickle.loads(pickle.dumps(selector.partial_fit(probs[:, t])))
    np.testing.assert_allclose(selector.scores_, TDDSSelector(K=4).fit(probs).scores_, rtol=1e-12)


# ------------------------------------------------------------------------------------- rows of whatever comes in


def values_of(rows):
    return rows.toarray() if sp.issparse(rows) else np.asarray(rows)


NUMBERS = np.arange(N * 3.0).reshape(N, 3)
CONTAINERS = {
    "array": (NUMBERS, np.ndarray),
    "4 axes": (NUMBERS.reshape(N, 1, 3, 1), np.ndarray),
    "1 axis": (NUMBERS[:, 0], np.ndarray),
    "words": (np.array([f"sample {i}" for i in range(N)]), np.ndarray),
    "nan and inf": (np.where(NUMBERS % 7 == 0, np.nan, np.where(NUMBERS % 5 == 0, np.inf, NUMBERS)), np.ndarray),
    "objects with nan": (np.array([None, float("nan")] * (N // 2), dtype=object), np.ndarray),
    "list": (NUMBERS.tolist(), list),
    "list of words": ([f"sample {i}" for i in range(N)], list),
    "CSR": (sp.csr_matrix(NUMBERS), sp.csr_matrix),
    "CSC array": (sp.csc_array(NUMBERS), sp.csc_array),
    "COO, which has no rows": (sp.coo_matrix(NUMBERS), sp.csr_matrix),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_transform_gives_the_container_that_came_in(selector, name):
    X, container = CONTAINERS[name]
    kept = selector.transform(X)
    assert type(kept) is container
    expected = [values_of(X)[i] for i in selector.sample_indices_]
    assert repr(list(values_of(kept))) == repr(expected)


def test_transform_pandas(selector):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": NUMBERS[:, 0], "b": [str(i) for i in range(N)]})
    pd.testing.assert_frame_equal(selector.transform(frame), frame.iloc[selector.sample_indices_])
    series = pd.Series(NUMBERS[:, 1], name="s", index=range(100, 100 + N))
    pd.testing.assert_series_equal(selector.transform(series), series.iloc[selector.sample_indices_])


def test_transform_polars(selector):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": NUMBERS[:, 0], "b": [str(i) for i in range(N)]})
    kept = selector.transform(frame)
    assert isinstance(kept, polars.DataFrame)
    assert kept["b"].to_list() == [str(i) for i in selector.sample_indices_]


def test_transform_arrow(selector):
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"a": NUMBERS[:, 0], "b": [str(i) for i in range(N)]})
    kept = selector.transform(table)
    assert kept.equals(table.take(selector.sample_indices_))
    assert kept.schema == table.schema


def test_transform_gives_a_subset_of_a_torch_dataset(selector):
    torch = pytest.importorskip("torch")

    class Words(torch.utils.data.Dataset):
        def __len__(self):
            return N

        def __getitem__(self, i):
            assert type(i) is int
            return f"sample {i}"

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(range(N))

    words = Words()
    kept = selector.transform(words)
    assert type(kept) is torch.utils.data.Subset
    assert kept.dataset is words
    assert list(kept) == [f"sample {i}" for i in selector.sample_indices_]
    assert len(selector.transform(torch.utils.data.Subset(words, range(N)))) == len(kept)
    tensor = torch.arange(N)
    assert selector.transform(tensor).tolist() == selector.sample_indices_.tolist()
    with pytest.raises(
        TypeError, match=r"^X has no rows to take \(filter a stream by the indices.*'Stream' has no len"
    ):
        selector.transform(Stream())


def test_transform_reads_the_kept_rows_of_a_file(selector, tmp_path):
    np.save(tmp_path / "X.npy", NUMBERS)
    with h5py.File(tmp_path / "X.h5", "w") as file:
        dataset = file.create_dataset("X", data=NUMBERS)
        for X in (dataset, np.load(tmp_path / "X.npy", mmap_mode="r")):
            np.testing.assert_array_equal(selector.transform(X), NUMBERS[selector.sample_indices_])


def test_transform_reads_the_kept_rows_of_zarr(selector, tmp_path):
    zarr = pytest.importorskip("zarr")
    X = zarr.create_array(tmp_path / "X.zarr", shape=(N, 3, 2), chunks=(7, 3, 1), dtype="f4")
    X[:] = np.arange(N * 6).reshape(N, 3, 2)
    np.testing.assert_array_equal(selector.transform(X), X[:][selector.sample_indices_])


def test_fit_transform_and_select(selector, probs, y):
    kept = selector.sample_indices_
    np.testing.assert_array_equal(clone(selector).fit_transform(probs), probs[kept])
    np.testing.assert_array_equal(clone(selector).fit_transform(NUMBERS, trajectory=probs), NUMBERS[kept])
    X, labels, words = selector.select(NUMBERS, y, ["w"] * N)
    np.testing.assert_array_equal(X, NUMBERS[kept])
    np.testing.assert_array_equal(labels, y[kept])
    assert words == ["w"] * len(selector.sample_weight_)


@pytest.mark.parametrize(
    ("X", "error", "text"),
    [
        (NUMBERS[1:], ValueError, r"^X has 39 rows, .*40 samples; pass the data it belongs to\.$"),
        ([1, 2], ValueError, r"^X has 2 rows"),
        (
            dict.fromkeys(range(N)),
            TypeError,
            r"^X is a dict of 40 entries, not of rows; pass each of them by itself\.$",
        ),
        (np.float64(3), TypeError, r"has no len\(\)$"),
        (3, TypeError, r"has no len\(\)$"),
    ],
)
def test_transform_refuses(selector, X, error, text):
    with pytest.raises(error, match=text):
        selector.transform(X)


# ------------------------------------------------------------------------------------------- what it refuses to fit


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (
            {"K": 2},
            ValueError,
            r"^K=2: a window of 2 epochs holds 1 difference, whose variance is always 0; expected K",
        ),
        ({"K": 5, "T": 4}, ValueError, r"^K=5 is larger than T=4: "),
        ({"K": 10}, ValueError, r"^K=10, but the trajectory holds 9 epochs: "),
        ({"K": 4, "T": 10}, ValueError, r"^T=10, but the trajectory holds 9 epochs\."),
        (
            {"K": 4.0},
            ValueError,
            r"^The 'K' parameter of TDDSSelector must be an instance of 'int'\. Got 4\.0 instead\.$",
        ),
        ({"K": "4"}, ValueError, r"^The 'K' parameter of TDDSSelector must be"),
        ({"K": 4, "T": 8.0}, ValueError, r"^The 'T' parameter of TDDSSelector must be"),
        ({"K": 4, "beta": -0.1}, ValueError, r"^The 'beta' parameter of TDDSSelector must be a float in the range \[0"),
        ({"K": 4, "beta": True}, TypeError, r"^beta must be a number, got True of type bool\.$"),
        ({"K": 4, "pruning_rate": 1.0}, ValueError, r"^The 'pruning_rate' parameter of .* range \[0(\.0)?, 1(\.0)?\)"),
        ({"K": 4, "pruning_rate": np.nan}, ValueError, r"pruning_rate"),
        ({"K": 4, "n_select": 0}, ValueError, r"^The 'n_select' parameter of TDDSSelector must be an int in the range"),
        ({"K": 4, "n_select": N + 1}, ValueError, r"^n_select=41, but there are 40 samples; expected 1 to 40\.$"),
        ({"K": 4, "n_select": 5.0}, ValueError, r"^The 'n_select' parameter of TDDSSelector must be"),
        (
            {"K": 4, "formulation": "official"},
            ValueError,
            r"^The 'formulation' parameter of TDDSSelector must be a str",
        ),
        ({"K": 4, "loss": "mse"}, ValueError, r"^The 'loss' parameter of TDDSSelector must be a str among"),
        ({"K": 4, "weighting": 1}, ValueError, r"^The 'weighting' parameter of TDDSSelector must be a str among"),
        ({"K": 4, "missing": "zeros"}, ValueError, r"^The 'missing' parameter of TDDSSelector must be a str among"),
        ({"K": 4, "kind": "softmax"}, ValueError, r"^The 'kind' parameter of TDDSSelector must be"),
        ({"K": 4, "axes": "CTX"}, ValueError, r"^axes='CTX' is not known; expected one of 'NTC', 'TNC'"),
        ({"K": 4, "memory_limit": 0.5}, ValueError, r"^The 'memory_limit' parameter of TDDSSelector must be"),
        (
            {"K": 4, "loss": "ce"},
            ValueError,
            r"^tdds needs labels with these parameters; pass y, one integer a sample\.$",
        ),
    ],
)
def test_fit_refuses(probs, options, error, text):
    selector = TDDSSelector(**options)
    with pytest.raises(error, match=text) as caught:
        selector.fit(probs)
    assert "\n" not in str(caught.value)
    assert state_of(selector) == {}


def test_not_fitted(probs):
    selector = TDDSSelector(K=4).partial_fit(probs[:, 0])
    for call in (lambda: selector.transform(probs), selector.get_support, lambda: selector.select(probs)):
        with pytest.raises(NotFittedError, match=r"^This TDDSSelector instance is not fitted yet\. Call 'fit' with"):
            call()


# --------------------------------------------------------------------------------------------------------- presets


@pytest.mark.parametrize(
    ("name", "pruning_rate", "T", "K"),
    [
        ("cifar10-resnet18", 0.9, 10, 5),
        ("cifar100-resnet18", 0.7, 60, 20),
        ("imagenet-resnet34", 0.3, 20, 10),
        ("imagenet-swint", 0.25, 200, 10),
    ],
)
def test_preset(name, pruning_rate, T, K):
    selector = TDDSSelector.from_preset(name, pruning_rate=pruning_rate, weighting="none")
    assert (selector.T, selector.K, selector.beta, selector.pruning_rate) == (T, K, 0.9, pruning_rate)
    assert selector.weighting == "none"


@pytest.mark.parametrize(("pruning_rate", "T", "nearest"), [(0.85, 30, "0.8"), (0.99, 10, "0.9"), (0.1, 70, "0.3")])
def test_preset_of_the_nearest_rate_below_warns(pruning_rate, T, nearest):
    text = (
        rf"^cifar10-resnet18 publishes no T and K for pruning_rate={pruning_rate}, only .*; taking T={T}, .* {nearest}"
    )
    with pytest.warns(UserWarning, match=text) as caught:
        selector = TDDSSelector.from_preset("cifar10-resnet18", pruning_rate)
    assert caught[0].filename == __file__
    assert (selector.T, selector.pruning_rate) == (T, pruning_rate)


def test_preset_refuses():
    with pytest.raises(
        ValueError, match=r"^name='cifar10' is not known; expected one of 'cifar10-resnet18', 'cifar100"
    ):
        TDDSSelector.from_preset("cifar10")
    with pytest.raises(ValueError, match=r"^pruning_rate=1\.0 is out of range"):
        TDDSSelector.from_preset("cifar10-resnet18", 1.0)


# ---------------------------------------------------------------------------------------------------- scikit-learn


def test_clone_repr_and_parameters(selector, probs):
    assert repr(TDDSSelector(30, 10, beta=0.8)) == "TDDSSelector(T=30, beta=0.8)"
    assert TDDSSelector().get_params() == {
        "T": None,
        "K": 10,
        "beta": 0.9,
        "pruning_rate": 0.5,
        "n_select": None,
        "formulation": "paper",
        "loss": "kl",
        "magnitude": True,
        "weighting": "none",
        "axes": None,
        "kind": None,
        "missing": "error",
        "memory_limit": 256,
        "n_jobs": None,
        "verbose": 0,
    }
    twin = clone(selector)
    assert twin.get_params() == selector.get_params()
    assert state_of(twin) == {}
    twin.set_params(pruning_rate=0.9).fit(probs)
    assert len(twin.sample_indices_) == 4
    assert state_of(pickle.loads(pickle.dumps(selector))) == state_of(selector)


def test_set_output_changes_nothing(selector, probs):
    pytest.importorskip("pandas")
    with config_context(enable_metadata_routing=True):
        routed = clone(selector).set_fit_request(trajectory=True)
        assert routed.set_output(transform="pandas") is routed
        pipeline = make_pipeline(StandardScaler(), routed).set_output(transform="pandas")
        kept = pipeline.fit_transform(NUMBERS, trajectory=probs)
    assert kept.index.tolist() == selector.sample_indices_.tolist()  # a frame came in
    assert type(pipeline[-1].transform(NUMBERS)) is np.ndarray


@pytest.mark.parametrize(
    "new",
    [TDDSSelector(K=4), CoresetSelector("el2n", Stratified(cutoff=0.2), n_select=9, random_state=0)],
    ids=lambda new: type(new).__name__,
)
def test_fitted_copies(new, probs, y, tmp_path):
    fitted = clone(new).fit(probs, y)
    joblib.dump(fitted, tmp_path / "selector.joblib")
    copies = [pickle.loads(pickle.dumps(fitted)), joblib.load(tmp_path / "selector.joblib")]
    try:
        import skops.io as skops
    except ImportError:
        pass
    else:
        skops.dump(fitted, tmp_path / "selector.skops")
        ours = skops.get_untrusted_types(file=tmp_path / "selector.skops")
        assert all(name.startswith("tdds.") for name in ours), ours
        copies.append(skops.load(tmp_path / "selector.skops", trusted=ours))
    for copy in copies:
        assert repr(copy) == repr(fitted)
        assert state_of(copy) == state_of(fitted)
        np.testing.assert_array_equal(copy.transform(NUMBERS), fitted.transform(NUMBERS))


def test_html(selector):
    html = TDDSSelector(K=7)._repr_html_()
    assert "TDDSSelector" in html
    assert re.search(r"Not fitted", html)
    assert re.search(r"Fitted", selector._repr_html_())


def test_threads_and_memory_are_passed_on(probs, monkeypatch):
    found, real = {}, compute_scores
    passed_on = lambda *one, **said: found.update(said) or real(*one, **said)  # noqa: E731
    monkeypatch.setattr("tdds.selector.base.compute_scores", passed_on)
    for new in (TDDSSelector, CoresetSelector):
        new(K=4, n_jobs=2, memory_limit=8).fit(probs)
        assert (found.pop("n_jobs"), found.pop("memory_limit")) == (2, 8)


def test_verbose_shows_progress_and_changes_nothing(selector, probs, capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("TERM", "xterm")
    loud = clone(selector).set_params(verbose=1).fit(probs)
    np.testing.assert_array_equal(loud.scores_, selector.scores_)
    out, err = capfd.readouterr()
    assert out == ""
    assert "Scoring" in err
    clone(selector).fit(probs)
    assert capfd.readouterr() == ("", "")


def share_kept(fitted, X, y=None):
    """A score that every selector has."""
    return fitted.support_.mean()


def test_cross_validation_slices_a_trajectory_fold_by_fold(probs, y):
    folds = KFold(4)
    done = cross_validate(
        CoresetSelector("el2n"), probs, y, cv=folds, scoring=share_kept, return_estimator=True, error_score="raise"
    )
    for (train, _), fitted in zip(folds.split(probs), done["estimator"], strict=True):
        np.testing.assert_allclose(fitted.scores_, equations.el2n(probs[train], y[train]), rtol=1e-9)


def test_grid_search(probs):
    grid = {"K": [3, 5], "pruning_rate": [0.2, 0.6]}
    search = GridSearchCV(TDDSSelector(), grid, scoring=share_kept, cv=2, error_score="raise").fit(probs)
    assert search.best_params_ == {"K": 3, "pruning_rate": 0.2}
    assert search.cv_results_["mean_test_score"].tolist() == [0.8, 0.4, 0.8, 0.4]
    np.testing.assert_allclose(search.best_estimator_.scores_, equations.tdds(probs, K=3), rtol=1e-9)


def test_a_routed_trajectory_reaches_the_last_step(selector, probs):
    X = StandardScaler().fit_transform(NUMBERS)
    with config_context(enable_metadata_routing=True):
        routed = clone(selector).set_fit_request(trajectory=True)
        pipeline = make_pipeline(StandardScaler(), routed)
        kept = pipeline.fit_transform(NUMBERS, trajectory=probs)
        np.testing.assert_array_equal(kept, X[selector.sample_indices_])
        assert pipeline.fit(NUMBERS, trajectory=probs)[-1].scores_.tolist() == selector.scores_.tolist()
        folds = KFold(4)
        done = cross_validate(
            pipeline,
            NUMBERS,
            cv=folds,
            params={"trajectory": probs},
            scoring=lambda fitted, X, y=None: fitted[-1].support_.mean(),
            return_estimator=True,
            error_score="raise",
        )
        for (train, _), fitted in zip(folds.split(NUMBERS), done["estimator"], strict=True):
            np.testing.assert_allclose(fitted[-1].scores_, equations.tdds(probs[train], K=4), rtol=1e-9)
        with pytest.raises(UnsetMetadataPassedError, match=r"TDDSSelector\.set_fit_request"):
            make_pipeline(StandardScaler(), clone(selector)).fit(NUMBERS, trajectory=probs)
        assert not hasattr(routed, "set_partial_fit_request")
        with pytest.raises(TypeError, match="prob_trajectory"):
            routed.set_fit_request(prob_trajectory=True)


def test_a_score_of_ones_own_that_keeps_the_median_of_each_class_reads_labels(probs, y):
    @dataclass(frozen=True)
    class Middle(METHODS["entropy"]):
        name: ClassVar[str] = "middle"
        keeps: ClassVar[str] = "median"

    kept = CoresetSelector(Middle(), pruning_rate=0.5).fit(probs, y)
    assert kept.sample_indices_.tolist() == equations.nearest_median(kept.scores_, y, 20)
    with pytest.raises(ValueError, match=r"needs labels; pass y"):
        CoresetSelector(Middle()).fit(probs)


def test_what_is_too_large_is_an_error_and_no_warning(probs):
    selector = TDDSSelector(K=3, kind="log_probs")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TrajectoryError):
            selector.partial_fit(np.full((4, 3), 1000.0))


def test_a_trajectory_of_other_samples_is_refused(selector, probs):
    with pytest.raises(ValueError, match=r"^X has 39 rows, the trajectory 40 samples; pass the data it belongs to\.$"):
        clone(selector).fit(NUMBERS[1:], trajectory=probs)


@pytest.mark.parametrize("y", [["a", "b"] * (N // 2), [0.5] * N, np.full(N, -1), np.eye(N)])
def test_labels_that_nothing_reads_may_be_anything(selector, probs, y):
    fitted = make_pipeline(FunctionTransformer(), clone(selector)).fit(probs, y)[-1]
    assert fitted.sample_indices_.tolist() == selector.sample_indices_.tolist()
    with pytest.raises(ValueError, match=r"^39 labels for 40 samples; expected one a sample\.$"):
        clone(selector).fit(probs, y[1:])
    for reads in (TDDSSelector(K=4, loss="ce"), CoresetSelector(K=4, sampler="class_balanced")):
        with pytest.raises(ValueError, match=r"^Labels? (must be|of sample 0 is)"):
            reads.fit(probs, y)


def test_last_in_a_pipeline(selector, probs):
    pipeline = make_pipeline(FunctionTransformer(), TDDSSelector(K=4, pruning_rate=0.75))
    np.testing.assert_array_equal(pipeline.fit_transform(probs), probs[selector.sample_indices_])
    np.testing.assert_array_equal(pipeline.transform(probs), probs[selector.sample_indices_])
    assert pipeline[-1].sample_indices_.tolist() == selector.sample_indices_.tolist()


_DROPS_ROWS = "transform keeps a part of the rows, whichever were chosen in fit"
_TWO_COLUMNS = "feeds two columns, two epochs, and K is at least 3"
_NO_DISTRIBUTIONS = "feeds partial_fit rows that are no distributions"
_ANY_DATA = "transform takes the data, which have other columns than the trajectory that was fitted"
DROPS_ROWS = {
    "check_transformer_general": _DROPS_ROWS,
    "check_transformer_data_not_an_array": _DROPS_ROWS,
    "check_methods_subset_invariance": _DROPS_ROWS,
    "check_methods_sample_order_invariance": _DROPS_ROWS,
    "check_fit_idempotent": _DROPS_ROWS,
    "check_estimators_nan_inf": "transform chooses rows and looks at no value; a trajectory with nan is refused",
}
HAS_WINDOWS = {
    "check_estimators_overwrite_params": _TWO_COLUMNS,
    "check_estimators_fit_returns_self": _TWO_COLUMNS,
    "check_readonly_memmap_input": _TWO_COLUMNS,
    "check_fit_check_is_fitted": _TWO_COLUMNS,
    "check_n_features_in": _TWO_COLUMNS,
}
EXPECTED_FAILURES = {
    TDDSSelector(K=3): DROPS_ROWS
    | HAS_WINDOWS
    | {
        "check_fit_score_takes_y": _NO_DISTRIBUTIONS,
        "check_n_features_in_after_fitting": _NO_DISTRIBUTIONS,
    },
    CoresetSelector(K=3): DROPS_ROWS | HAS_WINDOWS | {"check_n_features_in_after_fitting": _ANY_DATA},
    CoresetSelector("loss"): DROPS_ROWS | {"check_n_features_in_after_fitting": _ANY_DATA},
}


@parametrize_with_checks([*EXPECTED_FAILURES], expected_failed_checks=EXPECTED_FAILURES.get)
def test_scikit_learn(estimator, check):
    check(estimator)


def test_partial_fit_checks_the_count_before_it_takes_an_epoch():
    selector = TDDSSelector(K=3, n_select=11)
    with pytest.raises(ValueError, match="n_select=11, but there are 10 samples"):
        selector.partial_fit(np.full((10, 2), 0.5))
    assert getattr(selector, "_online", None) is None
