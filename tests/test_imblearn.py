"""tdds.imblearn: rows of X and y together, in imbalanced-learn's pipelines, and a trajectory that cannot get lost."""

import pickle

import checks
import equations
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_validate
from sklearn.preprocessing import StandardScaler

from tdds import CoresetSelector, TDDSSelector, TrajectoryError

pytest.importorskip("imblearn")

from imblearn.pipeline import make_pipeline
from imblearn.utils.estimator_checks import estimator_checks_generator

from tdds.imblearn import CoresetSampler, TDDSSampler

N, T, C = 60, 9, 3
PROBS, LABELS = checks.logged("probs", (N, T, C))[:2]
X = np.random.default_rng(0).normal(size=(N, 4))
KEPT = equations.top(equations.tdds(PROBS, K=4), 0.7)


# ----------------------------------------------------------------------------------------------------- what it keeps


def test_keeps_what_the_selectors_keep():
    X_kept, y_kept = TDDSSampler(None, 4, pruning_rate=0.7).fit_resample(X, LABELS, trajectory=PROBS)
    np.testing.assert_array_equal(X_kept, X[KEPT])
    np.testing.assert_array_equal(y_kept, LABELS[KEPT])
    options = {"method": "el2n", "sampler": "class_balanced", "n_select": 17}
    sampler = CoresetSampler(**options)
    selector = CoresetSelector(**options).fit(PROBS, LABELS)
    X_kept, y_kept = sampler.fit_resample(X, LABELS, trajectory=PROBS)
    assert sampler.sample_indices_.tolist() == selector.sample_indices_.tolist()
    np.testing.assert_array_equal(X_kept, X[selector.sample_indices_])
    np.testing.assert_array_equal(sampler.selector_.scores_, selector.scores_)
    np.testing.assert_array_equal(sampler.selector_.sample_weight_, selector.sample_weight_)


@pytest.mark.parametrize(("sampler", "selector"), [(TDDSSampler, TDDSSelector), (CoresetSampler, CoresetSelector)])
def test_parameters_are_those_of_the_selector(sampler, selector):
    assert sampler().get_params() == selector().get_params()
    assert repr(sampler(K=5)) == f"{sampler.__name__}(K=5)"
    fitted = sampler(K=4).fit(X, LABELS, trajectory=PROBS)
    twin = pickle.loads(pickle.dumps(fitted))
    assert twin.sample_indices_.tolist() == fitted.sample_indices_.tolist()
    assert not hasattr(clone(fitted), "sample_indices_")
    assert not hasattr(fitted, "transform")  # imbalanced-learn refuses a step with both


@pytest.mark.parametrize("source", ["array TNC", "generator", "directory", "store"])
def test_any_source(source, tmp_path):
    given, said = checks.make_source(source, tmp_path, PROBS, "probs")
    sampler = TDDSSampler(K=4, pruning_rate=0.7, **said).fit(X, LABELS, trajectory=given)
    assert sampler.sample_indices_.tolist() == KEPT


def test_frames_keep_their_index_and_arrays_their_axes():
    pd = pytest.importorskip("pandas")
    sampler = TDDSSampler(K=4, pruning_rate=0.7)
    index = pd.Index([f"sample {i}" for i in range(N)])
    frame = pd.DataFrame({"a": X[:, 0], "b": [str(i) for i in range(N)]}, index=index)
    frame_kept, y_kept = sampler.fit_resample(frame, pd.Series(LABELS, index=index, name="y"), trajectory=PROBS)
    pd.testing.assert_frame_equal(frame_kept, frame.iloc[KEPT])
    pd.testing.assert_series_equal(y_kept, pd.Series(LABELS, index=index, name="y").iloc[KEPT])
    assert sampler.feature_names_in_.tolist() == ["a", "b"]
    images = np.arange(N * 12).reshape(N, 3, 2, 2)
    np.testing.assert_array_equal(sampler.fit_resample(images, LABELS, trajectory=PROBS)[0], images[KEPT])
    rows, y_kept = sampler.fit_resample(sp.csr_array(X), LABELS.tolist(), trajectory=PROBS)
    np.testing.assert_array_equal(rows.toarray(), X[KEPT])
    assert y_kept == LABELS[KEPT].tolist()


