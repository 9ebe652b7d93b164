"""The engine on a cluster: real worker processes, one of which dies; tasks that carry no more than they need."""

import os
import pickle
import signal
import sys
from pathlib import Path

import checks
import h5py
import joblib
import numpy as np
import pytest

import tdds
from tdds import planning
from tdds.sources import HDF5Trajectory

da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("dask.distributed")

SHAPE = (6000, 12, 9)


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def cluster(client):
    client.wait_for_workers(2)  # joblib runs tasks here where there is one worker, as after the test that kills one
    return client


@pytest.fixture
def small_tasks(monkeypatch):
    monkeypatch.setattr(planning, "_TASK_BYTES", 1 << 18)


class Watched(HDF5Trajectory):
    """Leaves the number of every process that reads it in a folder; the first past sample 2,000 is killed."""

    def __init__(self, path, dataset, folder):
        super().__init__(path, dataset)
        self.folder = Path(folder)

    def reader(self):
        (self.folder / str(os.getpid())).touch()
        return super().reader()


class Fatal(Watched):
    def reader(self):
        context = super().reader()
        try:
            os.close(os.open(self.folder / "killed", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return context
        os.kill(os.getpid(), signal.SIGKILL)


def write(folder, kind="logits"):
    values, y = checks.logged(kind, SHAPE, dtype=np.float32)
    beside = {"labels": y, "ids": np.array([f"image-{i}.png" for i in range(len(y))], dtype=object)}
    name = checks.write_hdf5(
        folder / "a.h5", values, attributes={"axes": "NTC", "kind": kind}, beside=beside, chunks=(100, 12, 9)
    )
    return name, values, y


def test_same_scores_though_a_worker_is_killed(cluster, small_tasks, tmp_path):
    name, _, _ = write(tmp_path)
    expected = tdds.score_trajectory(name, method=["tdds", "aum"], K=5)
    (tmp_path / "processes").mkdir()
    path, dataset = name.split("::")
    source = Fatal(Path(path), dataset, tmp_path / "processes")
    with joblib.parallel_config(backend="dask"):
        scores = tdds.score_trajectory(source, method=["tdds", "aum"], K=5)
    for method in expected:
        np.testing.assert_array_equal(scores[method], expected[method])
    seen = {file.name for file in (tmp_path / "processes").iterdir()} - {"killed"}
    assert len(seen) >= 2  # the one that was killed, and those that did its work and theirs
    assert str(os.getpid()) not in seen


@pytest.mark.parametrize("backend", ["dask", "loky"])
def test_every_source_gives_the_same_scores(backend, cluster, tmp_path):
    values, y = checks.logged("logits", (60, 9, 5))
    expected = tdds.score_trajectory(values, y, method=["tdds", "aum"], K=4, kind="logits")
    for name in checks.SOURCES:
        if name in ("h5py.Dataset", "generator", "list of epochs"):  # an open file stays where it is, as a stream does
            continue
        source, said = checks.make_source(name, tmp_path, values, "logits")
        with joblib.parallel_config(backend=backend, n_jobs=2):
            scores = tdds.score_trajectory(source, y, method=["tdds", "aum"], K=4, **said)
        for method in expected:
            np.testing.assert_array_equal(scores[method], expected[method], err_msg=name)


def test_a_bad_row_is_named_from_afar(cluster, small_tasks):
    values, _ = checks.logged("probs", SHAPE, dtype=np.float32)
    values[4321, 7, 2] = -1
    with (
        joblib.parallel_config(backend="dask"),
        pytest.raises(tdds.TrajectoryError, match=r"^Row of sample 4321 at epoch 7 holds -1 for class 2"),
    ):
        tdds.score_trajectory(values, K=5)


class Counted:
    """A lazy chunk that leaves a mark each time it is made."""

    def __init__(self, values, folder):
        self.values, self.folder, self.dtype, self.shape, self.ndim = values, folder, values.dtype, values.shape, 3

    def __getitem__(self, key):
        start = key[0].start
        if key[0].stop > start:  # dask asks for an empty slice to learn the type
            (self.folder / f"{start}-{len(list(self.folder.glob(f'{start}-*')))}-{os.getpid()}").touch()
        return self.values[key]


@pytest.mark.parametrize("where", ["threads", "cluster"])
def test_a_dask_array_is_read_once_where_it_is_scored(where, cluster, small_tasks, tmp_path):
    values, _ = checks.logged("logits", SHAPE, dtype=np.float32)
    expected = tdds.score_trajectory(values, K=5, kind="logits")
    lazy = da.from_array(Counted(values, tmp_path), chunks=(500, 12, 9), name=False, asarray=False)
    with joblib.parallel_config(backend="dask" if where == "cluster" else "threading", n_jobs=2):
        scores = tdds.score_trajectory(lazy, K=5, kind="logits")
    np.testing.assert_array_equal(scores, expected)
    marks = [file.name.split("-") for file in tmp_path.iterdir()]
    assert sorted(int(start) for start, _, _ in marks) == list(range(0, 6000, 500))
    assert (str(os.getpid()) in {process for _, _, process in marks}) == (where == "threads")


def test_a_dask_array_whose_chunks_lie_on_the_workers(cluster, small_tasks):
    values, _ = checks.logged("logits", SHAPE, dtype=np.float32)
    held = da.from_array(values, chunks=(500, 12, 9)).persist()
    expected = tdds.score_trajectory(values, K=5, kind="logits")
    for backend in ("dask", "threading"):
        with joblib.parallel_config(backend=backend, n_jobs=2):
            np.testing.assert_array_equal(tdds.score_trajectory(held, K=5, kind="logits"), expected)


# ------------------------------------------------------------------------------------------- what a task carries


def test_a_task_carries_paths_and_its_own_rows(tmp_path):
    name, values, y = write(tmp_path)
    whole = tdds.open_trajectory(name)
    assert len(pickle.dumps(whole)) > 100_000  # labels and ids of all samples
    part = pickle.loads(pickle.dumps(whole.part(1000, 1050)))
    assert len(pickle.dumps(whole.part(1000, 1050))) < 2000
    assert part.labels.tolist() == y[1000:1050].tolist()
    block = np.empty((20, 12, 9), dtype=np.float32)
    with part.reader() as read:
        read(10, 30, 0, block)
    np.testing.assert_array_equal(block, values[1010:1030])


@pytest.mark.parametrize("lazy", [False, True])
def test_a_task_carries_its_slice_of_an_array(lazy):
    values, _ = checks.logged("logits", SHAPE, dtype=np.float32)
    array = da.from_array(values, chunks=(500, 12, 9)) if lazy else values
    trajectory = tdds.open_trajectory(array, kind="logits")
    part = pickle.loads(pickle.dumps(trajectory.part(1000, 1500)))
    assert len(pickle.dumps(trajectory.part(1000, 1500))) < 1.1 * values[1000:1500].nbytes or lazy
    block = np.empty((20, 12, 9), dtype=np.float32)
    with part.reader() as read:
        read(10, 30, 0, block)
    np.testing.assert_array_equal(block, values[1010:1030])
    again = pickle.loads(pickle.dumps(part))
    with again.reader() as read:
        read(10, 30, 0, block)
    np.testing.assert_array_equal(block, values[1010:1030])


@pytest.mark.parametrize(
    ("n_samples", "n_workers", "n_tasks"),
    [(10, 2, 1), (1000, 1, 2), (1_281_167, 2, 32), (1_281_167, 100, 1600), (10**9, 1000, 16_000)],
)
def test_number_of_tasks(n_samples, n_workers, n_tasks):
    """Work for every worker, and few enough tasks for a scheduler; 30 epochs of 1,000 classes in float16."""

    class Large(tdds.sources.Trajectory):
        n_epochs, n_classes, kind, dtype = 30, 1000, "probs", "float16"
        reader = None

        def __init__(self):
            self.n_samples = n_samples

    share = -(-n_samples // n_workers)
    rows, _ = planning.block_shape(Large(), 30, share, (1 << 28) // n_workers)
    step = planning.task_rows(Large(), 30, share, rows)
    assert step % rows == 0
    assert 0.9 * n_tasks <= -(-n_samples // step) <= 1.1 * n_tasks


def test_shards_are_scored_one_by_one_or_as_one_array(tmp_path):
    """As docs/scaling.md says of a folder of files."""
    values, _ = checks.logged("probs", (60, 9, 5))
    files = [checks.write_packed(tmp_path / f"part-{i}.h5", values[i::3], "probs") for i in range(3)]
    expected = np.concatenate([tdds.score_trajectory(values[i::3], K=4) for i in range(3)])
    np.testing.assert_array_equal(np.concatenate([tdds.score_trajectory(file, K=4) for file in files]), expected)
    opened = [h5py.File(file) for file in files]
    array = da.concatenate([da.from_array(file["values"], chunks=(20, 9, 5)) for file in opened])
    np.testing.assert_array_equal(tdds.score_trajectory(array, K=4), expected)


# ---------------------------------------------------------------------------------------------------------- ray


@pytest.fixture
def on_ray():
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}}
    ray.init(num_cpus=2, include_dashboard=False, runtime_env=environment)
    register_ray()
    yield joblib.parallel_config(backend="ray", n_jobs=2)
    ray.shutdown()


@pytest.mark.cluster
@pytest.mark.filterwarnings("default")
def test_ray_gives_the_same_scores(on_ray, small_tasks, tmp_path):
    name, _, _ = write(tmp_path)
    path, dataset = name.split("::")
    expected = tdds.score_trajectory(name, method=["tdds", "aum"], K=5)
    (tmp_path / "processes").mkdir()
    with on_ray:
        scores = tdds.score_trajectory(
            Watched(Path(path), dataset, tmp_path / "processes"), method=["tdds", "aum"], K=5
        )
    for method in expected:
        np.testing.assert_array_equal(scores[method], expected[method])
    seen = {file.name for file in (tmp_path / "processes").iterdir()}
    assert len(seen) == 2
    assert str(os.getpid()) not in seen


@pytest.mark.cluster
@pytest.mark.filterwarnings("default")
def test_ray_says_that_a_worker_was_killed(on_ray, small_tasks, tmp_path):
    """Its pool does no task again, as docs/scaling.md says; there are no scores rather than some."""
    from ray.exceptions import ActorDiedError

    name, _, _ = write(tmp_path)
    (tmp_path / "processes").mkdir()
    path, dataset = name.split("::")
    with on_ray, pytest.raises(ActorDiedError):
        tdds.score_trajectory(Fatal(Path(path), dataset, tmp_path / "processes"), K=5)
