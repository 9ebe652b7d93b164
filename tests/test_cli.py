"""The command line as a user meets it: a process of its own, real files, exit status, one line for a mistake."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import checks
import equations
import h5py
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import tdds
from tdds import CoresetSelector, demo
from tdds.cli.commands import app
from tdds.cli.common import parse_keep
from tdds.scores import METHODS
from tdds.tables import ScoreTable, replacing

RNG = np.random.default_rng(0)
N, T, C = 60, 12, 5


def run(*args, cwd):
    """Run `tdds` in `cwd`; its exit status, standard output and standard error."""
    environment = {**os.environ, "COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tdds.cli", *map(str, args)],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """A directory in the authors' layout, and the probabilities and labels it holds."""
    folder = tmp_path_factory.mktemp("cli") / "logs"
    folder.mkdir()
    logits = RNG.normal(size=(N, T, C)).astype(np.float32).cumsum(axis=1)
    labels = RNG.integers(C, size=N)
    for t in range(T):
        order = RNG.permutation(N)
        np.save(folder / f"{t}_Output.npy", logits[order, t])
        np.save(folder / f"{t}_Index.npy", order)
    np.save(folder.parent / "labels.npy", labels)
    (folder.parent / "ids.txt").write_text("".join(f"img_{i:03}\n" for i in range(N)))
    return folder, equations.softmax(logits), labels


def test_score_and_select_end_to_end(logs, tmp_path):
    folder, probs, labels = logs
    up = folder.parent
    status, _, err = run(
        "score", folder, "-o", "s.h5", "--K", 5, "--labels", up / "labels.npy", "--ids", up / "ids.txt", cwd=tmp_path
    )
    assert (status, err) == (0, "")
    expected = equations.tdds(probs, K=5)
    with h5py.File(tmp_path / "s.h5") as file:
        np.testing.assert_allclose(file["scores/tdds"][...], expected, rtol=1e-5)
        parameters = json.loads(file["scores/tdds"].attrs["parameters"])
        assert (parameters["T"], parameters["K"], parameters["formulation"]) == (None, 5, "paper")
        assert file.attrs["created_by"] == f"tdds {tdds.__version__}"
        assert len(json.loads(file.attrs["source"])["fingerprint"]) == 16

    kept = equations.top(expected, 0.7)
    status, out, _ = run("select", "s.h5", "--pruning-rate", 0.7, "-o", "kept.csv", cwd=tmp_path)
    assert status == 0
    assert f"Kept {len(kept)} of {N} samples (30.0%)" in out
    rows = list(csv.DictReader((tmp_path / "kept.csv").read_text().splitlines()))
    assert [int(row["indices"]) for row in rows] == kept
    assert [row["ids"] for row in rows] == [f"img_{i:03}" for i in kept]
    assert np.mean([float(row["weights"]) for row in rows]) == pytest.approx(1)
    counts = {int(line.split()[0]): int(line.split()[1]) for line in out.splitlines() if line.strip()[:1].isdigit()}
    assert counts == {c: int(np.sum(labels[kept] == c)) for c in range(C)}


@pytest.mark.parametrize("suffix", [".npz", ".txt", ".parquet"])
def test_select_writes_every_form(logs, tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    folder, probs, _ = logs
    assert run("score", folder, "-o", "s.h5", "--K", 5, cwd=tmp_path)[0] == 0
    status, out, _ = run("select", "s.h5", "--keep", 18, "-o", f"kept{suffix}", "--json", cwd=tmp_path)
    assert status == 0
    assert json.loads(out)["n_kept"] == 18
    path = tmp_path / f"kept{suffix}"
    if suffix == ".npz":
        indices = np.load(path)["indices"]
    elif suffix == ".txt":
        indices = np.loadtxt(path, dtype=int)
    else:
        import pyarrow.parquet as pq

        indices = pq.read_table(path)["indices"].to_numpy()
    assert indices.tolist() == equations.top(equations.tdds(probs, K=5), 0.7)


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        (["--K", 4, "--T", 9, "--beta", 0.5], {"K": 4, "T": 9, "beta": 0.5}),
        (
            ["--K", 4, "--formulation", "reference", "--signed"],
            {"K": 4, "formulation": "reference", "magnitude": False},
        ),
        (["--K", 4, "--loss", "ce", "--labels", "labels.npy"], {"K": 4, "loss": "ce"}),
    ],
)
def test_score_options_reach_the_equations(logs, tmp_path, arguments, parameters):
    folder, probs, labels = logs
    assert run("score", folder, "-o", tmp_path / "s.h5", *arguments, cwd=folder.parent)[0] == 0
    with h5py.File(tmp_path / "s.h5") as file:
        np.testing.assert_allclose(file["scores/tdds"][...], equations.tdds(probs, labels, **parameters), rtol=1e-5)


