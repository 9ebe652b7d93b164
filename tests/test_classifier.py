"""CoresetClassifier: keeps the coreset of its own recorded run, refits on it, and is a scikit-learn classifier."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import AdaBoostClassifier, GradientBoostingClassifier, HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

import tdds
from tdds import CoresetClassifier, CoresetSelector, TDDSSelector

LOST = "ignore:The coreset holds no sample:UserWarning"


def sgd(**options):
    return SGDClassifier(loss="log_loss", random_state=0, **options)


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X), y


class Diary(SGDClassifier):
    """Keeps what it was fed and what it said, in lists that every clone shares."""

    epochs, said, fits = [], [], []

    def __init__(self, loss="log_loss", random_state=None):
        super().__init__(loss=loss, random_state=random_state)

    def partial_fit(self, X, y, classes=None):
        self.epochs.append((np.array(X), np.array(y)))
        return super().partial_fit(X, y, classes=classes)

    def predict_proba(self, X):
        self.said.append(super().predict_proba(X))
        return self.said[-1]

    def fit(self, X, y, sample_weight=None):
        self.fits.append((np.array(X), np.array(y), sample_weight))
        return super().fit(X, y, sample_weight=sample_weight)


@pytest.fixture
def diary():
    for kept in (Diary.epochs, Diary.said, Diary.fits):
        kept.clear()
    return Diary()


# ----------------------------------------------------------------------------------------------------- what fit does


@pytest.mark.parametrize(
    "options",
    [
        {"K": 4},
        {"K": 4, "T": 6, "beta": 0.5, "formulation": "reference", "weighting": "per_sample"},
        {"method": "el2n"},
        {"method": "forgetting", "sampler": "class_balanced"},
        {"method": "aum", "sampler": "stratified", "n_select": 40, "weighting": "root"},
        {"method": "dual", "K": 3, "sampler": "beta"},
        {"method": "random", "sampler": "random"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings(LOST)
def test_the_coreset_is_that_of_the_recorded_run(iris, diary, options):
    X, y = iris
    model = CoresetClassifier(diary, n_epochs=12, random_state=3, **options).fit(X, y)
    trajectory = np.stack(diary.said, axis=1)
    n_epochs = options.get("T", {"el2n": 10, "random": 1}.get(options.get("method"), 12))  # no more than it reads
    assert trajectory.shape == (150, n_epochs, 3)
    judge = CoresetSelector(**{"sampler": "class_balanced"} | options, random_state=model.selector_.random_state)
    judge.fit(trajectory, y)
    np.testing.assert_array_equal(model.scores_, judge.scores_)
    np.testing.assert_array_equal(model.sample_indices_, judge.sample_indices_)
    np.testing.assert_array_equal(model.support_, judge.support_)
    np.testing.assert_array_equal(model.sample_weight_, judge.sample_weight_)
    (X_kept, y_kept, weights), *others = diary.fits
    assert others == []
    np.testing.assert_array_equal(X_kept, X[judge.sample_indices_])
    np.testing.assert_array_equal(y_kept, y[judge.sample_indices_])
    np.testing.assert_array_equal(weights, judge.sample_weight_)


@pytest.mark.parametrize(("n_epochs", "T", "K"), [(5, None, 5), (20, 7, 7), (20, None, 10)])
def test_K_is_10_or_all_epochs_of_fewer(iris, diary, n_epochs, T, K):
    model = CoresetClassifier(diary, n_epochs=n_epochs, T=T, random_state=0).fit(*iris)
    assert model.selector_.K == K


def test_tdds_scores_equal_those_of_the_selector(iris, diary):
    X, y = iris
    model = CoresetClassifier(diary, n_epochs=8, K=3, sampler="class_balanced", random_state=0).fit(X, y)
    online = TDDSSelector(K=3)
    for probs in diary.said:
        online.partial_fit(probs)
    np.testing.assert_allclose(model.scores_, online.scores_, rtol=1e-12)


def test_every_epoch_is_a_new_order_of_all_samples(iris, diary):
    X, y = iris
    CoresetClassifier(diary, n_epochs=5, K=3, sampler="class_balanced", random_state=0).fit(X, y)
    rows = set(map(tuple, np.column_stack([X, y])))
    orders = [tuple(map(tuple, np.column_stack([X_fed, y_fed]))) for X_fed, y_fed in diary.epochs]
    assert len(set(orders)) == 5
    for order in orders:
        assert len(order) == 150
        assert set(order) == rows


def test_refit_is_one_fit_of_a_fresh_clone(iris):
    X, y = iris
    model = CoresetClassifier(sgd(), n_epochs=5, K=3, sampler="class_balanced", weighting="root").fit(X, y)
    twin = sgd().fit(*model.selector_.select(X, y), sample_weight=model.sample_weight_)
    np.testing.assert_array_equal(model.predict_proba(X), twin.predict_proba(X))
    np.testing.assert_array_equal(model.predict(X), twin.predict(X))
    assert model.score(X, y) == twin.score(X, y)


GRADIENT_BOOSTING = GradientBoostingClassifier(n_estimators=9, max_depth=2, random_state=0)


@pytest.mark.parametrize(
    ("booster", "n_epochs"),
    [
        (GRADIENT_BOOSTING, 6),
        (GRADIENT_BOOSTING, 30),
        (HistGradientBoostingClassifier(max_iter=4, random_state=0), 4),
        (AdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=9, random_state=0), 6),
    ],
    ids=lambda given: type(given).__name__,
)
def test_the_epochs_of_boosting_are_its_stages(iris, booster, n_epochs):
    X, y = iris
    model = CoresetClassifier(booster, n_epochs=n_epochs, K=3, method="el2n", sampler="class_balanced").fit(X, y)
    stages = np.stack(list(clone(booster).fit(X, y).staged_predict_proba(X)), axis=1)[:, :n_epochs]
    np.testing.assert_allclose(model.scores_, tdds.score_trajectory(stages, y, method="el2n"), rtol=1e-12)
    np.testing.assert_array_equal(
        model.predict(X), clone(booster).fit(X[model.sample_indices_], y[model.sample_indices_]).predict(X)
    )


@pytest.mark.skipif(not hasattr(LogisticRegression, "set_callbacks"), reason="scikit-learn has callbacks from 1.9 on")
@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
def test_the_epochs_of_a_solver_are_its_iterations(iris):
    X, y = iris
    options = {"K": 3, "sampler": "class_balanced", "n_epochs": 6}
    model = CoresetClassifier(LogisticRegression(max_iter=20), **options).fit(X, y)
    iterations = [LogisticRegression(max_iter=t).fit(X, y).predict_proba(X) for t in range(1, 7)]
    expected = tdds.score_trajectory(np.stack(iterations, axis=1), K=3)
    np.testing.assert_allclose(model.scores_, expected, rtol=1e-9)
    twin = LogisticRegression(max_iter=20).fit(*model.selector_.select(X, y))
    np.testing.assert_array_equal(model.predict_proba(X), twin.predict_proba(X))
    with (
        pytest.raises(
            TypeError, match=r"^LogisticRegression\(.*solver='saga'\) reported no iteration to its callbacks"
        ),
        pytest.warns(UserWarning, match="Callbacks are only supported"),
    ):
        CoresetClassifier(LogisticRegression(solver="saga", max_iter=300), **options).fit(X, y)


def test_verbose_shows_the_epochs_and_changes_nothing(iris, capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    quiet = CoresetClassifier(sgd(), n_epochs=5, K=3, sampler="class_balanced", random_state=0).fit(*iris)
    assert capfd.readouterr() == ("", "")
    loud = clone(quiet).set_params(verbose=1).fit(*iris)
    np.testing.assert_array_equal(loud.scores_, quiet.scores_)
    out, err = capfd.readouterr()
    assert out == ""
    assert "Recording" in err
    assert "5/5" in err
    assert "Scoring" not in err


class Unweighted(ClassifierMixin, BaseEstimator):
    """A classifier of somebody else's, whose `fit` takes no weights."""

    def fit(self, X, y):
        self.model_ = sgd().fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def partial_fit(self, X, y, classes):
        self.model_ = getattr(self, "model_", sgd()).partial_fit(X, y, classes=classes)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(X)

    def predict_proba(self, X):
        return self.model_.predict_proba(X)


