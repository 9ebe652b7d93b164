"""SIGKILL at random instants: no epoch that was reported is lost, and a resumed run ends as an uninterrupted one.

    pytest tests/test_kill.py -m slow -s

kills 200 launches of each case, and prints what was counted; a shorter run is part of the suite.
"""

import multiprocessing
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest

import tdds
from tdds import TrajectoryWriter, store

N_SAMPLES, N_CLASSES, N_EPOCHS = 2000, 60, 30
#: Imported once; every launch is a fork of that process.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["pytest", "tdds.store", "tdds.torch", "torch._dynamo"])  # the last for any optimizer


def write(path: str, part: int, n_parts: int, launch: int, report: Connection) -> None:
    """Write what is missing of 30 epochs; says how many there are, on opening and after each."""

    def wait_for(names: list[str]) -> None:  # what the collectives of distributed training do: nobody is an epoch ahead
        while not all(map(os.path.exists, names)):
            time.sleep(0.0005)

    report.send("up")
    with TrajectoryWriter(path, N_SAMPLES, N_CLASSES, part=part, n_parts=n_parts, resume=True) as writer:
        Path(f"{path}.{launch}.{part}").touch()
        wait_for([f"{path}.{launch}.{other}" for other in range(n_parts)])
        report.send(writer.n_epochs)
        for epoch in range(writer.n_epochs, N_EPOCHS):
            if n_parts > 1 and epoch:
                wait_for([f"{path}/epoch-{epoch - 1:05d}.part-{other}-of-{n_parts}.h5" for other in range(n_parts)])
            values = np.random.default_rng(epoch).random((N_SAMPLES, N_CLASSES))
            order = np.random.default_rng([epoch, part]).permutation(np.arange(part, N_SAMPLES, n_parts))
            for index in np.array_split(order, 10):
                writer.write(index, values[index])
            writer.end_epoch()
            report.send(writer.n_epochs)


def train(path: str, part: int, n_parts: int, launch: int, report: Connection) -> None:
    """Train with DistributedDataParallel over gloo and record, from the checkpoint that rank 0 saves every epoch."""
    import torch
    import torch.distributed as dist

    from tdds.torch import TrajectoryRecorder

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{path}.{launch}", rank=part, world_size=n_parts)
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(N_SAMPLES, 20, generator=generator)
    y = torch.randint(N_CLASSES, (N_SAMPLES,), generator=generator)
    torch.manual_seed(0)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(20, N_CLASSES))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    checkpoint, start = Path(f"{path}.pt"), checkpointed(Path(path))
    if start:
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    report.send("up")
    with TrajectoryRecorder(path, N_SAMPLES, N_CLASSES, resume=True, keep_epochs=start) as recorder:
        dist.barrier()
        report.send(recorder.n_epochs)
        for epoch in range(start, N_EPOCHS):
            order = torch.randperm(N_SAMPLES, generator=torch.Generator().manual_seed(epoch))[part::n_parts]
            for index in order.split(250 // n_parts):
                logits = model(X[index])
                recorder.update(index, logits)
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(logits, y[index]).backward()
                optimizer.step()
            recorder.end_epoch()
            report.send(recorder.n_epochs)
            dist.barrier()
            if part == 0:
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "n_epochs": epoch + 1}
                torch.save(state, checkpoint.with_suffix(".half"))
                os.replace(checkpoint.with_suffix(".half"), checkpoint)
            dist.barrier()
    dist.destroy_process_group()


def checkpointed(path: Path) -> int:
    """Epochs that the checkpoint of a training has seen; it drops what was recorded beyond them."""
    import torch

    checkpoint = Path(f"{path}.pt")
    return torch.load(checkpoint, weights_only=True)["n_epochs"] if checkpoint.exists() else 0


class Case(NamedTuple):
    run: Callable[..., None]
    n_parts: int


CASES = {
    "writer": Case(write, 1),
    "two writers": Case(write, 2),
    "recorder": Case(train, 1),
    "recorder, two ranks": Case(train, 2),
}


def launch(case: Case, path: Path, number: int, kill_after: Callable[[], float] | None) -> tuple[list[list[int]], int]:
    """Start all parts, kill each at a random instant; returns what each reported, and how many died of it."""
    children = []
    for part in range(case.n_parts):
        report, theirs = CONTEXT.Pipe(duplex=False)
        child = CONTEXT.Process(target=quietly, args=(case.run, str(path), part, case.n_parts, number, theirs))
        child.start()
        theirs.close()
        children.append((child, report))
    for _, report in children:
        assert report.recv() == "up"
    for child, _ in random.sample(children, len(children)):
        if kill_after is not None:
            time.sleep(kill_after())
            child.kill()
    reported = []
    for child, report in children:
        own = []
        try:
            while True:
                own.append(report.recv())
        except EOFError:
            reported.append(own)
        child.join()
        survivor = case.n_parts > 1 and kill_after is not None  # gloo raises in the one whose peer was killed
        assert child.exitcode in ((0, -9, 1) if survivor else (0, -9)), Path(f"{path}.log").read_text()
    return reported, sum(child.exitcode == -9 for child, _ in children)


