"""Forks, pools, threads, and homes that cannot be written: what scoring meets around it."""

import multiprocessing
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import pytest
from checks import run_python

import tdds

ROOT = Path(tdds.__file__).parent
PROBS = np.random.default_rng(0).dirichlet(np.ones(10), size=(2000, 12)).astype(np.float32)
LABELS = np.arange(2000) % 10
OPTIONS = {"method": ["tdds", "aum", "entropy"], "K": 5}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The path of a recorded trajectory, and its scores."""
    path = tmp_path_factory.mktemp("processes") / "run"
    with tdds.TrajectoryWriter(path, *PROBS[:, 0].shape, dtype="float32", labels=LABELS) as writer:
        for epoch in range(12):
            writer.write(None, PROBS[:, epoch])
            writer.end_epoch()
    return path, tdds.score_trajectory(PROBS, LABELS, **OPTIONS)


def equal(scores, expected):
    """Whether two dicts of scores hold the same bits."""
    return all(np.array_equal(scores[name], expected[name]) for name in expected)


def python(code, *arguments, **more):
    """What `code` prints in a fresh interpreter."""
    return run_python("-c", code, *arguments, **more)


# --------------------------------------------------------------------------------------------------------------- forks

FORKS = """
import os, signal, sys, threading
import numpy as np, torch
import tdds
from tdds.torch import TrajectoryRecorder

torch.set_num_threads(2)
path, folder, n_forks = sys.argv[1], sys.argv[2], int(sys.argv[3])
expected = tdds.score_trajectory(path, K=5, n_jobs=2)
logits = torch.randn(50_000, 10)
recorder = TrajectoryRecorder(folder, *logits.shape)
forked = threading.Event()

def train():
    while True:
        for index in torch.arange(len(logits)).split(256):
            recorder.update(index, logits[index])
            torch.mm(logits.T, logits)
        recorder.end_epoch()
        if forked.is_set():
            return

training = threading.Thread(target=train)
training.start()
for _ in range(n_forks):
    child = os.fork()
    if not child:
        signal.alarm(60)  # a child that waits for what it has not got is killed, and seen
        try:
            os._exit(0 if np.array_equal(tdds.score_trajectory(path, K=5, n_jobs=2), expected) else 2)
        finally:
            os._exit(1)
    print(os.waitpid(child, 0)[1])
forked.set()
training.join()
recorder.close()
"""


@pytest.mark.parametrize("n_forks", [2, pytest.param(200, marks=pytest.mark.slow)])
def test_a_child_scores_while_its_parent_trains_and_records(n_forks, run, tmp_path):
    """The engine's threads, torch's OpenMP and the recorder's thread, in the middle of a write, stay behind."""
    pytest.importorskip("torch")
    path, _ = run
    assert python(FORKS, path, tmp_path, n_forks).split() == ["0"] * n_forks
    assert tdds.store.verify(tmp_path).problems == []


def test_a_fork_waits_for_a_kernel_that_is_being_compiled():
    code = """
import os, signal, threading, time
import numpy as np
from numba.core.compiler_lock import global_compiler_lock
from tdds import kernels

compiling = threading.Event()
def compile():
    with global_compiler_lock:
        compiling.set()
        time.sleep(1)

threading.Thread(target=compile).start()
compiling.wait()
child = os.fork()
if not child:
    signal.alarm(60)
    out = np.empty((2, 2))
    kernels.windowed_mean(np.arange(6.0).reshape(2, 3), out)
    os._exit(out.tolist() != [[0.5, 1.5], [3.5, 4.5]])
print(os.waitpid(child, 0)[1])
"""
    assert python(code).split() == ["0"]


# --------------------------------------------------------------------------------------------------------------- pools


@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading"])
def test_from_a_joblib_pool(backend, run):
    """A task of a pool that asks for threads of its own gets them, or none, and the same scores."""
    path, expected = run
    task = joblib.delayed(tdds.score_trajectory)
    found = joblib.Parallel(n_jobs=2, backend=backend)(task(path, n_jobs=n_jobs, **OPTIONS) for n_jobs in (None, 2, -1))
    assert len(found) == 3
    assert all(equal(scores, expected) for scores in found)


class Scored:
    """A data set each item of which is made by scoring."""

    def __init__(self, path):
        self.trajectory = tdds.open_trajectory(path)

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return i, os.getpid(), tdds.score_trajectory(self.trajectory, T=12 - i, K=5, n_jobs=2)


