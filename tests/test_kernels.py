"""Every kernel against the judge, equations.py, compiled, interpreted and bounds-checked."""

import itertools
import os
from itertools import pairwise
from pathlib import Path

import equations
import numpy as np
import pytest
from checks import run_python
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import tdds
from tdds import kernels, store
from tdds.scores import KLDifferences

if os.environ.get("NUMBA_DISABLE_JIT") == "1":  # NumPy's scalars warn of what a compiled kernel says with nan
    pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
relaxed = settings(deadline=None, max_examples=40, derandomize=True, suppress_health_check=list(HealthCheck))

# What the judge itself gets wrong: it takes the difference of two logarithms of at most 18.4, each rounded to within
# 2e-15, and weighs them by probabilities that sum to 1. Differences smaller than this are noise in float64.
JUDGE = 4e-15

SPECIES = ["random", "sharp", "constant", "one-hot", "tiny", "zeros", "step 1e-1", "step 1e-3", "step 1e-5"]


def trajectory(species, shape, dtype, seed=0):
    """Probabilities (n_samples, n_epochs, n_classes) as a training run may leave them, or worse."""
    rng = np.random.default_rng(seed)
    n_samples, n_epochs, n_classes = shape
    if species == "random":
        probs = rng.dirichlet(np.ones(n_classes), size=(n_samples, n_epochs))
    elif species == "sharp":
        probs = equations.softmax(8 * rng.standard_normal(shape))
    elif species == "constant":
        probs = np.repeat(equations.softmax(rng.standard_normal((n_samples, 1, n_classes))), n_epochs, axis=1)
    elif species == "one-hot":
        probs = np.eye(n_classes)[rng.integers(n_classes, size=(n_samples, n_epochs))]
    elif species == "tiny":  # 1e-30 and subnormals of either type, one class holds the rest
        probs = rng.choice([0, 1e-30, 1e-42, 5e-324, 3e-310, 1e-9], size=shape)
        probs[..., 0] = 1 - probs[..., 1:].sum(axis=-1)
    elif species == "zeros":
        probs = rng.dirichlet(np.ones(n_classes), size=(n_samples, n_epochs)) * (rng.random(shape) < 0.5)
        probs[..., 0] += 1 - probs.sum(axis=-1)
    else:  # a converging run: each epoch moves the logits by a relative step
        start = 3 * rng.standard_normal((n_samples, 1, n_classes))
        steps = float(species.split()[1]) * rng.standard_normal(shape)
        probs = equations.softmax(start + np.cumsum(steps, axis=1))
    return probs.astype(dtype)


def row_sums(probs):
    out = np.empty(probs.shape[:2])
    kernels.row_sums(probs, out)
    return out


def kl_differences(probs, inner_magnitude=False, single=False):
    out = np.full((probs.shape[0], probs.shape[1] - 1), np.nan)
    kernels.kl_differences(probs, single, inner_magnitude, out)
    return out


def ce_differences(probs, labels):
    out = np.full((probs.shape[0], probs.shape[1] - 1), np.nan)
    kernels.ce_differences(probs, labels, out)
    return out


def windowed_variance(diffs, K, root=False):
    out = np.full((len(diffs), diffs.shape[1] - (K - 1) + 1), np.nan)
    kernels.windowed_variance(diffs, root, out)
    return out


def moving_average(variances, gains):
    out = np.zeros(len(variances))
    kernels.moving_average(variances, gains, out)
    return out


def softmax(logits):
    out = np.full(logits.shape, np.inf)
    kernels.softmax(logits, out)
    return out


def judged_kl(probs, inner_magnitude=False):
    pairs = [pairwise(sample) for sample in np.float64(probs)]
    return np.array([[equations.kl_difference(p, q, inner_magnitude) for p, q in sample] for sample in pairs])


dtypes = st.sampled_from(["float32", "float64"])
species = st.sampled_from(SPECIES)
n_classes = st.sampled_from([1, 2, 3, 7, 8, 9, 10, 64, 100, 1000])
shapes = st.tuples(st.integers(1, 5), st.integers(2, 9), n_classes)
seeds = st.integers(0, 2**32 - 1)


# Eq. 10