def test_an_estimator_that_takes_no_weights_is_refit_without(iris):
    X, y = iris
    model = CoresetClassifier(Unweighted(), n_epochs=5, K=3, sampler="class_balanced", weighting="root").fit(X, y)
    twin = Unweighted().fit(*model.selector_.select(X, y))
    np.testing.assert_array_equal(model.predict_proba(X), twin.predict_proba(X))
    assert len(model.sample_weight_) == len(model.sample_indices_)
    assert np.ptp(model.sample_weight_) > 0


def test_a_class_that_is_lost_has_probability_0_and_is_named(iris):
    X, y = iris
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = CoresetClassifier(sgd(), n_epochs=12, K=3, sampler="top", pruning_rate=0.9, random_state=0)
    with pytest.warns(UserWarning, match=r"^The coreset holds no sample of 1 of 3 classes, ") as caught:
        model.fit(X, names)
    (lost,) = np.setdiff1d(names, names[model.sample_indices_])
    assert f"predicted: {lost}. Prune less" in str(caught[0].message)
    assert caught[0].filename == __file__
    probs = model.predict_proba(X)
    assert probs.shape == (150, 3)
    assert not probs[:, model.classes_ == lost].any()
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    np.testing.assert_array_equal(model.classes_[probs.argmax(axis=1)], model.predict(X))


