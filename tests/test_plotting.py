"""The pictures: rendered, and what their artists hold held against what it should be."""

import json
from itertools import pairwise

import equations
import numpy as np
import pytest
from scipy import stats

import tdds
from tdds.scores import TDDS

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

from tdds import plotting  # noqa: E402

N, T, C = 120, 12, 5
RNG = np.random.default_rng(0)
PROBS = equations.softmax(RNG.normal(size=(N, T, C)).cumsum(axis=1))
LABELS = RNG.integers(C, size=N)
NAMES = ["ant", "bee", "cow", "dog", "elk"]


@pytest.fixture(autouse=True)
def rendered_and_closed():
    """Whatever a test has drawn is rendered, so that a warning of the layout fails it."""
    yield
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()
    plt.close("all")


def heights(bars):
    return np.array([bar.get_height() for bar in bars])


def test_scores_and_threshold_of_a_selector():
    selector = tdds.TDDSSelector(K=5, pruning_rate=0.7).fit(PROBS)
    display = plotting.ScoreDisplay.from_estimator(selector)
    assert display.ax_.figure is display.figure_
    assert heights(display.bars_).sum() == N
    assert heights(display.kept_bars_).sum() == 36
    assert (heights(display.kept_bars_) <= heights(display.bars_)).all()
    assert display.line_.get_xdata()[0] == pytest.approx(sorted(equations.tdds(PROBS, K=5))[-36], rel=1e-6)
    assert "tdds" in display.ax_.get_xlabel()
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert {f"all {N}", "kept 36"} < set(legend)


@pytest.mark.parametrize(
    ("scores", "scale"),
    [
        (np.r_[np.zeros(30), RNG.lognormal(sigma=3, size=900)], "log"),
        (RNG.normal(size=900), "linear"),
        (RNG.poisson(1.0, size=900), "linear"),
        (np.zeros(50), "linear"),
        (np.where(np.arange(50) % 2, 0.3, np.nextafter(0.3, 1)), "linear"),
        (np.where(np.arange(50) % 2, 3e20, np.nextafter(3e20, 0)), "linear"),
    ],
    ids=["heavy tail", "normal", "counts", "constant", "a hair apart", "large and a hair apart"],
)
def test_axis_is_logarithmic_where_the_scores_are_heavy_tailed(scores, scale):
    display = plotting.ScoreDisplay.from_scores(scores, pruning_rate=0.9)
    assert display.ax_.get_xscale() == scale
    assert heights(display.bars_).sum() == len(scores)
    assert heights(display.kept_bars_).sum() == len(scores) - np.floor(0.9 * len(scores) + 1e-9)


def test_counts_have_a_bar_each():
    scores = np.array([0, 0, 0, 1, 3, 3])
    display = plotting.ScoreDisplay.from_scores(scores)
    assert heights(display.bars_).tolist() == [3, 1, 0, 2]
    assert [bar.get_x() + bar.get_width() / 2 for bar in display.bars_] == [0, 1, 2, 3]
    assert display.kept_bars_ is None
    assert display.line_ is None


def test_the_smallest_are_kept_on_the_left():
    scores = np.linspace(-1, 1, 200)
    display = plotting.ScoreDisplay.from_scores(scores, pruning_rate=0.75, keeps="smallest")
    assert display.line_.get_xdata()[0] == scores[49]
    assert heights(display.kept_bars_)[30:].sum() == 0


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_scores_that_cannot_be_drawn(score):
    with pytest.raises(ValueError, match=rf"^The score of sample 2 is {score}; expected finite numbers\.$"):
        plotting.ScoreDisplay.from_scores([0.1, 0.2, score], pruning_rate=0.5)


def test_the_threshold_is_drawn_where_it_parts_the_scores():
    features = RNG.normal(size=(N, 3))
    for method, sampler in [("el2n", "stratified"), ("el2n", "class_balanced"), ("moderate", "top")]:
        selector = tdds.CoresetSelector(method, sampler, random_state=0).fit(PROBS, LABELS, features=features)
        assert plotting.ScoreDisplay.from_estimator(selector).line_ is None
    display = plotting.ScoreDisplay.from_scores(selector.scores_, pruning_rate=0.5, keeps="median", y=LABELS)
    assert display.line_ is None
    assert sorted(display.indices) == selector.sample_indices_.tolist()


