"""Never a silent number: whatever comes in, out come the scores of the equations, or an error that says what and where.

    pytest tests/test_fuzz.py -m slow -s

runs over 11,000 cases and prints what was counted; a short run is part of the suite.
"""

import subprocess
import sys
from collections import Counter

import checks
import equations
import fuzzing
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tdds

pytest.importorskip("zarr", reason="zarr, of the extra tdds[zarr], is not installed")
pytest.importorskip("pyarrow")
pytest.importorskip("PIL")
pytest.importorskip("dask")


@pytest.fixture(scope="module")
def worker():
    made = fuzzing.Worker()
    yield made
    made.close()


def run_cases(worker, name, by, seeds):
    """What came of the cases of one source, counted; nothing may be wrong."""
    outcomes, wrong = Counter(), []
    for seed in seeds:
        outcome = worker.run(name, seed, by)
        outcomes[outcome.split(":")[0]] += 1
        if outcome.startswith("WRONG"):
            wrong.append(f"{name}, seed {seed}, by {by}: {outcome}")
    assert not wrong, f"{len(wrong)} of {len(seeds)} cases: " + "\n".join(wrong[:3])
    return outcomes


def test_damaged_files(worker):
    """A few cases of every source and of every file that a command reads."""
    for i, name in enumerate(fuzzing.FILES):
        run_cases(worker, name, "library", range(10 * i, 10 * i + 3))
        run_cases(worker, name, "command", [i])
    for i, name in enumerate(fuzzing.OTHERS):
        run_cases(worker, name, "command", [2 * i, 2 * i + 1])


@pytest.mark.slow
@pytest.mark.parametrize("name", fuzzing.FILES)
def test_many_damaged_files_by_the_library(worker, name):
    print("\n", name, dict(run_cases(worker, name, "library", range(1000, 1280))), end=" ")
    assert worker.peak < 2**20, f"a file of kilobytes took {worker.peak} KiB"


@pytest.mark.slow
@pytest.mark.parametrize("name", [*fuzzing.FILES, *fuzzing.OTHERS])
def test_many_damaged_files_at_the_command_line(worker, name):
    print("\n", name, dict(run_cases(worker, name, "command", range(2000, 2045))), end=" ")
    assert worker.peak < 2**20, f"a file of kilobytes took {worker.peak} KiB"


@pytest.mark.slow
def test_damaged_files_in_processes_of_their_own(tmp_path):
    """As a user runs it: `python -m tdds.cli`, warnings and all."""
    counted = Counter()
    folder = fuzzing.Folder(tmp_path)
    for seed, name in enumerate([*fuzzing.FILES, *fuzzing.OTHERS] * 6):
        rng = np.random.default_rng(seed)
        with folder.damaged(name, rng) as path:
            arguments = folder.arguments(name, path, rng) if name in fuzzing.OTHERS else ["info", path]
            if name in fuzzing.FILES and rng.random() < 0.5:
                arguments = ["score", path, "--K", "3", "-o", f"{tmp_path}/case/out.h5"]
            command = [sys.executable, "-m", "tdds.cli", *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=fuzzing.SECONDS, check=False)
            counted[done.returncode] += 1
            if done.returncode:
                fuzzing.check_failed(done.returncode, done.stderr, done.stdout, arguments)
            assert "Warning" not in done.stderr
    print("\n", "exit statuses", dict(counted), end=" ")
    assert counted.keys() <= {0, 1}


# ------------------------------------------------------------------------------------------------------ in memory

SHORT, LONG = 40, 500
EXTREMES = [0.0, -0.0, 5e-324, 1e-310, 1e-8, 0.5, 1.0, 1 - 2**-53, 700.0, -745.2, 1e30, -1e4]
BAD = [np.nan, np.inf, -np.inf, -0.5, 2.0, 1e308, -1e308]


@st.composite
def trajectories(draw):
    """Values samples first, their kind, and whether they are legal."""
    kind = draw(st.sampled_from(checks.KINDS))
    shape = draw(st.integers(1, 5)), draw(st.sampled_from([*range(1, 8), 4, 5, 6, 7])), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    logits = rng.normal(scale=draw(st.sampled_from([0.1, 3, 300])), size=shape)
    for _ in range(draw(st.integers(0, 3))):
        logits[tuple(rng.integers(shape))] = draw(st.sampled_from(EXTREMES))
    with np.errstate(divide="ignore"):
        probs = equations.softmax(logits)
        values = {"probs": probs, "logits": logits, "log_probs": np.log(probs), "losses": -logits[..., 0]}[kind]
    dtype = draw(st.sampled_from(["f8", "f8", "f4", ">f4", ">f8", "f2", "g", "O"]))
    with np.errstate(over="ignore"):
        values = values.astype(dtype)
    bad = draw(st.sampled_from([False, False, True]))
    if bad:
        with np.errstate(over="ignore"):
            values[tuple(rng.integers(values.shape))] = draw(st.sampled_from(BAD))
    return values, kind, not bad