# -------------------------------------------------------------------------------------------------- seeds and copies


def test_random_state_decides_everything(iris):
    X, y = iris
    new = CoresetClassifier(SGDClassifier(loss="log_loss"), n_epochs=5, K=3, sampler="class_balanced")
    for seeds in ((0, 0), (np.random.RandomState(0), np.random.RandomState(0))):
        first, second = (clone(new).set_params(random_state=seed).fit(X, y) for seed in seeds)
        np.testing.assert_array_equal(first.scores_, second.scores_)
        np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    other = clone(new).set_params(random_state=1).fit(X, y)
    assert not np.array_equal(first.scores_, other.scores_)


def test_random_state_decides_what_is_nested_too(iris):
    X, y = iris
    new = CoresetClassifier(OneVsRestClassifier(SGDClassifier(loss="log_loss")), n_epochs=5, K=3, random_state=0)
    first, second = (clone(new).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(first.scores_, second.scores_)
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))


def test_without_random_state_the_estimator_keeps_its_own(iris):
    X, y = iris
    model = CoresetClassifier(sgd(), n_epochs=5, K=3, sampler="class_balanced").fit(X, y)
    assert model.estimator_.random_state == 0
    seeded = CoresetClassifier(sgd(), n_epochs=5, K=3, sampler="class_balanced", random_state=0).fit(X, y)
    assert seeded.estimator_.random_state != 0
    assert seeded.estimator.random_state == 0


