"""Commands that are stopped: by SIGKILL, and go on; by Ctrl-C, and say so in one line; and never over another file."""

import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import time

import checks
import h5py
import numpy as np
import pytest

import tdds
from tdds import engine, partial, planning
from tdds.scores import AUM, TDDS

N_SAMPLES, TASK = 4000, 50  # 80 tasks


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store with labels, and its scores."""
    folder = tmp_path_factory.mktemp("stopping")
    values, labels = checks.logged("probs", (N_SAMPLES, 8, 10), dtype=np.float32)
    checks.write_store(folder / "run", values, "probs", labels=labels)
    tdds.store.pack(tdds.open_trajectory(folder / "run"), folder / "run.h5")
    done = command("score", "run", "-o", "scores.h5", "--K", 3, cwd=folder)
    assert done.communicate()[1] == ""
    return folder


def command(*arguments, cwd, before=""):
    """Start `tdds`, after a script that makes what is to be seen larger, or slower."""
    script = textwrap.dedent(before) + "\nfrom tdds.cli import main\nmain()"
    environment = {**os.environ, "COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], cwd=cwd, env=environment, **pipes)


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


# ----------------------------------------------------------------------------------------------------- killed, goes on

#: Small tasks, each of which takes 10 ms and writes a byte into a file; all are saved at once.
COUNTED = f"""
import os, time
from tdds import engine, partial, planning
partial.SAVE_SECONDS = 0
planning.task_rows = lambda *sizes: {TASK}
real, counter = engine.score_part, os.open("tasks", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def counted(*arguments):
    time.sleep(0.01)
    os.write(counter, b".")
    return real(*arguments)
engine.score_part = counted
"""


def n_tasks(folder):
    """How many tasks were begun since this was last asked."""
    n = (folder / "tasks").stat().st_size
    os.truncate(folder / "tasks", 0)
    return n


def kill_at(share, *arguments, cwd):
    process = command(*arguments, cwd=cwd, before=COUNTED)
    wanted = int(share * N_SAMPLES / TASK)
    while process.poll() is None and len(list(cwd.glob(".*.partial/*.npz"))) < wanted:
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    return len(list(cwd.glob(".*.partial/*.npz")))


@pytest.mark.parametrize("source", ["run", "run.h5"])
def test_killed_at_nine_tenths_it_goes_on(source, folder, tmp_path):
    ask = ["score", folder / source, "-o", "scores.h5", "--K", 3, "--method", "tdds,aum", "--n-jobs", 2]
    n_kept = kill_at(0.9, *ask, cwd=tmp_path)
    assert n_kept >= 72
    assert n_tasks(tmp_path) >= n_kept
    assert not (tmp_path / "scores.h5").exists()
    process = command(*ask, cwd=tmp_path, before=COUNTED)
    err = process.communicate()[1]
    assert (process.returncode, err.count("\n")) == (0, 1)
    assert re.match(rf"Going on from {n_kept * TASK:,} of 4,000 samples in \.scores\.h5\.[0-9a-f]+\.partial\n", err)
    assert n_tasks(tmp_path) == 80 - n_kept  # no task of what was kept is done again
    assert names(tmp_path) == ["scores.h5", "tasks"]
    labels = tdds.open_trajectory(folder / "run").labels
    expected = tdds.score_trajectory(folder / source, labels, method=["tdds", "aum"], K=3)
    with h5py.File(tmp_path / "scores.h5") as file:
        for name, scores in expected.items():
            np.testing.assert_array_equal(file["scores"][name][...], scores)


def test_stopped_twice_it_goes_on_from_what_both_have_kept(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(partial, "SAVE_SECONDS", 0)
    monkeypatch.setattr(planning, "task_rows", lambda *sizes: TASK)
    trajectory, scores, found = tdds.open_trajectory(folder / "run"), {"tdds": TDDS(K=3)}, []
    expected, real = tdds.score_trajectory(trajectory, K=3), engine.score_part

    def score(n_tasks):
        """Be stopped after so many tasks."""
        left = iter(range(n_tasks))
        monkeypatch.setattr(engine, "score_part", lambda *task: real(*task) if next(left, None) is not None else 1 / 0)
        kept = partial.PartialScores(tmp_path / "scores.h5", trajectory, scores, lambda n, folder: found.append(n))
        return engine.compute_scores(trajectory, scores, n_jobs=1, partial=kept)["tdds"]

    for n_tasks in (3, 5):
        with pytest.raises(ZeroDivisionError):
            score(n_tasks)
    np.testing.assert_array_equal(score(72), expected)
    assert found == [3 * TASK, 8 * TASK]


def test_other_labels_start_over(folder, tmp_path):
    trajectory = tdds.open_trajectory(folder / "run")
    labels = (trajectory.labels, (trajectory.labels + 1) % 10)
    opened = [tdds.open_trajectory(trajectory, labels=y) for y in labels]
    one, other = (partial.PartialScores(tmp_path / "s.h5", each, {"aum": AUM()}).folder for each in opened)
    assert one != other


def test_other_parameters_data_or_damage_start_over(folder, tmp_path):
    store = checks.write_store(tmp_path / "run", checks.logged("probs", (N_SAMPLES, 8, 10))[0], "probs")
    ask = ["score", "run", "-o", "scores.h5", "--force", "--K"]
    for change in ("K", "source", "damage"):
        n_kept = kill_at(0.3, *ask, 3, cwd=tmp_path)
        assert n_kept < 80
        n_tasks(tmp_path)
        first = next(tmp_path.glob(".*.partial")) / "0.npz"
        if change == "source":
            os.utime(store / "epoch-00002.h5")
        elif change == "damage":
            first.write_bytes(first.read_bytes()[:-20])
        process = command(*ask, 4 if change == "K" else 3, cwd=tmp_path, before=COUNTED)
        assert process.communicate()[1] == ""
        assert n_tasks(tmp_path) == 80
        assert names(tmp_path) == ["run", "scores.h5", "tasks"]


def test_other_axes_start_over(tmp_path):
    """Where there are as many epochs as classes, the size does not tell the axes."""
    np.save(tmp_path / "square.npy", np.random.default_rng(0).normal(size=(N_SAMPLES, 8, 8)).astype(np.float32))
    ask = ["score", "square.npy", "--kind", "logits", "--K", 3, "-o", "scores.h5", "--axes"]
    kill_at(0.3, *ask, "NCT", cwd=tmp_path)
    n_tasks(tmp_path)
    assert command(*ask, "NTC", cwd=tmp_path, before=COUNTED).communicate()[1] == ""
    assert n_tasks(tmp_path) == 80


# -------------------------------------------------------------------------------------------------------------- Ctrl-C

INTERRUPTED = "tdds: interrupted; the output is as it was. The same command starts anew, `tdds score` from the samples"
#: By name: what is typed, and where SIGINT comes: at the worst moments, when the file is whole but has no name yet, or
#: in the middle of the work.
INTERRUPTS = {
    "score, at work": (["score", "run", "-o", "new.h5", "--K", 3], "engine.score_part"),
    "score, saving": (["score", "run", "-o", "new.h5", "--K", 3], "os.replace"),
    "select, saving": (["select", "scores.h5", "--keep", 0.3, "-o", "new.csv"], "os.replace"),
    "report, at work": (["report", "scores.h5", "-o", "new.html"], "scores.check_labels"),
    "report, saving": (["report", "scores.h5", "-o", "new.html"], "os.replace"),
    "convert, in HDF5": (["convert", "run", "-o", "new.h5"], "os.pwrite"),
    "pack, saving": (["pack", "run", "-o", "new.h5"], "os.fsync"),
    "combine, saving": (["combine", "scores.h5", "other.h5", "-o", "new.h5"], "os.replace"),
}
SIGNALLED = """
import os, signal, time
from tdds import engine
from tdds.tables import scores
def interrupted(*arguments, **options):
    print("there", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)
    return real(*arguments, **options)
real, {place} = {place}, interrupted
"""


@pytest.mark.parametrize("name", INTERRUPTS)
def test_an_interrupt_at_the_worst_moment(name, folder):
    arguments, place = INTERRUPTS[name]
    if "other.h5" in arguments and not (folder / "other.h5").exists():
        other = checks.logged("probs", (N_SAMPLES, 8, 10), seed=1)[0]
        np.save(folder / "other.npy", other)
        np.save(folder / "labels.npy", tdds.open_trajectory(folder / "run").labels)
        ask = ("score", "other.npy", "-o", "other.h5", "--K", 3, "--labels", "labels.npy")
        assert command(*ask, cwd=folder).communicate()[1] == ""
    before = names(folder)
    process = command(*arguments, cwd=folder, before=SIGNALLED.format(place=place))
    out, err = process.communicate()
    assert out.startswith("there\n")
    assert err.startswith(INTERRUPTED)
    assert err.count("\n") == 1
    assert process.returncode in (130, -signal.SIGINT)  # a shell says 130 of both
    assert names(folder) == before


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_with_several_tasks_it_says_one_line(sent, status, folder, tmp_path):
    """Tasks that are done while results are saved are not used; joblib warns of them."""
    ask = ["score", folder / "run", "-o", "scores.h5", "--K", 3, "--n-jobs", 2]
    slow = "partial.PartialScores._save = lambda *_: (print('there', flush=True), time.sleep(1))"
    process = command(*ask, cwd=tmp_path, before=COUNTED + slow)
    for _ in range(2):
        assert process.stdout.readline() == "there\n"
    time.sleep(0.5)
    process.send_signal(sent)
    err = process.communicate()[1]
    assert process.returncode == status
    assert err.startswith(INTERRUPTED)
    assert err.count("\n") == 1


@pytest.mark.parametrize("source", ["run.h5", "text"])
def test_sigterm_leaves_no_temporary_files(source, folder, tmp_path):
    (tmp_path / "temporary").mkdir()
    if source == "text":
        for t in range(3):
            (tmp_path / f"epoch{t}.jsonl").write_text("".join(f'{{"{i}": [0, {t}]}}\n' for i in range(9)))
    before = """
    import os, time
    from tdds.store import packed
    def slow(*arguments):
        print("there", flush=True)
        time.sleep(60)
    packed.encode = slow
    """
    before += f"os.environ['TMPDIR'] = {str(tmp_path / 'temporary')!r}"
    asked = ("convert", tmp_path if source == "text" else folder / source, "-o", "new.h5")
    process = command(*asked, cwd=tmp_path, before=before)
    assert process.stdout.readline() == "there\n"
    assert bool(names(tmp_path / "temporary")) == (source == "text")
    process.terminate()
    assert process.communicate()[1].startswith(INTERRUPTED)
    assert process.returncode == 143
    assert not [name for name in names(tmp_path) if "new" in name] + names(tmp_path / "temporary")


def interrupt(arguments, folder, seconds):
    """SIGINT after so many seconds of running; returns whether the command had ended before."""
    before = names(folder)
    process = command(*arguments, cwd=folder, before="print('up', flush=True)")
    assert process.stdout.readline() == "up\n"
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    err = process.communicate()[1]
    made = set(names(folder)) - set(before)
    if process.returncode == 0:
        assert (err, len(made)) == ("", 1)
        (folder / made.pop()).unlink()
        return True
    assert process.returncode in (130, -signal.SIGINT)
    assert err.startswith(INTERRUPTED)
    assert err.count("\n") == 1
    assert not made
    return False


@pytest.mark.slow
@pytest.mark.parametrize("name", ["score, at work", "select, saving", "report, saving", "convert, in HDF5"])
def test_interrupts_at_any_moment(name, folder):
    arguments, rng = INTERRUPTS[name][0], random.Random(0)
    began = time.perf_counter()
    assert interrupt(arguments, folder, 60)
    patience = time.perf_counter() - began - 60 or 1
    ended = [interrupt(arguments, folder, rng.uniform(0, max(1, patience))) for _ in range(40)]
    print(f"\n{name}: 40 interrupts, {sum(ended)} after the end")
    assert sum(ended) < 30


# ---------------------------------------------------------------------------------------------------- never overwritten


@pytest.mark.parametrize(
    "arguments",
    [
        ["score", "run", "-o", "taken.h5", "--K", 3],
        ["select", "scores.h5", "--keep", 0.3, "-o", "taken.csv"],
        ["combine", "scores.h5", "scores.h5", "-o", "taken.h5"],
        ["report", "scores.h5", "-o", "taken.html"],
        ["convert", "run", "-o", "taken.h5"],
        ["pack", "run", "-o", "taken.h5"],
        ["demo", "-o", "taken"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_nothing_is_overwritten_unless_forced(arguments, folder):
    taken = folder / arguments[-1] if str(arguments[-1]).startswith("taken") else folder / "taken.h5"
    held = taken / "run" / "precious" if arguments[0] == "demo" else taken
    held.parent.mkdir(parents=True, exist_ok=True)
    held.write_text("precious")
    process = command(*arguments, cwd=folder)
    err = process.communicate()[1]
    assert process.returncode == 1
    assert re.fullmatch(r"tdds: taken\S* exists; pass --force to overwrite it.*\n", err)
    assert held.read_text() == "precious"
    held.unlink()