def test_what_a_classifier_pruned():
    from sklearn.linear_model import SGDClassifier

    X = RNG.normal(size=(N, 3))
    model = tdds.CoresetClassifier(
        SGDClassifier(loss="log_loss"), n_epochs=6, K=4, sampler="class_balanced", random_state=0
    ).fit(X, LABELS)
    display = plotting.ScoreDisplay.from_estimator(model)
    assert heights(display.kept_bars_).sum() == len(model.sample_indices_)
    np.testing.assert_array_equal(plotting.DataMapDisplay.from_estimator(model, PROBS, LABELS).scores, model.scores_)
    assert plotting.ClassBalanceDisplay.from_estimator(model, LABELS).kept.sum() == len(model.sample_indices_)
    story = plotting.SampleStoryDisplay.from_estimator(model, PROBS, 17).story
    np.testing.assert_allclose(story.averages[-1], equations.tdds(PROBS[17:18], K=4)[0], rtol=1e-6)
    assert plotting.OverlapDisplay.from_estimator(model, PROBS, T=[T], K=[4]).overlaps.tolist() == [[1]]


def test_a_short_trajectory_with_axes_of_its_own():
    logged = np.log(PROBS[:, :7]).transpose(1, 0, 2)
    said = {"axes": "TNC", "kind": "log_probs", "missing": "error"}
    story = plotting.SampleStoryDisplay.from_trajectory(logged, 17, **said).story
    np.testing.assert_allclose(story.averages, equations.tdds(PROBS[17:18, :7], K=7), rtol=1e-6)
    overlap = plotting.OverlapDisplay.from_trajectory(logged, T=np.arange(5, 8, 2), K=np.array([5, 7]), **said)
    assert overlap.overlaps.shape == (2, 2)
    assert overlap.overlaps[1, 1] == 1
    assert overlap.title == "shared with T=7, K=7, 50% removed"


def test_story_of_a_sample_ends_in_its_score():
    display = plotting.SampleStoryDisplay.from_trajectory(PROBS, 17, y=LABELS, score=TDDS(10, 5), class_names=NAMES)
    probabilities, changes, windows = display.axes_
    own = next(line for line in probabilities.lines if line.get_label() == NAMES[LABELS[17]])
    np.testing.assert_allclose(own.get_ydata(), PROBS[17, :10, LABELS[17]])
    np.testing.assert_allclose(
        heights(display.diff_bars_), [abs(equations.kl_difference(p, q)) for p, q in pairwise(PROBS[17, :10])]
    )
    assert display.diff_bars_[0].get_x() + 0.4 == pytest.approx(2)  # the first change arrives at epoch 2
    expected = [equations.tdds(PROBS[17:18], T=t, K=5)[0] for t in range(5, 11)]
    np.testing.assert_allclose(display.average_.get_ydata(), expected, rtol=1e-6)
    assert display.average_.get_xdata().tolist() == [5, 6, 7, 8, 9, 10]
    assert len(display.window_bars_) == 6
    assert probabilities.get_title(loc="left") == f"Sample 17, {NAMES[LABELS[17]]}: score {expected[-1]:.3g}"
    assert (changes.get_ylabel(), windows.get_xlabel()) == ("change", "epoch")


def test_story_of_losses_and_of_distances():
    losses = RNG.random(size=(N, T))
    display = plotting.SampleStoryDisplay.from_trajectory(losses, 3, score=TDDS(K=4))
    np.testing.assert_allclose(display.axes_[0].lines[0].get_ydata(), losses[3])
    np.testing.assert_allclose(heights(display.diff_bars_), np.abs(np.diff(losses[3])))
    display = plotting.SampleStoryDisplay.from_trajectory(PROBS, 3, y=LABELS, score=TDDS(K=4, loss="el2n"))
    assert len(display.diff_bars_) == T
    np.testing.assert_allclose(
        display.average_.get_ydata()[-1], equations.tdds(PROBS, LABELS, K=4, loss="el2n")[3], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("source", "sample", "score", "message"),
    [
        (PROBS, N, TDDS(K=5), f"sample={N} is not there: the trajectory holds samples 0 to {N - 1}"),
        (PROBS, -1, TDDS(K=5), "sample=-1 is too small"),
        (PROBS, 0, TDDS(K=5, loss="ce"), "needs labels"),
        (list(PROBS.transpose(1, 0, 2)), 0, TDDS(K=5), "is a stream"),
        (PROBS * 2, 7, TDDS(K=5), "Row of sample 7 at epoch 0 sums to 2"),
    ],
)
def test_story_that_cannot_be_told(source, sample, score, message):
    with pytest.raises(ValueError, match=message):
        plotting.SampleStoryDisplay.from_trajectory(source, sample, score=score)