LAYOUTS = {
    "as it is": lambda values: (values, {}),
    "strided": lambda values: (np.repeat(values, 2, axis=0)[::2], {}),
    "backwards": lambda values: (values[::-1].copy()[::-1], {}),
    "Fortran": lambda values: (np.asfortranarray(values), {}),
    "TNC": lambda values: (values.swapaxes(0, 1), {"axes": "TNC"}),
    "duck": lambda values: (checks.Duck(values), {}),
    "lists": lambda values: (values.tolist(), {}),
    "epochs": lambda values: (iter(list(values.swapaxes(0, 1))), {}),
    "dask": lambda values: (checks.make_dask(values, chunks=2), {}),
}
LABELS = {
    "none": lambda y, n: None,
    "integers": lambda y, n: y,
    "floats": lambda y, n: y.astype(float),
    "objects": lambda y, n: y.astype(object),
    "column": lambda y, n: y[:, None].astype(np.uint8),
}
ODD_LABELS = {
    "too large": lambda y, n: y + n,
    "negative": lambda y, n: y - n,
    "nan": lambda y, n: np.where(y == y[0], np.nan, y),
    "huge": lambda y, n: np.full(len(y), 2**64 - 1, np.uint64),
    "beyond integers": lambda y, n: [10**30] * len(y),
    "halves": lambda y, n: y + 0.5,
    "words": lambda y, n: np.full(len(y), "cat"),
    "none of them": lambda y, n: [None] * len(y),
    "one less": lambda y, n: y[1:],
    "one": lambda y, n: 0,
    "one-hot": lambda y, n: np.eye(len(y)),
}
ODD = {
    "K": [2, 1, 0, -1, 3.0, True, "3", None, 2**70],
    "T": [0, -1, 2**70, 3.5, False, "all"],
    "beta": [-1e-9, 1 + 1e-9, np.nan, np.inf, "half", True, None],
    "formulation": ["Paper", None, 1],
    "loss": ["mse", None],
    "axes": ["NTX", "TN", ""],
    "kind": ["softmax", 1],
    "missing": ["zeros", None],
    "memory_limit": [0, -1, np.nan, "1"],
}


def check_in_memory(data):
    values, kind, legal = data.draw(trajectories())
    method = data.draw(st.sampled_from(sorted(checks.JUDGES)))
    K, T = data.draw(st.sampled_from([3, 3, 4, 7])), data.draw(st.sampled_from([None] * 6 + [*range(1, 9)]))
    own = {"K": K} if method in ("tdds", "dyn_unc", "dual") else {}
    if method == "tdds":
        own["beta"] = data.draw(st.sampled_from([0, 0.0, 1e-300, 0.5, 1 - 1e-16, 1]))
        own["formulation"] = data.draw(st.sampled_from(["paper", "reference", "datacull"]))
        own["loss"] = data.draw(st.sampled_from(["kl", "ce", "el2n"])) if kind != "losses" else "kl"
    layout = data.draw(st.sampled_from([name for name in LAYOUTS if values.dtype != object or name != "dask"]))
    source, said = LAYOUTS[layout](values)
    if kind == "losses" and layout == "epochs":
        source, said = values, {}
    if kind != "losses":
        said["kind"] = kind
    n_classes = values.shape[2] if kind != "losses" else 5
    y = np.random.default_rng(0).integers(n_classes, size=len(values))
    odd = data.draw(st.sampled_from([None] * 15 + ["labels"] * 3 + [*ODD]))
    given_y = LABELS[data.draw(st.sampled_from(sorted(LABELS)))](y, n_classes)
    if odd == "labels":
        given_y = ODD_LABELS[data.draw(st.sampled_from(sorted(ODD_LABELS)))](y, n_classes)
    asked = own | said | {"T": T}
    if odd in ODD:
        asked[odd] = data.draw(st.sampled_from(ODD[odd]))
    try:
        found = tdds.score_trajectory(source, given_y, method=method, **asked)
    except Exception as error:
        fuzzing.check_error(error, "")
        T_read = values.shape[1] if T is None else T
        least = max(own.get("K", 0), 4 if method == "eva" else 3) + (own.get("loss") == "el2n")
        fits = least <= T_read <= values.shape[1]
        needs_probs = kind == "losses" and method not in ("tdds", "loss")
        if legal and odd is None and fits and given_y is not None and not needs_probs:
            raise AssertionError(f"{kind} that are legal were refused: {error}") from error
        return "error"
    if odd in ODD and odd in (*own, "T", "axes", "kind", "missing", "memory_limit"):
        assert odd in ("axes", "kind"), f"{odd}={asked[odd]!r} was taken"
    tolerance = {"f2": 2e-2, "f4": 1e-3}.get(values.dtype.str[1:], 1e-6)
    exact = values.astype(np.float64)
    options = own | ({} if T is None else {"T": T})
    fuzzing.check_scores(found, method, exact, y, kind, tolerance, **options)
    return "scores"