@relaxed
@given(species=species, shape=shapes, dtype=dtypes, inner=st.booleans(), seed=seeds)
@example(species="step 1e-5", shape=(3, 9, 1000), dtype="float32", inner=False, seed=1)
@example(species="tiny", shape=(3, 9, 1000), dtype="float32", inner=False, seed=1)
@example(species="one-hot", shape=(2, 3, 5000), dtype="float32", inner=False, seed=1)
@example(species="random", shape=(0, 4, 3), dtype="float64", inner=False, seed=1)
def test_kl_differences_equal_the_equation(species, shape, dtype, inner, seed):
    probs = trajectory(species, shape, dtype, seed)
    expected = judged_kl(probs, inner).reshape(shape[0], shape[1] - 1)
    np.testing.assert_allclose(kl_differences(probs, inner), expected, rtol=1e-9, atol=JUDGE)


@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize("n_classes", [2, 10, 100, 1000])
@pytest.mark.parametrize("species", ["random", "step 1", "step 1e-1", "step 1e-2", "step 1e-3"])
def test_kl_differences_in_single_precision_keep_their_relative_accuracy(species, n_classes, inner):
    probs = trajectory(species, (200, 9, n_classes), "float32")
    expected = judged_kl(probs, inner).reshape(200, 8)
    np.testing.assert_allclose(kl_differences(probs, inner, single=True), expected, rtol=3e-6, atol=1e-11)


@pytest.mark.parametrize("formulation", ["paper", "reference"])
@pytest.mark.parametrize("species", ["random", "step 1", "step 1e-1", "step 1e-2"])
def test_scores_of_float32_from_K_8_on_agree_to_1e_5(species, formulation):
    """Which `TDDS` asks for single precision at; with fewer differences in a window they may be alike by chance."""
    probs = trajectory(species, (5_000, 12, 10), "float32")
    expected = equations.tdds(probs, K=8, formulation=formulation)
    np.testing.assert_allclose(tdds.score_trajectory(probs, K=8, formulation=formulation), expected, rtol=1e-5)