def test_convert_verify_info(logs, tmp_path):
    folder, probs, _ = logs
    labels = folder.parent / "labels.npy"
    assert run("convert", folder, "-o", "run.h5", "--labels", labels, cwd=tmp_path)[0] == 0
    np.testing.assert_allclose(tdds.score_trajectory(tmp_path / "run.h5", K=5), equations.tdds(probs, K=5), rtol=1e-5)
    status, out, _ = run("info", "run.h5", "--json", cwd=tmp_path)
    what = json.loads(out)
    assert status == 0
    assert (what["n_samples"], what["n_epochs"], what["n_classes"], what["kind"], what["labels"]) == (
        N,
        T,
        C,
        "logits",
        True,
    )
    assert run("verify", "run.h5", cwd=tmp_path)[0] == 0
    with h5py.File(tmp_path / "run.h5", "r+") as file:
        file["values"][3, 2, 1] += 1
    status, out, _ = run("verify", "run.h5", cwd=tmp_path)
    assert status == 1
    assert "checksum" in out
    assert out.count("checksum") == 1
    assert run("verify", "run.h5::values", cwd=tmp_path)[:2] == (1, out)
    for source in ("run.h5", "run.h5::values"):
        status, _, err = run("convert", source, "-o", "again.h5", cwd=tmp_path)
        assert (status, "checksum" in err) == (1, True)
    assert run("score", "run.h5", "-o", "s.h5", "--K", 5, cwd=tmp_path)[0] == 0
    status, out, _ = run("info", "s.h5", cwd=tmp_path)
    assert status == 0
    assert "tdds K" in out
    held = json.loads(run("info", "s.h5", "--json", cwd=tmp_path)[1])
    assert (held["scores"], held["parameters"]["tdds"]["K"], held["source"]["n_epochs"]) == (["tdds"], 5, T)
    (tmp_path / "run.h5").rename(tmp_path / f"{'x' * 90}.h5")
    lines = run("info", f"{'x' * 90}.h5", cwd=tmp_path)[1].splitlines()
    assert lines[0].split() == ["source", f"{'x' * 90}.h5::values"]  # whole, in a pipe too
    assert all(line == line.rstrip() for line in lines)