def test_names_as_labels():
    names = np.array(["bird", "cat", "dog"])
    sampler = CoresetSampler("el2n", K=4).fit(X, names[LABELS], trajectory=PROBS)
    assert sampler.sample_indices_.tolist() == CoresetSelector("el2n").fit(PROBS, LABELS).sample_indices_.tolist()
    birds_missing = np.flatnonzero(LABELS > 0)
    sampler, part = CoresetSampler("tdds", K=4), (X[birds_missing], names[LABELS[birds_missing]])
    assert sampler.fit_resample(*part, trajectory=PROBS[birds_missing])[0].shape == ((len(birds_missing) + 1) // 2, 4)
    with pytest.raises(ValueError, match=r"^y holds 2 names, the trajectory 3 classes: which name .* 0 to 2 for y\.$"):
        CoresetSampler("el2n").fit(*part, trajectory=PROBS[birds_missing])
    sampler = CoresetSampler("entropy", "class_balanced").fit(*part, trajectory=PROBS[birds_missing])
    twin = CoresetSelector("entropy", "class_balanced").fit(PROBS[birds_missing], LABELS[birds_missing])
    assert sampler.sample_indices_.tolist() == twin.sample_indices_.tolist()


# ---------------------------------------------------------------------------------------------------- in a pipeline


def routed(sampler):
    return make_pipeline(
        StandardScaler(), sampler.set_fit_resample_request(trajectory=True), SGDClassifier(random_state=0)
    )


def test_in_a_pipeline_with_routing():
    with config_context(enable_metadata_routing=True):
        pipeline = routed(TDDSSampler(K=4, pruning_rate=0.7)).fit(X, LABELS, trajectory=PROBS)
    assert pipeline[1].sample_indices_.tolist() == KEPT
    twin = SGDClassifier(random_state=0).fit(StandardScaler().fit_transform(X)[KEPT], LABELS[KEPT])
    np.testing.assert_array_equal(pipeline[-1].coef_, twin.coef_)
    assert len(pipeline.predict(X)) == N


def test_cross_validation_slices_the_trajectory_fold_by_fold():
    folds = StratifiedKFold(3)
    with config_context(enable_metadata_routing=True):
        done = cross_validate(
            routed(TDDSSampler(K=4)),
            X,
            LABELS,
            cv=folds,
            params={"trajectory": PROBS},
            return_estimator=True,
            error_score="raise",
        )
    for (train, _), pipeline in zip(folds.split(X, LABELS), done["estimator"], strict=True):
        expected = equations.top(equations.tdds(PROBS[train], K=4), 0.5)
        assert pipeline[1].sample_indices_.tolist() == expected


def test_grid_search_over_the_sampler():
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            routed(CoresetSampler(sampler="class_balanced")),
            {
                "coresetsampler__pruning_rate": [0.2, 0.6],
                "coresetsampler__K": [3, 5],
                "coresetsampler__method": ["tdds", "aum"],
            },
            cv=2,
            error_score="raise",
        ).fit(X, LABELS, trajectory=PROBS)
    assert len(search.cv_results_["mean_test_score"]) == 8
    best = search.best_estimator_[1]
    expected = CoresetSelector(**best.get_params()).fit(PROBS, LABELS)
    assert best.sample_indices_.tolist() == expected.sample_indices_.tolist()


# --------------------------------------------------------------------------------------------------- what it refuses

NO_TRAJECTORY = (
    r"^TDDSSampler got no trajectory\. In a pipeline: .*enable_metadata_routing=True.*request\(trajectory=True"
)


def test_a_trajectory_that_did_not_arrive_is_an_error():
    with pytest.raises(ValueError, match=NO_TRAJECTORY):
        TDDSSampler().fit_resample(X, LABELS)
    pipeline = make_pipeline(TDDSSampler(), SGDClassifier())
    for lost in ({}, {"tddssampler__trajectory": PROBS}):  # without routing the pipeline drops it, and says nothing
        with pytest.raises(ValueError, match=NO_TRAJECTORY):
            pipeline.fit(X, LABELS, **lost)
    with config_context(enable_metadata_routing=True):
        with pytest.raises(ValueError, match=NO_TRAJECTORY):
            pipeline.fit(X, LABELS)
        with pytest.raises(UnsetMetadataPassedError, match=r"TDDSSampler\.set_fit_resample_request"):
            pipeline.fit(X, LABELS, trajectory=PROBS)


def test_a_method_of_features_is_refused_at_once():
    with pytest.raises(ValueError, match=r"^method='moderate' needs features; fit a CoresetSelector, whose fit"):
        CoresetSampler("moderate").fit_resample(X, LABELS, trajectory="nowhere.h5")


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ((X[1:], LABELS[1:], PROBS), ValueError, r"^X has 59 rows, the trajectory 60 samples; pass the data"),
        ((X, LABELS[1:], PROBS), ValueError, r"^X has 59 rows|^59 labels for 60 samples|inconsistent"),
        ((X, LABELS + 1, PROBS), ValueError, r"^Label of sample \d+ is 3; expected 0 to 2\.$"),
        ((X, X[:, 0], PROBS), ValueError, r"^Unknown label type: continuous"),
        ((X, LABELS, PROBS / 2), TrajectoryError, r"^Row of sample 0 at epoch 0 sums to 0\.5"),
        ((X, LABELS, "nowhere.h5"), FileNotFoundError, r"^nowhere\.h5: no such file"),
    ],
    ids=["X and y", "y", "labels", "target", "trajectory", "path"],
)
def test_refuses(given, error, text):
    rows, y, trajectory = given
    sampler = CoresetSampler("el2n")
    with pytest.raises(error, match=text):
        sampler.fit_resample(rows, y, trajectory=trajectory)
    assert not hasattr(sampler, "sample_indices_")


# ----------------------------------------------------------------------------------------- imbalanced-learn's checks


class _Fed:
    """The checks bring X and y; a sampler also needs what a model said of them."""

    def fit_resample(self, X, y, *, trajectory=None):
        said = np.random.default_rng(0).dirichlet(np.ones(3), size=(len(y), 6))
        return super().fit_resample(X, y, trajectory=said)


class FedTDDSSampler(_Fed, TDDSSampler):
    __init__ = TDDSSampler.__init__


class FedCoresetSampler(_Fed, CoresetSampler):
    __init__ = CoresetSampler.__init__


EXPECTED_FAILURES = {
    "check_samplers_one_label": "expects an error, but one class has a coreset as well",
    "check_samplers_fit": "looks for sampling_strategy_, but scores and not class counts decide",
}


@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        given
        for sampler in (FedTDDSSampler(K=4), FedCoresetSampler("el2n", "class_balanced"))
        for given in estimator_checks_generator(sampler, expected_failed_checks=EXPECTED_FAILURES, mark="xfail")
    ],
    ids=lambda given: given.func.__name__ if hasattr(given, "func") else type(given).__name__,
)
def test_imbalanced_learn(estimator, check):
    check(estimator)