@pytest.mark.parametrize(("inner", "single"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_classes", [1, 2, 10, 100, 1000, 3001])
def test_kl_differences_of_a_repeated_row_are_exactly_zero(n_classes, dtype, inner, single):
    for name in ("constant", "tiny", "zeros"):
        probs = np.repeat(trajectory(name, (3, 1, n_classes), dtype), 5, axis=1)
        assert not kl_differences(probs, inner, single and dtype == "float32").any()


def test_kl_differences_of_every_pair_of_magnitudes():
    """From any power of two to any other, where the exponents part: nothing jumps."""
    values = np.concatenate([[0, 1], 2.0 ** -np.arange(1, 40, 0.17), 2.0 ** -np.arange(0, 35)])
    p, q = (grid.ravel() for grid in np.meshgrid(values, values))
    for dtype in ("float32", "float64"):
        probs = np.stack([np.stack([p, 1 - p], 1), np.stack([q, 1 - q], 1)], axis=1).astype(dtype)
        expected = judged_kl(probs)
        np.testing.assert_allclose(kl_differences(probs), expected, rtol=1e-10, atol=JUDGE)
        np.testing.assert_allclose(
            kl_differences(probs, inner_magnitude=True), judged_kl(probs, True), rtol=1e-12, atol=JUDGE
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_classes", [1, 2, 7, 10, 33, 100, 1000])
def test_kl_differences_do_not_depend_on_the_block(n_classes, dtype):
    """Samples and epochs beside a row, and its place in the block, change no bit of its difference."""
    probs = trajectory("sharp", (23, 6, n_classes), dtype)
    whole = kl_differences(probs)
    for rows in (1, 2, 5, 22):
        parts = [kl_differences(probs[start : start + rows]) for start in range(0, len(probs), rows)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    for t in range(5):
        pair = np.ascontiguousarray(probs[:, t : t + 2])
        np.testing.assert_array_equal(kl_differences(pair)[:, 0], whole[:, t])
    order = np.random.default_rng(1).permutation(len(probs))
    np.testing.assert_array_equal(kl_differences(probs[order]), whole[order])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1.0, 3e38])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kl_differences_survive_what_is_no_distribution(bad, dtype):
    probs = trajectory("random", (4, 5, 10), dtype)
    clean = kl_differences(probs)
    probs[2, 1, 3] = bad
    np.testing.assert_array_equal(kl_differences(probs)[[0, 1, 3]], clean[[0, 1, 3]])


@pytest.mark.parametrize("n_classes", [1, 10, 1000])
def test_kl_differences_of_one_epoch_are_none(n_classes):
    assert kl_differences(trajectory("random", (3, 1, n_classes), "float32")).shape == (3, 0)


def test_kl_differences_take_read_only_arrays():
    probs = trajectory("random", (3, 4, 10), "float32")
    expected = kl_differences(probs)
    probs.flags.writeable = False
    np.testing.assert_array_equal(kl_differences(probs), expected)


# Eq. 9


@relaxed
@given(species=species, shape=shapes, dtype=dtypes, seed=seeds)
def test_ce_differences_equal_the_equation(species, shape, dtype, seed):
    probs = trajectory(species, shape, dtype, seed)
    labels = np.random.default_rng(seed).integers(shape[2], size=shape[0])
    expected = [
        [equations.ce_difference(p, q, y) for p, q in pairwise(sample)]
        for sample, y in zip(np.float64(probs), labels, strict=True)
    ]
    np.testing.assert_allclose(ce_differences(probs, labels), expected, rtol=1e-12, atol=JUDGE)


# Eq. 11


@relaxed
@given(n_samples=st.integers(1, 5), n_diffs=st.integers(2, 30), data=st.data(), seed=seeds)
def test_windowed_variance_equals_the_equation(n_samples, n_diffs, data, seed):
    K = data.draw(st.integers(3, n_diffs + 1))
    rng = np.random.default_rng(seed)
    diffs = np.abs(rng.standard_normal((n_samples, n_diffs))) * 10.0 ** rng.integers(-12, 2, size=(n_samples, 1))
    for root in (False, True):
        expected = [equations.windowed_variance(row, K, root) for row in diffs]
        np.testing.assert_allclose(windowed_variance(diffs, K, root), expected, rtol=1e-12)


@relaxed
@given(
    value=st.floats(-1e150, 1e150), n_diffs=st.integers(2, 20), jump=st.floats(-1e150, 1e150), K=st.sampled_from([3, 5])
)
def test_windowed_variance_is_zero_on_constant_windows_and_never_negative(value, n_diffs, jump, K):
    diffs = np.full((1, max(n_diffs, K - 1)), value)
    assert not windowed_variance(diffs, K).any()
    diffs[0, -1] = jump
    variances = windowed_variance(diffs, K)
    assert (variances >= 0).all()
    assert not variances[0, :-1].any()


# Eq. 12


@relaxed
@given(n_samples=st.integers(1, 5), n_windows=st.integers(1, 30), beta=st.floats(0, 1), seed=seeds)
@example(n_samples=2, n_windows=5, beta=0.0, seed=1)
@example(n_samples=2, n_windows=5, beta=1.0, seed=1)
def test_moving_average_equals_the_equation(n_samples, n_windows, beta, seed):
    variances = np.random.default_rng(seed).random((n_samples, n_windows))
    gains = np.full(n_windows, beta) if beta else 1 / np.arange(1, n_windows + 1)
    expected = [equations.moving_average(row, beta) for row in variances]
    np.testing.assert_allclose(moving_average(variances, gains), expected, rtol=1e-12)


def test_moving_average_goes_on_where_it_stood():
    variances, gains = np.random.default_rng(0).random((3, 8)), 1 / np.arange(1, 9)
    out = np.zeros(3)
    for low, high in ((0, 3), (3, 3), (3, 8)):
        kernels.moving_average(np.ascontiguousarray(variances[:, low:high]), gains[low:high], out)
    np.testing.assert_allclose(out, variances.mean(axis=1), rtol=1e-12)


# Eq. 10 to 12 together


@pytest.mark.parametrize("formulation", ["paper", "reference", "datacull"])
@relaxed
@given(species=species, shape=st.tuples(st.integers(1, 3), st.integers(3, 12), n_classes), data=st.data(), seed=seeds)
def test_scores_equal_the_equations(formulation, species, shape, data, seed):
    K = data.draw(st.integers(3, shape[1]))
    beta = data.draw(st.sampled_from([0.0, 0.3, 0.9, 1.0]))
    inner, root = {"paper": (False, False), "reference": (True, True), "datacull": (True, False)}[formulation]
    for dtype in ("float32", "float64"):
        probs = trajectory(species, shape, dtype, seed)
        variances = windowed_variance(np.abs(kl_differences(probs, inner)), K, root)
        gains = np.full(variances.shape[1], beta) if beta else 1 / np.arange(1, variances.shape[1] + 1)
        expected = equations.tdds(probs, K=K, beta=beta, formulation=formulation)
        # The judge's noise in K - 1 differences, squared and mixed with what they are; the root takes it as it is.
        spread = np.sqrt(expected if not root else expected**2)
        noise = 2 * np.sqrt(K) * JUDGE
        atol = noise if root else noise * (2 * spread.max(initial=0) + noise)
        np.testing.assert_allclose(moving_average(variances, gains), expected, rtol=1e-5, atol=atol)


# Softmax


@relaxed
@given(shape=shapes, dtype=dtypes, scale=st.sampled_from([0, 1e-3, 1, 10, 300, 1e4, 1e30]), seed=seeds)
def test_softmax_equals_the_equation(shape, dtype, scale, seed):
    logits = (scale * np.random.default_rng(seed).standard_normal(shape)).astype(dtype)
    # Below the smallest normal number, 2.2e-308, nothing is promised: eps is 1e-8.
    np.testing.assert_allclose(softmax(logits), equations.softmax(logits), rtol=1e-13, atol=1e-307)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_classes", [2, 3, 8, 10, 37, 1000])
def test_softmax_of_minus_infinity_is_exactly_zero(n_classes, dtype):
    logits = np.random.default_rng(0).standard_normal((3, 4, n_classes)).astype(dtype)
    logits[:, :, 1::2] = -np.inf
    probs = softmax(logits)
    assert not probs[:, :, 1::2].any()
    np.testing.assert_allclose(probs, equations.softmax(logits), rtol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("n_classes", [1, 2, 10, 37])
def test_softmax_makes_a_row_with_nan_or_infinity_nan(n_classes, bad, dtype):
    for c in range(n_classes):
        logits = np.random.default_rng(0).standard_normal((3, 4, n_classes)).astype(dtype)
        expected = softmax(logits)
        logits[1, 2, c] = bad
        probs = softmax(logits)
        assert np.isnan(probs[1, 2]).all()
        expected[1, 2] = np.nan
        np.testing.assert_array_equal(probs, expected)


def test_softmax_of_a_row_of_minus_infinity_is_nan():
    assert np.isnan(softmax(np.full((1, 1, 9), -np.inf))).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_of_huge_values_is_one_hot(dtype):
    top = np.finfo(dtype).max
    logits = np.array([[[top, -top, 0, 1], [-top, -top, -top, -top], [0, top, top, 0]]], dtype=dtype)
    np.testing.assert_array_equal(softmax(logits), [[[1, 0, 0, 0], [0.25] * 4, [0, 0.5, 0.5, 0]]])


@pytest.mark.parametrize("n_classes", [1, 10, 37, 1000])
def test_softmax_does_not_depend_on_the_block(n_classes):
    logits = 5 * np.random.default_rng(0).standard_normal((11, 3, n_classes))
    whole = softmax(logits)
    for start in range(0, 11, 4):
        np.testing.assert_array_equal(softmax(logits[start : start + 4]), whole[start : start + 4])


# Validity

INVALID = {
    "nan": lambda row: row.__setitem__(-1, np.nan),
    "infinite": lambda row: row.__setitem__(-1, np.inf),
    "minus infinity": lambda row: row.__setitem__(0, -np.inf),
    "both infinities": lambda row: row.__setitem__(slice(None), [np.inf, -np.inf] * (len(row) // 2)),
    "negative, sum 1": lambda row: row.__setitem__(slice(2), [row[0] + row[1] + 0.5, -0.5]),
    "sum off": lambda row: row.__imul__(1.1),
    "empty": lambda row: row.__imul__(0),
}


@pytest.mark.parametrize("fault", INVALID)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_classes", [2, 10, 64, 1000])
def test_row_sums_show_what_is_no_distribution(n_classes, dtype, fault):
    for place in (0, 7, 24):
        probs = trajectory("random", (5, 5, n_classes), dtype)
        INVALID[fault](probs.reshape(25, n_classes)[place])
        valid = abs(row_sums(probs).reshape(25) - 1) <= (1e-6 if dtype == "float32" else 1e-14)
        np.testing.assert_array_equal(valid, np.arange(25) != place)


@relaxed
@given(species=species, shape=shapes, dtype=dtypes, seed=seeds)
def test_row_sums_are_those_in_float64(species, shape, dtype, seed):
    probs = trajectory(species, shape, dtype, seed)
    np.testing.assert_allclose(row_sums(probs), probs.sum(axis=-1, dtype=np.float64), rtol=1e-14)


@pytest.mark.parametrize("shape", [(3000, 4, 10), (100, 30, 64), (5, 3, 1000), (2, 3, 40_000), (2, 3, 5)])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "log8"])
def test_stored_differences_are_those_of_the_widened_values(dtype, shape):
    """Of more and of fewer samples than the cache holds at once."""
    probs = trajectory("random", shape, "float64" if dtype == "float64" else "float32")
    casts = {"bfloat16": store.float32_to_bfloat16, "log8": store.probs_to_log8}
    stored = casts[dtype](probs) if dtype in casts else probs.astype(dtype)
    wide = store.widen(stored)
    other_order = 1e-6 if dtype == "log8" else 1e-15  # of a sum: log8 divides by one in float32, the rest are float64
    for single, inner in itertools.product((False, True), repeat=2):
        diffs, sums = KLDifferences(inner, single).of_stored(stored)
        expected = kl_differences(wide, inner, single and dtype != "float64")
        np.testing.assert_allclose(diffs, expected, rtol=0, atol=other_order)
        np.testing.assert_allclose(sums, row_sums(wide), rtol=other_order)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_widening_is_exact_for_all_65536_bit_patterns(name):
    bits = np.arange(1 << 16, dtype=np.uint16)
    wide = np.empty(len(bits), dtype=np.float32)
    getattr(kernels, f"widen_{name}")(bits, wide)
    expected = bits.view(np.float16).astype(np.float32) if name == "float16" else bits.astype("<u4") << 16
    numbers = ~np.isnan(wide)
    np.testing.assert_array_equal(wide.view("<u4")[numbers], expected.view("<u4")[numbers])
    np.testing.assert_array_equal(~numbers, np.isnan(expected.view("<f4")))


def test_narrowing_rounds_as_numpy_does():
    rng = np.random.default_rng(0)
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    anything = rng.integers(1 << 32, size=200_000, dtype="<u4").view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        ties = halves[:-1] / 2 + halves[1:] / 2
        values = np.concatenate([halves, ties, anything])
        bits = np.empty(len(values), dtype=np.uint16)
        kernels.narrow_to_float16(values, bits)
        expected = values.astype(np.float16)
    numbers = ~np.isnan(values)
    np.testing.assert_array_equal(bits[numbers], expected.view(np.uint16)[numbers])
    assert np.isnan(bits.view(np.float16)[~numbers]).all()


# How the kernels are compiled


def run_these_tests(selection, **environment):
    arguments = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", __file__, "-k", selection)
    output = run_python(*arguments, cwd=Path(__file__).parents[1], TDDS_INNER="1", **environment)
    assert " passed" in output
    assert "failed" not in output


outermost = pytest.mark.skipif("TDDS_INNER" in os.environ, reason="this is the inner run")


@outermost
def test_kernels_hold_interpreted():
    run_these_tests(
        "magnitudes or zero or nan or huge or goes_on or survive or is_no or widening or shape4", NUMBA_DISABLE_JIT="1"
    )


@outermost
def test_kernels_hold_bounds_checked(tmp_path):
    # A cache of its own: Numba's index does not know the option, so a shared one would mix the two codes.
    run_these_tests("not depend and not hold", NUMBA_BOUNDSCHECK="1", NUMBA_CACHE_DIR=str(tmp_path))


@outermost
def test_kernels_hold_on_a_processor_without_wide_vectors(tmp_path):
    selection = "equal or magnitudes or zero or widening or narrowing"
    run_these_tests(selection, NUMBA_CPU_NAME="generic", NUMBA_CACHE_DIR=str(tmp_path))


@outermost
def test_importing_compiles_nothing():
    script = """
import numba
from tdds import kernels, store
from tdds.scores import KLDifferences
dispatchers = [value for value in vars(kernels).values() if isinstance(value, numba.core.dispatcher.Dispatcher)]
assert len(dispatchers) >= 6, dispatchers
assert not any(dispatcher.signatures for dispatcher in dispatchers)
"""
    run_python("-c", script)