@settings(max_examples=SHORT)
@given(st.data())
def test_in_memory(data):
    check_in_memory(data)


@pytest.mark.slow
def test_much_in_memory():
    counted = Counter()

    @settings(max_examples=LONG * 2)
    @given(st.data())
    def check(data):
        counted[check_in_memory(data)] += 1

    check()
    print("\n", "in memory", dict(counted), end=" ")
    assert min(counted.values()) > LONG / 4


# ------------------------------------------------------------------------------------------------ arrival order


def check_arrival(data, folder):
    """Epochs whose indices lack samples, name some twice, or are none."""
    n, n_epochs, n_classes = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5)), data.draw(st.integers(1, 3))
    index = [np.array(data.draw(st.permutations(range(n)))) for _ in range(n_epochs)]
    changes = data.draw(
        st.lists(st.tuples(st.integers(0, n_epochs - 1), st.integers(0, n - 1), st.integers(-1, n + 1)), max_size=3)
    )
    for t, row, sample in changes:
        index[t][row] = sample
    dtype = data.draw(st.sampled_from([np.int64, np.int64, np.int32, np.float64, np.uint8, ">i4"]))
    values = [np.random.default_rng(t).normal(size=(n, n_classes)) for t in range(n_epochs)]
    missing = data.draw(st.sampled_from(["error", "carry"]))
    path = folder / "logs"
    path.mkdir()
    try:
        for t in range(n_epochs):
            with np.errstate(invalid="ignore"):
                np.save(path / f"{t}_Index.npy", index[t].astype(dtype))
            np.save(path / f"{t}_Output.npy", values[t])
        try:
            found = tdds.score_trajectory(path, K=3, missing=missing)
        except Exception as error:
            fuzzing.check_error(error, path)
            if not changes and dtype != np.float64 and n_epochs >= 3:
                raise AssertionError(f"whole epochs were refused: {error}") from error
            return "error"
    finally:
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    assert dtype != np.float64, "an index of fractions was taken"
    with np.errstate(invalid="ignore"):
        expected = fuzzing.arrange(values, [own.astype(dtype) for own in index])
    if missing == "carry":
        for t in range(1, n_epochs):
            expected[:, t] = np.where(np.isnan(expected[:, t]), expected[:, t - 1], expected[:, t])
        for t in range(n_epochs - 1, 0, -1):
            expected[:, t - 1] = np.where(np.isnan(expected[:, t - 1]), expected[:, t], expected[:, t - 1])
    fuzzing.check_scores(found, "tdds", expected, None, "logits", 1e-6, K=3)
    return "scores"


def run_arrival(folder, n):
    counted = Counter()

    @settings(max_examples=n)
    @given(st.data())
    def check(data):
        counted[check_arrival(data, folder)] += 1

    check()
    return dict(counted)


def test_arrival_order(tmp_path):
    assert set(run_arrival(tmp_path, SHORT)) == {"scores", "error"}


@pytest.mark.slow
def test_much_arrival_order(tmp_path):
    print("\n", "arrival order", run_arrival(tmp_path, LONG), end=" ")


# ------------------------------------------------------------------------------------------------ which are kept


def check_coreset(data):
    """The share that is removed, at its edges and past them."""
    values, _ = checks.logged("probs", (data.draw(st.integers(1, 30)), 5, 3), seed=data.draw(st.integers(0, 99)))
    edges = [0, -0.0, 1e-12, 0.29, 0.5, 0.9, 1 - 1e-3, 1 - 1e-12, 1, 1.5, -1e-9, np.nan, np.inf, True, "0.5", None]
    rate = data.draw(st.one_of(st.sampled_from(edges), st.floats(0, 1)))
    n_select = data.draw(st.sampled_from([None, None, None, 0, 1, -1, 31, 2.0, True]))
    try:
        kept = tdds.TDDSSelector(K=3, pruning_rate=rate, n_select=n_select).fit(values).sample_indices_
    except Exception as error:
        fuzzing.check_error(error, "")
        return "error"
    scores = equations.tdds(values, K=3)
    if n_select is None:
        expected = equations.top(scores, rate)
    else:
        assert type(n_select) is int
        assert 0 < n_select <= len(values)
        expected = sorted(sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:n_select])
    assert kept.tolist() == expected
    assert len(kept)
    return "coreset"


def run_coresets(n):
    counted = Counter()

    @settings(max_examples=n)
    @given(st.data())
    def check(data):
        counted[check_coreset(data)] += 1

    check()
    return dict(counted)


def test_coresets():
    assert set(run_coresets(SHORT)) == {"coreset", "error"}


@pytest.mark.slow
def test_many_coresets():
    print("\n", "coresets", run_coresets(LONG), end=" ")