@pytest.mark.parametrize("start", ["fork", "forkserver", pytest.param("spawn", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")  # of Python 3.12 and newer
def test_from_the_worker_of_a_data_loader(start, run):
    data = pytest.importorskip("torch.utils.data")
    path, _ = run
    expected = [tdds.score_trajectory(PROBS, T=12 - i, K=5, n_jobs=2) for i in range(4)]
    loader = data.DataLoader(Scored(path), batch_size=None, num_workers=2, multiprocessing_context=start)
    workers = set()
    for i, worker, scores in loader:
        workers.add(worker)
        np.testing.assert_array_equal(scores, expected[i])
    assert len(workers) == 2
    assert os.getpid() not in workers


def compile_two(barrier, results):
    from tdds import kernels

    barrier.wait()
    out = np.empty((2, 3))
    kernels.entropies(np.full((2, 3, 4), 0.25), out)
    kernels.windowed_mean(np.ones((2, 5)), out)
    results.put((out.tolist(), sum(kernels.entropies.stats.cache_hits.values())))


def test_processes_that_start_at_once_share_an_empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    context = multiprocessing.get_context("spawn")
    for n_processes, n_hits in ((3, None), (1, 1)):
        barrier, results = context.Barrier(n_processes), context.Queue()
        workers = [context.Process(target=compile_two, args=(barrier, results)) for _ in range(n_processes)]
        for worker in workers:
            worker.start()
        for _ in workers:
            out, hits = results.get(timeout=120)
            assert out == [[1.0] * 3] * 2
            assert n_hits in (None, hits)
        for worker in workers:
            worker.join(60)
            assert worker.exitcode == 0
    assert list(tmp_path.rglob("*.nbi"))
    assert not list(tmp_path.rglob("*.tmp.*"))


# ------------------------------------------------------------------------------------------------------------- threads


def test_from_several_threads_at_once(run, tmp_path):
    """One open trajectory, one path and one array, scored, recorded and scored online side by side."""
    path, expected = run
    opened = tdds.open_trajectory(path)
    together = threading.Barrier(6)

    def score(source):
        together.wait(60)
        return [tdds.score_trajectory(source, LABELS, n_jobs=2, **OPTIONS) for _ in range(3)]

    def record(name):
        together.wait(60)
        online = tdds.TDDSSelector(K=5)
        with tdds.TrajectoryWriter(tmp_path / name, 2000, 10, dtype="float32") as writer:
            for epoch in range(12):
                writer.write(None, PROBS[:, epoch])
                writer.end_epoch()
                online.partial_fit(PROBS[:, epoch])
        return online.scores_

    with ThreadPoolExecutor(6) as pool:
        scored = [pool.submit(score, source) for source in (opened, opened, path, PROBS)]
        recorded = [pool.submit(record, name) for name in ("a", "b")]
        for future in scored:
            assert all(equal(scores, expected) for scores in future.result(300))
        for future in recorded:
            np.testing.assert_allclose(future.result(300), expected["tdds"], rtol=1e-9)
    for name in ("a", "b"):
        np.testing.assert_array_equal(tdds.score_trajectory(tmp_path / name, K=5), expected["tdds"])


LAYERS = """
import os, signal, sys, threading
import numba, numpy as np, torch
import tdds

torch.set_num_threads(2)
path, layer = sys.argv[1:]
expected = tdds.score_trajectory(path, K=5, n_jobs=2)
try:
    print("started", numba.threading_layer())
except ValueError:
    print("none")  # scoring starts none of Numba's layers

numba.config.THREADING_LAYER = layer
@numba.njit(parallel=True)
def total(values):
    found = 0.0
    for i in numba.prange(len(values)):
        found += values[i]
    return found

assert total(np.ones(1000)) == 1000
print(numba.threading_layer())
stop = threading.Event()

def multiply():
    while not stop.is_set():
        torch.mm(matrix, matrix)

def score(found):
    found += [tdds.score_trajectory(path, K=5, n_jobs=2) for _ in range(5)]

matrix, found = torch.ones(300, 300), []
torch_thread = threading.Thread(target=multiply)
scoring = [threading.Thread(target=score, args=(found,)) for _ in range(2)]
for thread in (torch_thread, *scoring):
    thread.start()
for thread in scoring:
    thread.join()
stop.set()
torch_thread.join()
assert len(found) == 10
assert all(np.array_equal(scores, expected) for scores in found)
child = os.fork()  # which GNU's OpenMP does not survive where a kernel is parallel
if not child:
    signal.alarm(60)
    os._exit(not np.array_equal(tdds.score_trajectory(path, K=5, n_jobs=2), expected))
print(os.waitpid(child, 0)[1])
"""


@pytest.mark.parametrize("layer", ["omp", pytest.param("workqueue", marks=pytest.mark.slow)])
def test_beside_numbas_layers_and_torchs_openmp(layer, run):
    pytest.importorskip("torch")
    path, _ = run
    assert python(LAYERS, path, layer).split() == ["none", layer, "0"]


# -------------------------------------------------------------------------------------------------- the kernels' cache

ANYWHERE = """
import sys
import numpy as np
from tdds import kernels
assert kernels.__file__.startswith(sys.argv[1]), kernels.__file__
out = np.empty((2, 3))
kernels.entropies(np.full((2, 3, 4), 0.25), out)
assert np.allclose(out, np.log(4))
"""


@pytest.mark.parametrize("home", ["read-only", "none", "read-only, a cache named"])
def test_where_neither_package_nor_home_can_be_written(home, tmp_path):
    """As in a container whose user has no name: kernels work, uncached or where they are told, and leave no litter."""
    site, here, cache = tmp_path / "site", tmp_path / "here", tmp_path / "cache"
    shutil.copytree(ROOT, site / "tdds", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "home").mkdir()
    for folder in (here, cache):
        folder.mkdir()
        folder.chmod(0o777)
    environment = {"HOME": None if home == "none" else str(tmp_path / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"PYTHONPATH": str(site), "XDG_CACHE_HOME": None}
    if "cache" in home:
        environment["NUMBA_CACHE_DIR"] = str(cache)
    prefix = []
    if os.getuid() == 0:  # whom modes do not stop
        if shutil.which("setpriv") is None:
            pytest.skip("needs setpriv, of util-linux, when run by root")
        prefix = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "--inh-caps=+dac_read_search"]
        prefix += ["--ambient-caps=+dac_read_search"]  # reads what this interpreter is made of, and writes nothing
    elif home == "none":
        pytest.skip("this user has a name, and so a home")
    for folder in (site, tmp_path / "home"):
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555)
    before = sorted(site.rglob("*"))
    try:
        python(ANYWHERE, site, prefix=prefix, cwd=here, **environment)
    finally:
        for path in (site, *site.rglob("*"), tmp_path / "home"):
            path.chmod(0o755)
    assert sorted(site.rglob("*")) == before
    assert list(here.iterdir()) == list((tmp_path / "home").iterdir()) == []
    assert bool(list(cache.rglob("*.nbi"))) == ("cache" in home)