def test_pickle_joblib_and_skops(iris, tmp_path):
    joblib = pytest.importorskip("joblib")
    X, y = iris
    model = CoresetClassifier(sgd(), n_epochs=5, K=3, sampler="class_balanced", random_state=0).fit(X, y)
    joblib.dump(model, tmp_path / "model.joblib")
    for copy in (pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model.joblib")):
        np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
    skops = pytest.importorskip("skops.io")
    skops.dump(model, tmp_path / "model.skops")
    ours = skops.get_untrusted_types(file=tmp_path / "model.skops")
    assert all(name.startswith("tdds.") for name in ours), ours
    copy = skops.load(tmp_path / "model.skops", trusted=ours)
    np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(copy.sample_indices_, model.sample_indices_)


# ------------------------------------------------------------------------------------------------ what may go into it


def test_words_as_labels(iris):
    X, y = iris
    names = np.array(["setosa", "versicolor", "virginica"])
    model = CoresetClassifier(sgd(), n_epochs=5, K=3, method="el2n", sampler="class_balanced", random_state=0)
    by_number, by_name = clone(model).fit(X, y), clone(model).fit(X, names[y])
    np.testing.assert_array_equal(by_name.scores_, by_number.scores_)
    np.testing.assert_array_equal(by_name.classes_, names)
    np.testing.assert_array_equal(by_name.predict(X), names[by_number.predict(X)])


@pytest.mark.parametrize("container", ["list", "csr", "coo", "pandas", "polars"])
def test_rows_of_any_kind(container):
    X, y = load_iris(return_X_y=True)
    model = CoresetClassifier(MultinomialNB(), method="el2n", n_epochs=4, sampler="class_balanced", random_state=0)
    expected = clone(model).fit(X, y).predict_proba(X)
    names = ["a", "b", "c", "d"]
    if container in ("pandas", "polars"):
        package = pytest.importorskip(container)
    given = {
        "list": X.tolist,
        "csr": lambda: sp.csr_array(X),
        "coo": lambda: sp.coo_matrix(X),
        "pandas": lambda: package.DataFrame(X, columns=names, index=range(50, 200)),
        "polars": lambda: package.DataFrame(X, schema=names),
    }[container]()
    model.fit(given, y)
    np.testing.assert_allclose(model.predict_proba(given), expected, rtol=1e-6)
    assert model.n_features_in_ == 4
    if container in ("pandas", "polars"):
        assert model.feature_names_in_.tolist() == names
    else:
        assert not hasattr(model, "feature_names_in_")


def test_missing_values_reach_an_estimator_that_takes_them(iris):
    X, y = iris
    X = np.where(X > 1.5, np.nan, X)
    booster = HistGradientBoostingClassifier(max_iter=6)
    model = CoresetClassifier(booster, K=3, sampler="class_balanced").fit(X, y)
    assert model.score(X, y) > 0.9
    assert model.__sklearn_tags__().input_tags.allow_nan
    assert not CoresetClassifier(sgd()).__sklearn_tags__().input_tags.allow_nan
    with pytest.raises(ValueError, match="NaN"):
        CoresetClassifier(sgd()).fit(X, y)


# ---------------------------------------------------------------------------------------------------- what it refuses


@pytest.mark.parametrize(
    ("estimator", "text"),
    [
        (
            KNeighborsClassifier(),
            r"^KNeighborsClassifier has no partial_fit, staged_predict_proba or callbacks: its predictions cannot",
        ),
        (SGDClassifier(), r"^SGDClassifier has no predict_proba: .* SGDClassifier\(loss='log_loss'\) or MLPClassifier"),
        (make_pipeline(StandardScaler(), sgd()), r"^Pipeline has no partial_fit.*; of a Pipeline, wrap the last step"),
        (None, r"^NoneType has no predict_proba and no partial_fit, staged_predict_proba or callbacks: "),
    ],
    ids=["no epochs", "no probabilities", "pipeline", "None"],
)
def test_refuses_an_estimator_that_cannot_be_recorded(iris, estimator, text):
    with pytest.raises(TypeError, match=text):
        CoresetClassifier(estimator).fit(*iris)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"n_epochs": 5, "K": 10}, r"^n_epochs=5: K=10, but the trajectory holds 5 epochs"),
        ({"n_epochs": 0}, r"^The 'n_epochs' parameter of CoresetClassifier must be an int in the range \[1"),
        ({"n_epochs": 4, "K": 3, "T": 5}, r"^n_epochs=4: T=5, but the trajectory holds 4 epochs"),
        ({"n_epochs": 4, "K": 3, "T": 2}, r"^K=3 is larger than T=2"),
        ({"n_epochs": 4, "T": 5, "method": "random", "sampler": "stratified"}, r"^n_epochs=4: T=5, but the trajectory"),
        ({"pruning_rate": 1.0}, r"^The 'pruning_rate' parameter of CoresetClassifier must be a float in the range \[0"),
        ({"method": "best"}, r"^The 'method' parameter of CoresetClassifier must be a str among"),
        ({"method": "moderate"}, r"^method='moderate' needs features; fit a CoresetSelector, whose fit takes them"),
        ({"sampler": "best"}, r"^The 'sampler' parameter of CoresetClassifier must be a str among"),
        ({"weighting": "best"}, r"^The 'weighting' parameter of CoresetClassifier must be a str among"),
        ({"n_select": 151}, r"^n_select=151, but there are 150 samples; expected 1 to 150\.$"),
    ],
    ids=str,
)
def test_refuses_parameters_before_it_trains(iris, diary, options, text):
    with pytest.raises(ValueError, match=text):
        CoresetClassifier(diary, **options).fit(*iris)
    assert diary.epochs == []