def test_foreign_hdf5_says_its_axes(logs, tmp_path):
    _, probs, _ = logs
    with h5py.File(tmp_path / "any.h5", "w") as file:
        file["group/p"] = probs.transpose(1, 0, 2)
    status, _, err = run("score", "any.h5::group/p", "-o", "s.h5", "--K", 5, cwd=tmp_path)
    assert status == 1
    assert "pass axes='NTC' or axes='TNC'" in err
    assert run("score", "any.h5::group/p", "-o", "s.h5", "--K", 5, "--axes", "TNC", cwd=tmp_path)[0] == 0
    with h5py.File(tmp_path / "s.h5") as file:
        np.testing.assert_allclose(file["scores/tdds"][...], equations.tdds(probs, K=5), rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "nothing", "-o", "s.h5"], "nothing: no such file or directory."),
        (["score", "LOGS", "-o", "s.h5", "--K", "2"], "K=2: a window of 2 epochs holds 1 difference"),
        (["score", "LOGS", "-o", "s.h5", "--K", "13"], "K=13, but the trajectory holds 12 epochs"),
        (["score", "LOGS", "-o", "s.h5", "--T", "40"], "T=40, but the trajectory holds 12 epochs"),
        (["score", "LOGS", "-o", "s.h5", "--loss", "ce"], "tdds needs labels"),
        (["score", "LOGS", "-o", "s.h5", "--kind", "probs"], "pass kind='logits' if these are logits"),
        (["score", "LOGS", "-o", "no/such/s.h5"], "no/such: no such folder."),
        (["score", "text.h5", "-o", "s.h5"], "text.h5: cannot be read as a trajectory"),
        (["select", "text.h5", "-o", "k.csv", "--keep", "3"], "text.h5"),
        (["select", "good.h5", "-o", "k.xls", "--keep", "3"], "selections are written as .npz, .csv, .txt, .parquet"),
        (["select", "good.h5", "-o", "k.csv"], "Say --pruning-rate, the share to remove, or --keep"),
        (["select", "good.h5", "-o", "k.csv", "--keep", "0.3", "--pruning-rate", "0.7"], "one of the two"),
        (["select", "good.h5", "-o", "k.csv", "--keep", "61"], "n_select=61, but there are 60 samples"),
        (["select", "good.h5", "-o", "k.csv", "--pruning-rate", "1"], "pruning_rate=1.0 is out of range"),
        (["convert", "LOGS", "-o", "good.h5"], "good.h5 exists; pass --force"),
        (["score", "LOGS", "-o", "folder.h5", "--force"], "folder.h5 is a folder; expected the name of a file."),
        (["verify", "text.h5"], "text.h5"),
    ],
)
def test_mistake_is_one_line_and_leaves_no_file(logs, tmp_path, arguments, message):
    folder, probs, _ = logs
    (tmp_path / "text.h5").write_text("this is no HDF5 file")
    (tmp_path / "folder.h5").mkdir()
    np.save(tmp_path / "probs.npy", probs)
    assert run("score", "probs.npy", "-o", "good.h5", "--K", 5, cwd=tmp_path)[0] == 0
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    status, out, err = run(*[folder if a == "LOGS" else a for a in arguments], cwd=tmp_path)
    assert status == 1
    assert out == ""
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert err.startswith("tdds: ")
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_unknown_option_is_usage_error(tmp_path):
    status, _, err = run("score", "x", "--n-jobs", "high", "-o", "s.h5", cwd=tmp_path)
    assert status == 2
    assert "Invalid value for '--n-jobs'" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "command",
    ["score", "select", "combine", "compare", "report", "info", "verify", "convert", "pack", "demo"],
)
def test_help(tmp_path, command):
    status, out, _ = run(command, "--help", cwd=tmp_path)
    assert status == 0
    assert "Usage" in out
    assert "--json" in out
    assert f"Example: tdds {command}" in out
    assert "bool" not in out  # a flag takes no value


def test_version_and_help_of_all(tmp_path):
    assert run("--version", cwd=tmp_path) == (0, f"tdds {tdds.__version__}\n", "")
    status, out, _ = run("--help", cwd=tmp_path)
    assert status == 0
    assert "tdds score logs/ -o scores.h5" in out
    assert "bool" not in out
    _, out, _ = run("score", "--help", cwd=tmp_path)
    assert set(re.findall(r"\w+", out)) >= set(METHODS)