def test_story_needs_a_subplot():
    ax = plt.figure().add_axes((0.1, 0.1, 0.8, 0.8))
    with pytest.raises(ValueError, match="one of a figure's subplots"):
        plotting.SampleStoryDisplay.from_trajectory(PROBS, 0, score=TDDS(K=5), ax=ax)


def test_what_a_selector_looked_at():
    """The displays of a trajectory take parameters, axes and kind from a selector."""
    selector = tdds.TDDSSelector(10, 5, pruning_rate=0.75, axes="TNC", kind="log_probs")
    logged = np.log(PROBS).transpose(1, 0, 2)
    story = plotting.SampleStoryDisplay.from_estimator(selector, logged, 17)
    assert story.story.averages[-1] == pytest.approx(equations.tdds(PROBS[17:18], T=10, K=5)[0], rel=1e-6)
    overlap = plotting.OverlapDisplay.from_estimator(selector, logged, T=[8, 10], K=[5])
    own, other = (set(equations.top(equations.tdds(PROBS, T=t, K=5), 0.75)) for t in (10, 8))
    np.testing.assert_allclose(overlap.overlaps, [[len(own & other) / 30], [1]])
    seen = plotting.DataMapDisplay.from_estimator(selector.fit(logged), logged, LABELS)
    expected = np.column_stack([f(PROBS[:, :10], LABELS) for f in (equations.variability, equations.confidence)])
    np.testing.assert_allclose(seen.points_.get_offsets(), expected[seen.shown_], rtol=1e-6)
    np.testing.assert_array_equal(seen.points_.get_array(), selector.scores_[seen.shown_])
    with pytest.raises(ValueError, match=r"^The trajectory holds 119 samples, the estimator was fitted to 120; pass"):
        plotting.DataMapDisplay.from_estimator(selector, logged[:, 1:], LABELS[1:])
    with pytest.raises(TypeError, match=r"scores by aum, which has no windows to show; expected tdds"):
        plotting.SampleStoryDisplay.from_estimator(tdds.CoresetSelector("aum"), PROBS, 17)