def test_refuses_one_class_and_numbers_that_are_no_classes(iris):
    X, _ = iris
    with pytest.raises(ValueError, match=r"^y holds 1 class; expected 2 or more\.$"):
        CoresetClassifier(sgd()).fit(X, np.zeros(150))
    with pytest.raises(ValueError, match=r"^Unknown label type: continuous"):
        CoresetClassifier(sgd()).fit(X, np.linspace(0, 1, 150))


def test_a_run_that_diverges_is_named(iris):
    X, y = iris

    class Diverges(Unweighted):
        def predict_proba(self, X):
            return np.full((len(X), 3), np.nan)

    with pytest.raises(tdds.TrajectoryError, match=r"^Row of sample 0 at epoch 0 holds nan for class 0"):
        CoresetClassifier(Diverges()).fit(X, y)


def test_not_fitted(iris):
    for method in ("predict", "predict_proba"):
        with pytest.raises(NotFittedError, match=r"^This CoresetClassifier instance is not fitted yet"):
            getattr(CoresetClassifier(sgd()), method)(iris[0])


# ------------------------------------------------------------------------------------------------------ scikit-learn


def test_in_a_pipeline_and_a_grid_search():
    X, y = load_digits(n_class=4, return_X_y=True)
    model = CoresetClassifier(sgd(), n_epochs=6, sampler="class_balanced", random_state=0)
    grid = {
        "coresetclassifier__pruning_rate": [0.3, 0.8],
        "coresetclassifier__K": [3, 5],
        "coresetclassifier__method": ["tdds", "el2n"],
        "coresetclassifier__estimator__alpha": [1e-4],
    }
    search = GridSearchCV(make_pipeline(StandardScaler(), model), grid, cv=2, error_score="raise").fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert scores.shape == (8,)
    assert scores.min() > 0.8
    best = search.best_estimator_[-1]
    assert len(best.sample_indices_) == round(len(X) * (1 - best.pruning_rate))
    alone = clone(best).fit(StandardScaler().fit_transform(X), y)
    np.testing.assert_array_equal(alone.sample_indices_, best.sample_indices_)
    assert cross_val_score(best, X / 16, y, cv=2, error_score="raise").shape == (2,)


def test_representations():
    model = CoresetClassifier(sgd(), K=5)
    assert repr(model) == "CoresetClassifier(K=5, estimator=SGDClassifier(loss='log_loss', random_state=0))"
    html = model._repr_html_()
    assert "CoresetClassifier" in html
    assert "SGDClassifier" in html


CHECKED = [
    CoresetClassifier(SGDClassifier(loss="log_loss")),
    CoresetClassifier(SGDClassifier(loss="log_loss"), K=3, n_epochs=6, sampler="class_balanced"),
    CoresetClassifier(GradientBoostingClassifier(n_estimators=5), K=3, sampler="class_balanced"),
    CoresetClassifier(GaussianNB(), method="el2n", n_epochs=2, sampler="class_balanced"),
]


@pytest.mark.filterwarnings(LOST)
@parametrize_with_checks(CHECKED)
def test_scikit_learn(estimator, check):
    check(estimator)