SHELLS = {
    "bash": """source <(_TDDS_COMPLETE=source_bash tdds); COMP_WORDS=(tdds select --sampler s); COMP_CWORD=3
        _tdds_completion tdds; printf '%s\\n' "${COMPREPLY[@]}" """,
    "fish": "_TDDS_COMPLETE=source_fish tdds | source; complete -C 'tdds select --sampler s'",
}


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_in_the_shell_itself(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "tdds").write_text(f"#!{sys.executable}\nfrom tdds.cli import main\nmain()\n")
    (tmp_path / "tdds").chmod(0o755)
    paths = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(Path(tdds.__file__).parents[1])}
    command = [shell, "-c", SHELLS[shell]]
    done = subprocess.run(command, env={**os.environ, **paths}, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["stratified"]


def test_a_reader_that_has_had_enough_is_no_error(logs, tmp_path):
    """As in `tdds info LOGS | head -1`: no traceback, no message."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "tdds.cli", "info", logs[0]]
    done = subprocess.run(command, cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.stderr == ""


def test_compare(logs, tmp_path):
    folder, probs, y = logs
    labels = folder.parent / "labels.npy"
    given = ("--method", "tdds,aum", "--K", "4,6", "--labels", labels, "--pruning-rate", 0.7)
    status, out, err = run("compare", folder, *given, "--json", cwd=tmp_path)
    assert (status, err) == (0, "")
    expected = tdds.compare_scores(probs, y, method=["tdds", "aum"], K=[4, 6], pruning_rate=0.7)
    held = json.loads(out)
    assert held["names"] == ["tdds:K=4", "tdds:K=6", "aum"]
    np.testing.assert_allclose(held["spearman"], expected.correlations, atol=1e-6)
    assert held["overlap"] == {"0.7": expected.overlaps[0.7].tolist()}
    # Into a pipe, whole lines; files of scores, of two runs.
    status, out, err = run("compare", folder, *given, "--T", "8,9,10,11,12", cwd=tmp_path)
    assert (status, err) == (0, "")
    assert len(out.splitlines()[2].split()) > 12
    np.save(tmp_path / "again.npy", probs[:, ::-1])
    for source, output in ((folder, "a.h5"), ("again.npy", "b.h5")):
        command = ("score", source, "-o", output, "--K", 5, "--method", "tdds,el2n", "--labels", labels)
        assert run(*command, cwd=tmp_path)[0] == 0
    status, out, err = run("compare", "a.h5", "b.h5", cwd=tmp_path)
    assert (status, err) == (0, "")
    assert "Each score with itself in another run (a.h5, b.h5)" in out
    status, out, _ = run("compare", "a.h5", "b.h5", "--method", "el2n", "--json", cwd=tmp_path)
    assert (status, json.loads(out)["names"]) == (0, ["el2n"])
    command = ("score", folder, "-o", "c.h5", "--K", 6, "--method", "tdds,el2n", "--labels", labels)
    assert run(*command, cwd=tmp_path)[0] == 0
    for arguments, message in (
        (("--method", "aum"), "--method aum is not there: a.h5 holds el2n, tdds."),
        (("--K", 5), "--K is for trajectories, and a.h5 holds scores: leave it out, or pass what was scored."),
        (("c.h5",), "a.h5 and c.h5 are scored otherwise: tdds with "),
        (("c.h5", "a.h5"), "a.h5 is named twice; expected another run."),
    ):
        status, _, err = run("compare", "a.h5", *arguments, cwd=tmp_path)
        assert (status, err[: 6 + len(message)]) == (1, f"tdds: {message}")
    _, _, err = run("compare", folder, "--K", "4,x", cwd=tmp_path)
    assert err.strip() == "tdds: --K 4,x: expected integers, with commas between."


@pytest.mark.parametrize(
    ("command", "place"), [("score", "tdds.engine.compute_scores"), ("compare", "tdds.comparison.compare_scores")]
)
def test_what_is_typed_is_passed_on(command, place, logs, tmp_path, monkeypatch):
    typed = {
        "score": {"n_jobs": 3, "memory_limit": 7.0},
        "compare": {"n_jobs": 3, "random_state": 5, "missing": "carry", "kind": "probs", "T": 9, "K": 4, "beta": 0.5}
        | {"formulation": "reference", "loss": "ce", "margin_of": "logits", "pruning_rate": 0.3},
    }[command]
    found = {}

    def taken(*arguments, **said):
        found.update(said)
        raise ValueError("enough")

    monkeypatch.setattr(place, taken)
    given = [str(part) for name, value in typed.items() for part in ("--" + name.replace("_", "-"), value)]
    output = ["-o", str(tmp_path / "s.h5")] if command == "score" else []
    with pytest.raises(ValueError, match="enough"):
        CliRunner().invoke(app, [command, str(logs[0]), *output, *given], catch_exceptions=False)
    assert found == found | typed


def test_moderate(logs, tmp_path):
    folder, _, y = logs
    features = np.random.default_rng(0).normal(size=(N, 3))
    np.savez(tmp_path / "beside.npz", features=features)
    given = ("--method", "moderate", "--labels", folder.parent / "labels.npy")
    assert run("score", folder, "-o", "s.h5", *given, "--features", "beside.npz::features", cwd=tmp_path)[0] == 0
    status, out, _ = run("select", "s.h5", "--keep", 20, "-o", "kept.txt", cwd=tmp_path)
    assert status == 0
    assert "those nearest the median of their class" in out
    expected = equations.nearest_median(equations.moderate(features, y), y, 20)
    assert np.loadtxt(tmp_path / "kept.txt", dtype=int).tolist() == expected
    _, _, err = run("score", folder, "-o", "t.h5", *given, cwd=tmp_path)
    assert err.startswith("tdds: moderate needs features; pass features=")


@pytest.mark.parametrize(
    ("pruning_rate", "keep", "expected"),
    [(0.7, None, (0.7, None)), (None, "0.25", (0.75, None)), (None, "300", (0.0, 300))],
)
def test_parse_keep(pruning_rate, keep, expected):
    assert parse_keep(pruning_rate, keep) == expected


@pytest.mark.parametrize("keep", ["1.5", "0.0", "many", "3e2x", "0", "-5"])
def test_parse_keep_refuses(keep):
    with pytest.raises(ValueError, match=f"--keep {keep}"):
        parse_keep(None, keep)


def test_demo_tells_the_whole_story(tmp_path):
    pytest.importorskip("matplotlib")
    status, out, err = run("demo", "-o", "demo", "--json", cwd=tmp_path)
    assert (status, err) == (0, "")
    results = json.loads(out)
    assert results["full"] > 0.9
    assert set(results["rates"]) == {"0.5", "0.7", "0.9"}
    for rate in results["rates"].values():
        for side, verdict in rate["verdicts"].items():
            difference = np.mean(rate[side]) - np.mean(rate["random"])
            assert {"better": difference > 0, "worse": difference < 0, "no clear difference": True}[verdict]
    assert (tmp_path / "demo" / "digits.png").stat().st_size > 10_000
    assert tdds.open_trajectory(tmp_path / "demo" / "run").n_epochs == 30
    assert {path.name for path in Path(tmp_path).iterdir()} == {"demo"}


def test_what_the_demo_says_fits_80_columns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "train", lambda *data: SimpleNamespace(score=lambda *test: 0.875))
    monkeypatch.setattr(demo, "draw", lambda *shown: None)
    told = Console(file=io.StringIO(), width=200, soft_wrap=True)
    demo.run_demo(Path("tdds-demo"), told)
    lines = [line.rstrip() for line in told.file.getvalue().splitlines()]
    assert len(lines) > 10
    assert max(map(len, lines)) <= 80


def test_store_of_splits_asks_which(tmp_path):
    for split in ("train", "validation"):
        with tdds.TrajectoryWriter(tmp_path / "run", 4, 2, split=split) as writer:
            for _ in range(3):
                writer.write(None, np.full((4, 2), 0.5))
                writer.end_epoch()
    status, _, err = run("info", "run", cwd=tmp_path)
    assert status == 1
    assert "holds the splits train, validation; say which, as run/train." in err
    assert run("info", "run/train", cwd=tmp_path)[0] == 0


def test_several_methods_and_samplers(logs, tmp_path):
    folder, probs, y = logs
    arguments = ("--method", "el2n,aum,confidence", "--labels", folder.parent / "labels.npy")
    status, out, err = run("score", folder, "-o", "s.h5", *arguments, cwd=tmp_path)
    assert (status, err) == (0, "")
    assert "el2n: median" in out
    with h5py.File(tmp_path / "s.h5") as file:
        assert {name: file["scores"][name].attrs["keeps"] for name in file["scores"]} == {
            "el2n": "largest",
            "aum": "smallest",
            "confidence": "smallest",
        }
        np.testing.assert_allclose(file["scores/aum"][...], equations.aum(probs, y), rtol=1e-5)
    assert run("select", "s.h5", "--method", "aum", "--keep", 9, "-o", "aum.csv", cwd=tmp_path)[0] == 0
    rows = list(csv.DictReader((tmp_path / "aum.csv").read_text().splitlines()))
    assert [int(row["indices"]) for row in rows] == sorted(np.argsort(equations.aum(probs, y), kind="stable")[:9])
    for method, sampler in (("el2n", "class_balanced"), ("el2n", "stratified"), ("aum", "beta")):
        command = ("select", "s.h5", "--method", method, "--sampler", sampler, "--random-state", 0, "--keep", 9)
        status, out, _ = run(*command, "-o", f"{sampler}.csv", cwd=tmp_path)
        assert status == 0
        assert f"by {sampler}" in out
        assert len((tmp_path / f"{sampler}.csv").read_text().splitlines()) == 10
    _, _, err = run("select", "s.h5", "--keep", 9, "-o", "k.csv", cwd=tmp_path)
    assert err.strip() == "tdds: Say --method: s.h5 holds aum, confidence, el2n."
    assert run("score", folder, "-o", "t.h5", "--method", "entropy", cwd=tmp_path)[0] == 0
    _, _, err = run("select", "t.h5", "--sampler", "stratified", "--keep", 9, "-o", "k.csv", cwd=tmp_path)
    assert err.strip() == "tdds: --sampler stratified needs aum: t.h5 holds entropy."


def test_score_of_several_methods_says_a_next_step_that_works(logs, tmp_path):
    folder, _, _ = logs
    status, out, _ = run("score", folder, "-o", "s.h5", "--K", 5, "--method", "tdds,entropy", cwd=tmp_path)
    assert status == 0
    command = out.splitlines()[-1].removeprefix("Next: tdds ").split()
    assert run(*command, cwd=tmp_path)[0] == 0


def test_select_says_how_many_are_kept_whatever_the_sampler(logs, tmp_path):
    folder, _, _ = logs
    assert run("score", folder, "-o", "s.h5", "--K", 5, cwd=tmp_path)[0] == 0
    arguments = ("--keep", 18, "--sampler", "random", "--random-state", 0)
    status, out, _ = run("select", "s.h5", "-o", "kept.csv", *arguments, cwd=tmp_path)
    assert status == 0
    assert f"Kept 18 of {N} samples (30.0%), by random -> kept.csv" in out


def test_a_grid_of_settings_in_one_file(logs, tmp_path):
    folder, probs, _ = logs
    status, out, err = run("score", folder, "-o", "s.h5", "--T", "8,12", "--K", "5,10", cwd=tmp_path)
    assert (status, err) == (0, "")
    assert [line.split(":median")[0].rsplit(": ", 1)[0] for line in out.splitlines()[1:4]] == [
        "tdds:T=8,K=5",
        "tdds:T=12,K=5",
        "tdds:T=12,K=10",
    ]
    with h5py.File(tmp_path / "s.h5") as file:
        np.testing.assert_allclose(file["scores/tdds:T=8,K=5"], equations.tdds(probs[:, :8], K=5), rtol=1e-5)
    assert run("select", "s.h5", "--method", "tdds:T=8,K=5", "--keep", 9, "-o", "k.csv", cwd=tmp_path)[0] == 0
    status, _, err = run("score", folder, "-o", "t.h5", "--K", "5,ten", cwd=tmp_path)
    assert (status, err.strip()) == (1, "tdds: --K 5,ten: expected integers, with commas between.")


def test_a_sampler_finds_the_second_score_with_the_same_settings(logs, tmp_path):
    folder, _, _ = logs
    labels = folder.parent / "labels.npy"
    asked = ("--method", "tdds,confidence", "--T", "8,10", "--K", "4,5", "--labels", labels)
    assert run("score", folder, "-o", "grid.h5", *asked, cwd=tmp_path)[0] == 0
    assert run("score", folder, "-o", "one.h5", *asked, "--T", 8, "--K", 5, cwd=tmp_path)[0] == 0
    how = ("--sampler", "beta", "--keep", 20, "--random-state", 0)
    for name, method in (("grid", "tdds:T=8,K=5"), ("one", "tdds")):
        status, _, err = run("select", f"{name}.h5", "--method", method, *how, "-o", f"{name}.txt", cwd=tmp_path)
        assert (status, err) == (0, "")
    assert (tmp_path / "grid.txt").read_text() == (tmp_path / "one.txt").read_text()


def test_a_draw_by_scores_of_other_epochs_is_refused(tmp_path):
    probs, y = checks.logged("probs", (60, 40, 5))
    np.savez(tmp_path / "run.npz", probs=probs, labels=y)
    select = ("select", "s.h5", "--method", "dual", "--sampler", "beta", "--keep", 20, "--random-state", 0)
    assert run("score", "run.npz", "-o", "s.h5", "--method", "dual,confidence", cwd=tmp_path)[0] == 0
    status, _, err = run(*select, "-o", "kept.txt", cwd=tmp_path)
    assert (status, err) == (1, "tdds: dual is of 30 epochs and confidence of 40; the sampler needs both of the same: "
                             "score them with --T 30.\n")  # fmt: skip
    run("score", "run.npz", "-o", "s.h5", "--method", "dual,confidence", "--T", 30, "--force", cwd=tmp_path)
    assert run(*select, "-o", "kept.txt", cwd=tmp_path)[0] == 0
    kept = CoresetSelector("dual", "beta", n_select=20, random_state=0).fit(probs, y).sample_indices_
    assert np.loadtxt(tmp_path / "kept.txt", dtype=int).tolist() == kept.tolist()


def test_compare_takes_from_a_file_which_end_is_kept(tmp_path):
    scores = RNG.random(60)
    for name, values, keeps in (("a", scores, "smallest"), ("b", -scores, "largest")):
        ScoreTable({f"mine {name}": values}, {f"mine {name}": keeps}, {f"mine {name}": {}}, {}).save(
            tmp_path / f"{name}.h5"
        )
    status, out, _ = run("compare", "a.h5", "b.h5", "--json", cwd=tmp_path)
    assert status == 0
    assert json.loads(out)["spearman"][0][1] == pytest.approx(1)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def invoke(*arguments):
        done = CliRunner().invoke(app, list(map(str, arguments)))
        return done.exit_code, done.output, str(done.exception)

    return invoke


def test_verify_says_once_what_epochs_lack(here):
    with tdds.TrajectoryWriter("run", 10, 2) as writer:
        for n in (8, 8, 9, 8, 10):
            writer.write(np.arange(n), np.full((n, 2), 0.5))
            writer.end_epoch()
    assert here("verify", "run")[1].splitlines() == [
        "Epochs 0 to 1, 3 each lack 2 samples: score with --missing carry.",
        "Epoch 2 lacks 1 sample: score with --missing carry.",
        "run: 5 epochs, all whole.",
    ]
    shutil.copy("run/epoch-00000.h5", "run/epoch-00000.part-1-of-2.h5")
    status, out, _ = here("verify", "run")
    assert (status, out.splitlines()[-1]) == (1, "run: 5 epochs, all whole, and 1 that are not of this store.")


def test_select_says_which_of_those_that_tie(here):
    np.save("losses.npy", np.tile([[0.0, 1, 1, 1]], (6, 1)) * [[2], [1], [1], [1], [0], [0]])
    assert here("score", "losses.npy", "--axes", "NT", "--K", 3, "-o", "my scores.h5")[1].splitlines()[-1] == (
        "Next: tdds select 'my scores.h5' --pruning-rate 0.9 -o kept.csv"
    )
    for keep, tied in ((1, False), (2, True), (4, False), (5, True)):
        out = here("select", "my scores.h5", "--keep", keep, "-o", f"{keep}.txt")[1]
        assert ("or more (of those at " in out, "the lower indices) -> " in out) == (tied, tied)


def test_what_is_no_source_is_said(here):
    np.save("losses.npy", np.random.default_rng(0).random((9, 5)))
    assert here("score", "losses.npy", "--K", 3, "-o", "s.h5")[0] == 0
    for name in ("a.csv", "a.txt", "a.jsonl", "a.parquet"):
        Path(name).write_text("0.5 0.5")
    for source, text in {
        "s.h5": "s.h5: is a file of scores, no trajectory; tdds select, report, combine and compare read it.",
        "a.parquet": "a.parquet: is a file of scores",
        "a.csv": "a.csv: is a table of text; pass a trajectory as .npy, ",
        "a.txt": "a.txt: is one file of text; pass the folder of logs, an epoch a file.",
        "a.jsonl": "a.jsonl: is one file of text; ",
    }.items():
        status, _, error = here("score", source, "-o", "t.h5")
        assert (status, error[: len(text)]) == (1, text)


def test_an_output_that_cannot_be_written_is_found_before_the_work(here, monkeypatch):
    def full(**options):
        raise OSError(30, "Read-only file system", "/a/name/nobody/typed")

    np.save("losses.npy", [[0.0, 1]])
    monkeypatch.setattr("tempfile.TemporaryFile", full)
    assert here("score", "losses.npy", "-o", "s.h5")[2] == "[Errno 30] Read-only file system: 's.h5'"
    monkeypatch.setattr("tempfile.TemporaryDirectory", full)
    with pytest.raises(OSError, match=r"^\[Errno 30\] Read-only file system: 's\.h5'$"), replacing(Path("s.h5")):
        pass


def test_what_is_read_is_not_overwritten(logs, tmp_path):
    folder, probs, _ = logs
    np.save(tmp_path / "probs.npy", probs)
    assert run("convert", folder, "-o", "run.h5", cwd=tmp_path)[0] == 0
    (tmp_path / "link.h5").symlink_to("run.h5")
    before = (tmp_path / "run.h5").read_bytes()
    for command in (
        ("convert", "run.h5", "-o", "run.h5"),
        ("convert", "link.h5::values", "-o", "run.h5"),
        ("score", "run.h5", "-o", "link.h5"),
        ("score", folder, "--ids", "run.h5", "-o", "run.h5"),
        ("select", "run.h5", "--keep", 3, "-o", "run.h5"),
        ("combine", "run.h5", "run.h5", "-o", "run.h5"),
        ("report", "run.h5", "-o", "run.h5"),
    ):
        status, _, err = run(*command, "--force", cwd=tmp_path)
        assert (status, err) == (
            1, f"tdds: {command[-1]}: is read, and would be overwritten; give the output another name.\n",
        )  # fmt: skip
    assert (tmp_path / "run.h5").read_bytes() == before


def test_what_scoring_takes_is_said_before(logs, tmp_path):
    folder, _, _ = logs
    status, out, _ = run("score", folder, "-o", "s.h5", "--K", 5, "--T", 8, "--dry-run", "--json", cwd=tmp_path)
    assert status == 0
    cost = json.loads(out)
    assert cost["bytes_to_read"] == N * 8 * C * 4
    assert 2**25 < cost["peak_memory"] < 2**30
    assert 0 < cost["seconds"] < 10
    assert cost["temporary_files"] == 0
    assert not (tmp_path / "s.h5").exists()
    without = checks.write_directory(tmp_path / "unlabelled", np.zeros((20, 8, 3)), "logits")
    dry = ("score", without, "-o", "s.h5", "--K", 5, "--dry-run", "--method")
    status, _, err = run(*dry, "aum", cwd=tmp_path)
    assert (status, err.count("\n")) == (1, 1)
    assert err.startswith("tdds: aum needs labels")
    assert json.loads(run(*dry, "random", "--json", cwd=tmp_path)[1])["bytes_to_read"] == 0
    status, out, _ = run("info", folder, cwd=tmp_path)
    assert status == 0
    assert re.search(r"scoring +Reads \S+ GB, peak memory about \d+ MiB, about \S+ s\.", out)


def test_the_disk_that_sorting_takes_is_said_before(tmp_path):
    values, _ = checks.logged("probs", (3000, 8, 100), dtype=np.float32)
    folder = checks.write_directory(tmp_path / "logs", values, "probs")
    asked = ["score", folder, "--kind", "probs", "-o", "s.h5", "--K", 4, "--memory-limit", 1, "--dry-run"]
    status, out, err = run(*asked, cwd=tmp_path)
    assert (status, err) == (0, "")
    assert "temporary files of 0.0096 GB" in out