def luminance(colour):
    channels = np.array(matplotlib.colors.to_rgb(colour))
    return np.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4) @ [
        0.2126,
        0.7152,
        0.0722,
    ]


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_lines_and_notes_are_legible_on_light_and_dark_grounds(style):
    """Contrast as WCAG 2 asks: 3 for lines, 4.5 for text."""
    from tdds.plotting.style import BLUE, LINES, RED, ink

    with plt.style.context(style):
        ground = luminance(plt.rcParams["figure.facecolor"])
        for colour, least in [(ink(), 4.5), *((colour, 3) for colour, _ in LINES), (BLUE, 3), (RED, 3)]:
            light, dark = sorted([luminance(colour), ground], reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= least, colour
        display = plotting.DataMapDisplay.from_scores(RNG.random(N), RNG.random(N), np.arange(N))
        lowest, highest = (luminance(display.points_.to_rgba(value)[:3]) for value in (0, N))
        assert abs(highest - ground) > abs(lowest - ground)


def test_numbers_in_cells_are_legible():
    display = plotting.OverlapDisplay(np.linspace(0, 1, 101).reshape(1, -1), "a", range(101)).plot()
    for value, text in zip(display.overlaps[0], display.texts_, strict=True):
        ground, ink = luminance(display.image_.cmap(value)[:3]), luminance(text.get_color())
        light, dark = max(ground, ink), min(ground, ink)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, value


def test_map_shows_at_most_so_many_samples_the_highest_on_top():
    display = plotting.DataMapDisplay.from_trajectory(PROBS, LABELS, K=5, n_shown=50)
    shown = display.shown_
    assert len(set(shown.tolist())) == 50
    expected = np.column_stack([equations.variability(PROBS, LABELS), equations.confidence(PROBS, LABELS)])[shown]
    np.testing.assert_allclose(display.points_.get_offsets(), expected, rtol=1e-6)
    colours = np.asarray(display.points_.get_array())
    np.testing.assert_allclose(colours, equations.tdds(PROBS, K=5)[shown], rtol=1e-5)
    assert (np.diff(colours) >= 0).all()
    assert display.ax_.get_title(loc="right") == f"50 of {N} samples"


def test_balance_sorts_the_classes_by_what_the_coreset_makes_of_them():
    y = np.repeat([0, 1, 3], [50, 30, 20])  # no sample of class 2
    kept = np.r_[0:5, 50:55, 80:90]
    display = plotting.ClassBalanceDisplay.from_indices(y, kept, class_names=NAMES)
    assert display.classes_.tolist() == [0, 1, 3]
    assert display.full_.get_xdata().tolist() == [0.5, 0.3, 0.2]
    assert display.kept_.get_xdata().tolist() == [0.25, 0.25, 0.5]
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == ["ant", "bee", "dog"]


def test_balance_of_many_classes_shows_the_ends():
    y = np.arange(1000) % 100
    keep = np.flatnonzero(RNG.random(1000) < y / 100)
    display = plotting.ClassBalanceDisplay.from_indices(y, keep)
    shares = np.bincount(y[keep], minlength=100)
    assert len(display.classes_) == 30
    assert shares[display.classes_[:15]].max() <= np.sort(shares)[14]
    assert shares[display.classes_[15:]].min() >= np.sort(shares)[-15]
    assert "70 classes between" in [text.get_text() for text in display.ax_.texts]


@pytest.mark.parametrize("max_classes", [1, 2, 3, 5, 9])
def test_balance_shows_no_more_classes_than_asked_for(max_classes):
    display = plotting.ClassBalanceDisplay(np.arange(1, 6), np.full(5, 9), max_classes=max_classes).plot()
    assert len(display.classes_) == min(max_classes, 5)
    assert display.classes_[-1] == 4
    notes = [text.get_text() for text in display.ax_.texts]
    assert notes == ([f"{5 - max_classes} classes between"] if max_classes < 5 else [])
    drawn = plotting.ClassBalanceDisplay.from_indices(LABELS, [0], max_classes=max_classes)
    assert len(drawn.classes_) == min(max_classes, 5)


@pytest.mark.parametrize(
    ("draw", "text"),
    [
        (lambda: plotting.ClassBalanceDisplay([1], [2], max_classes=0), r"^max_classes=0 is too small"),
        (
            lambda: plotting.ClassBalanceDisplay.from_indices(LABELS, [0], class_names=NAMES[:2]),
            r"^2 class_names for 5 classes; expected one a class\.$",
        ),
        (
            lambda: plotting.SampleStoryDisplay.from_trajectory(PROBS, 0, class_names=NAMES[:2]),
            r"^2 class_names for 5 classes; expected one a class\.$",
        ),
        (
            lambda: plotting.ClassBalanceDisplay.from_indices(LABELS, []),
            r"^indices must be one or more integers from 0 to 119\.$",
        ),
        (
            lambda: plotting.ClassBalanceDisplay.from_indices(LABELS, [N]),
            r"^indices must be one or more integers from 0 to 119\.$",
        ),
        (
            lambda: plotting.ClassBalanceDisplay.from_indices(LABELS, np.ones(N + 1, dtype=bool)),
            r"^indices must be one or more integers from 0 to 119\.$",
        ),
        (
            lambda: plotting.DataMapDisplay.from_scores(np.ones(5), np.ones(5), np.ones(9)),
            r"^confidence, variability and scores have shapes \[\(5,\), \(5,\), \(9,\)\]; expected",
        ),
        (
            lambda: plotting.DataMapDisplay.from_scores(*np.ones((3, 5)), n_shown=0),
            r"^n_shown=0 is too small",
        ),
        (
            lambda: plotting.DataMapDisplay.from_trajectory(PROBS, LABELS, T=[10, 12]),
            r"^A map shows one score: confidence:T=10, .* have no confidence; pass one value a parameter",
        ),
        (
            lambda: plotting.OverlapDisplay.from_trajectory(iter(PROBS.swapaxes(0, 1)), T=[10]),
            r"does not know its number of epochs; pass T and K\.$",
        ),
    ],
)
def test_what_cannot_be_drawn(draw, text):
    with pytest.raises(ValueError, match=text):
        draw()


def test_balance_of_a_selector():
    selector = tdds.TDDSSelector(K=5, pruning_rate=0.7).fit(PROBS)
    display = plotting.ClassBalanceDisplay.from_estimator(selector, LABELS)
    expected = np.bincount(LABELS[selector.sample_indices_], minlength=C)[display.classes_] / 36
    np.testing.assert_allclose(display.kept_.get_xdata(), expected)
    with pytest.raises(ValueError, match="3 labels for 120 samples"):
        plotting.ClassBalanceDisplay.from_estimator(selector, [0, 1, 2])


def test_overlap_over_T_and_K():
    display = plotting.OverlapDisplay.from_trajectory(PROBS, T=[4, 8], K=[3, 5], score=TDDS(8, 5), pruning_rate=0.75)
    own = set(equations.top(equations.tdds(PROBS, T=8, K=5), 0.75))
    expected = [
        [
            len(own & set(equations.top(equations.tdds(PROBS, T=t, K=k), 0.75))) / 30 if k <= t else np.nan
            for k in (3, 5)
        ]
        for t in (4, 8)
    ]
    np.testing.assert_array_equal(np.ma.filled(display.image_.get_array(), np.nan), expected)
    assert expected[1][1] == 1
    assert [text.get_text() for text in display.texts_] == [
        f"{100 * value:.0f}" for value in np.ravel(expected) if np.isfinite(value)
    ]
    assert (display.ax_.get_ylabel(), display.ax_.get_xlabel()) == ("T", "K")


def test_overlap_of_a_selector_that_keeps_a_number():
    selector = tdds.TDDSSelector(K=5, n_select=6)
    display = plotting.OverlapDisplay.from_estimator(selector, PROBS, T=[8, T], K=[5])
    expected = plotting.OverlapDisplay.from_trajectory(PROBS, T=[8, T], K=[5], score=TDDS(K=5), pruning_rate=1 - 6 / N)
    np.testing.assert_array_equal(display.overlaps, expected.overlaps)
    assert display.ax_.get_title(loc="left").endswith("95% removed")


def test_overlap_chooses_values_that_fit():
    display = plotting.OverlapDisplay.from_trajectory(PROBS, score=TDDS(K=5))
    assert list(display.rows) == [4, 6, 8, 10, 12]
    assert list(display.columns) == [3, 5, 10]


def test_overlap_of_methods():
    rng = np.random.default_rng(0)
    probs, y = rng.dirichlet(np.ones(4), size=(60, 12)), rng.integers(4, size=60)
    comparison = tdds.compare_scores(probs, y, method=["tdds", "forgetting", "aum"], pruning_rate=0.9)
    display = plotting.OverlapDisplay.from_comparison(comparison, 0.9)
    np.testing.assert_array_equal(display.image_.get_array(), comparison.overlaps[0.9])
    assert display.image_.get_array()[0, 0] == 1
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == list(comparison.names)
    with pytest.raises(ValueError, match=r"pruning_rate=0.5 was not compared; expected one of 0.9"):
        plotting.OverlapDisplay.from_comparison(comparison, 0.5)


def test_accuracy_with_intervals_from_a_file(tmp_path):
    values = {
        ("tdds", 0.5): [0.9, 0.92, 0.91],
        ("tdds", 0.9): [0.7, 0.75, 0.74],
        ("random", 0.5): [0.8],
        ("all", 0): [1],
    }
    rows = [
        {"method": method, "pruning_rate": rate, "seed": seed, "accuracy": accuracy}
        for (method, rate), accuracies in values.items()
        for seed, accuracy in enumerate(accuracies)
    ]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    display = plotting.AccuracyDisplay.from_results(tmp_path / "results.jsonl")
    assert set(display.lines_) == {"tdds", "random"}
    line, _, (bars,) = display.lines_["tdds"].lines
    np.testing.assert_allclose(line.get_ydata(), [0.91, 0.73])
    np.testing.assert_allclose(line.get_xdata(), [0.5, 0.9], atol=0.01)
    for segment, accuracies in zip(bars.get_segments(), (values["tdds", 0.5], values["tdds", 0.9]), strict=True):
        interval = stats.t.interval(0.95, 2, loc=np.mean(accuracies), scale=np.std(accuracies, ddof=1) / np.sqrt(3))
        np.testing.assert_allclose(segment[:, 1], interval)
    assert display.lines_["random"].lines[2][0].get_segments()[0].size == 0  # one seed has no interval
    assert display.ax_.lines[0].get_ydata()[0] == 1


def test_a_method_with_several_samplers_has_a_line_for_each():
    rows = [
        {"method": method, "sampler": sampler, "pruning_rate": 0.9, "seed": seed, "accuracy": accuracy + seed / 100}
        for method, sampler, accuracy in [("tdds", "top", 0.6), ("el2n", "top", 0.3), ("el2n", "stratified", 0.5)]
        for seed in range(2)
    ]
    display = plotting.AccuracyDisplay.from_results(rows)
    assert {name: line[0].get_ydata().tolist() for name, line in display.lines_.items()} == {
        "tdds": [pytest.approx(0.605)],
        "el2n, top": [pytest.approx(0.305)],
        "el2n, stratified": [pytest.approx(0.505)],
    }
    rows += [row | {"weighting": "root", "accuracy": 0.7} for row in rows if row["method"] == "tdds"]
    with pytest.raises(ValueError, match=r"Row 7 .* second one of tdds, top, 0.9 removed, seed 0; .*, or by="):
        plotting.AccuracyDisplay.from_results(rows)
    lines = plotting.AccuracyDisplay.from_results(rows, by=["sampler", "weighting"]).lines_
    assert list(lines) == ["tdds, no weighting", "el2n, top", "el2n, stratified", "tdds, root"]
    assert lines["tdds, root"][0].get_ydata().tolist() == [0.7]


ROW = {"method": "tdds", "pruning_rate": 0.5, "seed": 0, "accuracy": 0.9}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "hold no row"),
        (
            [{"method": "tdds", "pruning_rate": 0.5, "seed": 0}],
            "Row 1 of the results: expected .* KeyError\\('accuracy'\\)",
        ),
        ([ROW, "{"], "Row 2 of the results: expected"),
        (
            [ROW, ROW | {"dataset": "other"}],
            "Row 2 of the results is a second one of tdds, no sampler, 0.5 removed, seed 0",
        ),
    ],
)
def test_results_that_are_none(rows, message):
    with pytest.raises(ValueError, match=message):
        plotting.AccuracyDisplay.from_results(rows)


def test_every_display_draws_on_given_axes_and_again():
    figure, grid = plt.subplots(2, 3, figsize=(11, 8), layout="constrained")
    axes = iter(grid.flat)
    scores = equations.tdds(PROBS, K=5)
    displays = [
        plotting.ScoreDisplay.from_scores(scores, ax=next(axes)),
        plotting.DataMapDisplay.from_scores(RNG.random(N), RNG.random(N), scores, ax=next(axes)),
        plotting.ClassBalanceDisplay.from_indices(LABELS, [0, 1, 2], ax=next(axes)),
        plotting.OverlapDisplay(np.eye(2), "ab", "ab").plot(next(axes)),
        plotting.AccuracyDisplay({"tdds": {0.5: [0.9]}}).plot(next(axes)),
        plotting.SampleStoryDisplay.from_trajectory(PROBS, 0, score=TDDS(K=5), ax=next(axes)),
    ]
    assert all(display.figure_ is figure for display in displays)
    for display in displays:
        assert display.plot() is display
        assert display.figure_ is not figure
        plt.close(display.figure_)
