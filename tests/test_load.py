"""Many processes at once, and little memory: what is whole is scored right, in the memory that was promised."""

import importlib.util
import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import checks
import numpy as np
import pytest

import tdds
from tdds import store

N_PARTS, SHAPE = 8, (800, 15, 6)
VALUES, _ = checks.logged("probs", SHAPE, dtype=np.float32)


def record(path, part):
    """Write one part's share of each epoch, in batches, at no steady pace."""
    rng, own = random.Random(part), np.arange(part, SHAPE[0], N_PARTS)
    with tdds.TrajectoryWriter(path, SHAPE[0], SHAPE[2], dtype="float32", part=part, n_parts=N_PARTS) as writer:
        for epoch in range(SHAPE[1]):
            while epoch == 8 and not (path / "scored").exists():
                time.sleep(0.01)
            for index in np.array_split(own, 4):
                time.sleep(rng.uniform(0, 0.02))
                writer.write(index, VALUES[index, epoch])
            writer.end_epoch()


def test_eight_writers_and_a_reader(tmp_path):
    """Whatever the reader finds whole at any time is scored as if nobody wrote."""
    tdds.score_trajectory(VALUES, K=3)  # compiles
    context = multiprocessing.get_context("forkserver")
    writers = [context.Process(target=record, args=(tmp_path / "run", part)) for part in range(N_PARTS)]
    for writer in writers:
        writer.start()
    seen = set()
    while max(seen, default=0) < SHAPE[1] and (time.sleep(0.01) or True):
        if not store.is_store(tmp_path / "run") or not store.list_shards(tmp_path / "run"):
            continue
        trajectory = tdds.open_trajectory(tmp_path / "run", damaged=random.choice(("unchecked", "error")))
        if (n_epochs := trajectory.n_epochs) >= 3:
            expected = tdds.score_trajectory(VALUES[:, :n_epochs], K=3)
            np.testing.assert_array_equal(tdds.score_trajectory(trajectory, K=3), expected)
            seen.add(n_epochs)
            (tmp_path / "run" / "scored").touch()
        assert store.verify(tmp_path / "run").problems == []
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * N_PARTS
    assert len(seen) >= 2
    print(f"\nscored while it grew, at {sorted(seen)} epochs")


#: After a first scoring, which compiles, the process may take no more addresses than it has, the bound, and a margin.
BOUNDED = """
import json, resource, sys
import numpy as np
import tdds
source, small, limit, margin = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
tdds.score_trajectory(small, K=10, n_jobs=2)
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (limit + margin) * 2**20,) * 2)
scores = tdds.score_trajectory(source, K=10, n_jobs=2, memory_limit=limit)
print(json.dumps([len(scores), float(scores.sum()), held / 2**20]))
"""


def synthetic():
    path = Path(__file__).parents[1] / "data_tools" / "synthetic.py"
    spec = importlib.util.spec_from_file_location("synthetic", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def bounded(source, small, limit, margin):
    command = [sys.executable, "-c", BOUNDED, *map(str, (source, small, limit, margin))]
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}  # else each thread reserves 64 MiB of addresses
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and RLIMIT_AS")
@pytest.mark.parametrize("kind", ["HDF5", "store"])
def test_scoring_stays_in_the_memory_that_is_promised(kind, tmp_path):
    """160 MB of values under `ulimit -v`: the interpreter, 16 MiB of buffers, 48 MiB for all that is beside them."""
    n_samples, n_epochs, n_classes = 40_000, 20, 100
    path = tmp_path / "values.h5"
    synthetic().write_hdf5(path, n_samples, n_epochs, n_classes, "float16", n_distinct=4000)
    source = tdds.open_trajectory(f"{path}::probs")
    if kind == "store":
        values = np.empty((n_samples, 1, n_classes), np.float16)
        with source.reader() as read, tdds.TrajectoryWriter(tmp_path / "run", n_samples, n_classes) as writer:
            for epoch in range(n_epochs):
                read(0, n_samples, epoch, values)
                writer.write(None, values[:, 0])
                writer.end_epoch()
    path = tmp_path / "run" if kind == "store" else f"{path}::probs"
    synthetic().write_hdf5(tmp_path / "small.h5", 100, n_epochs, n_classes, "float16")
    n_scored, total, held = bounded(path, f"{tmp_path / 'small.h5'}::probs", 16, 48)
    print(f"\n{kind}: scored {n_scored:,} samples in {held:.0f} + 16 + 48 MiB of addresses")
    assert n_scored == n_samples
    assert total == pytest.approx(float(tdds.score_trajectory(path, K=10).sum()), rel=1e-12)