def quietly(run: Callable[..., None], path: str, *arguments: object) -> None:
    os.dup2(os.open(f"{path}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
    run(path, *arguments)


def contents(path: Path) -> dict[str, object]:
    """Everything in the shards of a store, by file, but for what names the run."""
    found = {}
    for shard in sorted(path.glob("epoch-*.h5")):
        with h5py.File(shard, locking=False) as file:
            attributes = {name: value for name, value in file.attrs.items() if name != "run_id"}
            found[shard.name] = (attributes, {name: file[name][()].tobytes() for name in file})
    return found


def read_all(path: Path) -> np.ndarray:
    trajectory = tdds.open_trajectory(path)
    values = np.empty((N_SAMPLES, trajectory.n_epochs, N_CLASSES))
    with trajectory.reader() as read:
        read(0, N_SAMPLES, 0, values)
    return values


def kill_until(case: Case, n_launches: int, folder: Path, seed: int) -> Counter[str]:
    """Kill and resume, one store after the other, until so many launches died; returns what was counted."""
    rng = random.Random(seed)
    counts = Counter({"launches": 0})
    for name in ("once", "again"):  # the first also starts the process that the others are forks of
        began = time.monotonic()
        assert launch(case, folder / name, 0, None)[1] == 0
        patience = (time.monotonic() - began) / case.n_parts / 2  # so that a store takes a few launches
    uninterrupted, expected = contents(folder / "once"), read_all(folder / "once")
    assert expected.shape[1] == N_EPOCHS
    assert contents(folder / "again") == uninterrupted
    while counts["launches"] < n_launches:
        path, n_reported, n_whole = folder / f"run-{counts['stores']}", 0, 0
        while n_whole < N_EPOCHS:  # the last epoch may be whole and its report cut off
            finish = counts["launches"] >= n_launches
            kill_after = None if finish else lambda: rng.uniform(0, patience)
            reported, n_killed = launch(case, path, counts["launches"], kill_after)
            counts["kills"] += n_killed
            counts["launches"] += n_killed > 0
            if case.run is train:
                n_reported = min(n_reported, checkpointed(path))
            n_reported = max(n_reported, min(own[-1] if own else 0 for own in reported))
            counts["mid-epoch"] += any(path.glob(".epoch-*.tmp"))
            if not store.is_store(path):
                counts["lost"] += n_reported
                continue
            try:
                problems = store.verify(path).problems
                found = read_all(path) if store.list_shards(path) else expected[:, :0]
                for part, own in enumerate(reported):  # also what one part alone has reported
                    suffix = "" if case.n_parts == 1 else f".part-{part}-of-{case.n_parts}"
                    for n_epochs in own[1:]:
                        with store.open_shard(path / f"epoch-{n_epochs - 1:05d}{suffix}.h5") as shard:
                            shard.read()
                counts["unreadable"] += bool(problems)
                counts["lost"] += max(0, n_reported - found.shape[1])
                counts["wrong"] += not np.array_equal(found, expected[:, : found.shape[1]])
                n_whole = found.shape[1]
            except (OSError, ValueError):
                counts["unreadable"] += 1
                return counts
        counts["stores"] += 1
        assert contents(path) == uninterrupted
        assert not any(path.glob(".*"))
    return counts


def check(name: str, n_launches: int, folder: Path) -> None:
    case = CASES[name]
    if case.run is train:
        dist = pytest.importorskip("torch.distributed", reason="torch, of the extra tdds[torch], is not installed")
        if not (dist.is_available() and dist.is_gloo_available()):
            pytest.skip("torch.distributed lacks gloo")
    counts = kill_until(case, n_launches, folder, seed=sorted(CASES).index(name))
    print(f"\n{name}: {dict(counts)}")
    assert not any(counts[key] for key in ("lost", "unreadable", "wrong"))
    assert counts["launches"] == n_launches
    assert n_launches <= counts["kills"] <= n_launches * case.n_parts
    if n_launches >= 100:  # few are left to chance
        assert counts["mid-epoch"] > n_launches / 4  # the instants do fall where they could hurt


@pytest.mark.parametrize("name", CASES)
def test_kill(name, tmp_path):
    check(name, 5, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_kill_200(name, tmp_path):
    check(name, 200, tmp_path)
