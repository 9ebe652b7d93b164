"""Files of strangers: they run nothing, reach nothing outside, take no memory beyond their own, and draw nothing."""

import ast
import io
import json
import os
import pickle
import resource
import signal
import socket
import stat
import tracemalloc
import zipfile
from pathlib import Path

import checks
import h5py
import numpy as np
import psutil
import pytest
from typer.testing import CliRunner

import tdds
from tdds import cli, demo, store
from tdds.cli.commands import app
from tdds.tables import ScoreTable, read_column, replacing

ROOT = Path(tdds.__file__).parents[1]
N, T, C = 12, 6, 3
PROBS, Y = checks.logged("probs", (N, T, C))
HOSTILE = "</script><script>document.title = 'harmed'</script>"


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path, monkeypatch):
    """A payload would leave a file of that name."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / "PWNED").exists()


class Evil:
    def __reduce__(self):
        return os.system, ("touch PWNED",)


def run(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)


def scores_file(path, **changes):
    fields = {
        "scores": {"tdds": np.arange(N) / 7.0, "aum": np.linspace(-1, 1, N)},
        "keeps": {"tdds": "largest", "aum": "smallest"},
        "parameters": {"tdds": {"T": None, "K": 3, "beta": 0.9}, "aum": {"T": None}},
        "source": {"source": "run", "n_samples": N},
        "labels": Y,
    }
    ScoreTable(**(fields | changes)).save(path)
    return path


# ------------------------------------------------------------------------------------------------------- no pickles


@pytest.mark.parametrize("folder", ["tdds", "benchmarks", "data_tools", "examples"])
def test_no_pickle_is_loaded_anywhere(folder):
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name, said = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert said.get("allow_pickle", "False") == "False", (path, node.lineno)
                assert name not in ("pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load"), (
                    path,
                    node.lineno,
                )
                assert name != "torch.load" or said["weights_only"] == "True", (path, node.lineno)


def test_objects_in_arrays_are_not_unpickled(tmp_path):
    evil = np.full((N, T, C), Evil(), dtype=object)
    np.save("a.npy", evil)
    np.savez("a.npz", probs=evil)
    np.savez("images.npz", images=evil)
    for path in ("a.npy", "a.npz"):
        with pytest.raises(tdds.TrajectoryError, match=r"^a\.np[yz]: .*(allow_pickle|Object|object)"):
            tdds.open_trajectory(path)
    for place in ("a.npy", "a.npz::probs"):
        with pytest.raises(tdds.TrajectoryError, match=r"allow_pickle=False|Python objects"):
            read_column(place)
    from tdds.report import Images

    with pytest.raises(tdds.TrajectoryError, match=r"^images\.npz: .*allow_pickle=False"):
        Images(Path("images.npz"))


def test_pickles_in_zarr_are_not_unpickled(tmp_path):
    """numcodecs has a filter that unpickles; zarr runs it while it reads."""
    checks.write_zarr(tmp_path / "a.zarr", PROBS, attributes={"axes": "NTC"}, zarr_format=2, beside={"labels": Y})
    for name in ("labels", "x"):
        said = json.loads((tmp_path / "a.zarr" / name / ".zarray").read_text())
        (tmp_path / "a.zarr" / name / ".zarray").write_text(
            json.dumps(said | {"compressor": None, "filters": [{"id": "pickle"}]})
        )
        for chunk in (tmp_path / "a.zarr" / name).glob("[0-9]*"):
            chunk.write_bytes(pickle.dumps(Evil()))
        with pytest.raises(tdds.TrajectoryError, match=r"a\.zarr.*(keeps pickles|No Zarr data type)"):
            tdds.open_trajectory(f"{tmp_path / 'a.zarr'}::x")


@pytest.mark.parametrize(("kind", "axes", "chunks"), [("logits", "NTC", (5, 3, 3)), ("losses", "NT", (5, 3))])
def test_a_missing_chunk_of_zarr_is_no_logits_of_zero(kind, axes, chunks, tmp_path):
    values, _ = checks.logged(kind, (N, T, C))
    checks.write_zarr(tmp_path / "a.zarr", values, attributes={"axes": axes, "kind": kind}, chunks=chunks)
    next((tmp_path / "a.zarr" / "x" / "c").rglob("2")).rename(tmp_path / "lost")
    with pytest.raises(tdds.TrajectoryError, match=r"holds \d of 6 chunks, and zarr reads the others as 0\.0"):
        tdds.open_trajectory(f"{tmp_path / 'a.zarr'}::x")


# ---------------------------------------------------------------------------------------------------- links outside


@pytest.mark.parametrize("name", ["scores/tdds", "scores", "labels", "ids"])
def test_scores_kept_in_another_file_are_refused(name, tmp_path):
    scores_file("secret.h5", ids=np.arange(N))
    scores_file("s.h5", ids=np.arange(N))
    with h5py.File("s.h5", "a") as file:
        del file[name]
        file[name] = h5py.ExternalLink("secret.h5", name)
    with pytest.raises(tdds.TrajectoryError, match=r"s\.h5: (expected a dataset|.*another file)"):
        ScoreTable.load("s.h5")


def test_labels_and_values_kept_in_another_file_are_refused(tmp_path):
    with h5py.File("secret.h5", "w") as file:
        file["labels"], file["x"] = Y, PROBS
    (tmp_path / "raw").write_bytes(PROBS.tobytes())
    layout = h5py.VirtualLayout(PROBS.shape, PROBS.dtype)
    layout[:] = h5py.VirtualSource("secret.h5", "x", PROBS.shape)
    with h5py.File("a.h5", "w") as file:
        file["labels"] = h5py.ExternalLink("secret.h5", "labels")
        file["linked"] = h5py.ExternalLink("secret.h5", "x")
        file.create_dataset("external", PROBS.shape, PROBS.dtype, external=[("raw", 0, PROBS.nbytes)])
        file.create_virtual_dataset("virtual", layout)
    with pytest.raises(tdds.TrajectoryError, match=r"expected a dataset 'labels' inside the file"):
        read_column("a.h5::labels")
    for name in ("linked", "external", "virtual"):
        with pytest.raises(tdds.TrajectoryError, match="keeps its values in another file"):
            tdds.open_trajectory(f"a.h5::{name}", axes="NTC")


def spoil(path, name, **attributes):
    with h5py.File(path, "a") as file:
        file[name].attrs.update(attributes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": {"tdds": np.arange(N) / 1.0, "aum": np.arange(N - 1) / 1.0}}, "'/scores/tdds' has shape"),
        (
            {"scores": {"tdds": np.arange(N), "aum": np.arange(N) / 1.0}},
            "'scores/tdds' has dtype int64",
        ),
        ({"scores": {"tdds": np.full(N, np.nan), "aum": np.arange(N) / 1.0}}, "expected finite float64"),
        ({"keeps": {"tdds": "best", "aum": "smallest"}}, "does not say which end of 'tdds' is kept"),
        ({"parameters": {"tdds": [1], "aum": {}}}, "or what its parameters were"),
        ({"source": [1]}, r"says \[1\] of what was scored"),
        ({"labels": np.arange(N + 1)}, r"'/labels' has shape \(13,\); expected one a sample, \(12,\)"),
        ({"labels": np.full(N, -3)}, "Label of sample 0 is -3"),
    ],
)
def test_scores_that_do_not_fit_together(change, message, tmp_path):
    scores_file("s.h5", **change)
    with pytest.raises(tdds.TrajectoryError, match=message):
        ScoreTable.load("s.h5")


# ----------------------------------------------------------------------------------------------------------- bombs


@pytest.fixture
def flat_memory():
    """No more than 64 MiB are asked for, NumPy's included."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 26, f"{peak:,} bytes"


def write_bomb(path, name, shape, dtype):
    """An .npz of so many zeros."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": shape, "fortran_order": False, "descr": dtype})
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as held,
        held.open(f"{name}.npy", "w") as file,
    ):
        file.write(header.getvalue())
        for start in range(0, n_bytes, 1 << 22):
            file.write(bytes(min(1 << 22, n_bytes - start)))
    return path


def test_npz_bombs(tmp_path, flat_memory):
    from tdds.report import Images

    for name in ("probs", "labels", "images"):
        write_bomb(f"{name}.npz", name, (9000, 6000, 6), "|u1" if name != "probs" else "<i1")
    assert Path("probs.npz").stat().st_size < 1 << 21
    for read in (
        lambda: tdds.open_trajectory("probs.npz"),
        lambda: read_column("labels.npz"),
        lambda: Images(Path("images.npz")),
    ):
        with pytest.raises(tdds.TrajectoryError, match=r"\.npz: unpacks to 324,000,\d+ bytes, more than 200 times"):
            read()


def test_more_than_the_memory_is_refused(tmp_path, monkeypatch):
    np.savez("a.npz", probs=PROBS)
    scores_file("s.parquet")
    monkeypatch.setattr(os, "sysconf", lambda name: 10)
    with pytest.raises(tdds.TrajectoryError, match=r"^a\.npz: unpacks to 1,\d+ bytes, more than this machine's memory"):
        tdds.open_trajectory("a.npz")
    with pytest.raises(tdds.TrajectoryError, match=r"^s\.parquet: unpacks to 384 bytes, more than this"):
        ScoreTable.load("s.parquet")


def test_absurd_shapes(tmp_path, flat_memory):
    for name in ("a.npy", "0_Output.npy"):
        with open(name, "wb") as file:
            said = {"shape": (10**12, 100, 1000), "fortran_order": False, "descr": "<f4"}
            np.lib.format.write_array_header_1_0(file, said)
            file.write(bytes(1000))
    np.save("0_Index.npy", np.arange(3))
    with h5py.File("a.h5", "w") as file:
        file["x"] = PROBS
        file.create_dataset("labels", (1 << 40,), "i8", chunks=(1 << 20,), compression="gzip")
        file.create_dataset("y", (1 << 30, T, C), "f8", chunks=(1 << 16, T, C), compression="gzip")
    for source in ("a.npy", ".", "a.h5::x", "a.h5::y"):
        with pytest.raises(tdds.TrajectoryError, match=r"mmap length|chunks, expected|has shape|Label|cannot be read"):
            tdds.open_trajectory(source, axes=None if source == "." else "NTC")
    with pytest.raises(tdds.TrajectoryError, match="cannot be read"):
        read_column("a.npy")
    with pytest.raises(tdds.TrajectoryError, match="chunks, expected"):
        read_column("a.h5::labels")


def test_a_line_without_end(tmp_path, flat_memory):
    with open("epoch0.jsonl", "wb") as file:
        file.write(b'{"0": [')
        file.truncate(1 << 30)
    with pytest.raises(tdds.TrajectoryError, match=r"epoch0\.jsonl: line 1 is longer than 16777216 bytes"):
        tdds.open_trajectory(tmp_path)
    Path("epoch0.jsonl").write_bytes(b"[" * 100_000)
    with pytest.raises(tdds.TrajectoryError, match=r"epoch0\.jsonl: .*recursion"):
        tdds.open_trajectory(tmp_path)


def test_a_jpeg_that_is_huge(tmp_path, flat_memory):
    from PIL import Image

    from tdds.report import Images

    held = io.BytesIO()
    Image.new("RGB", (8, 8)).save(held, "JPEG")
    for side, n_pixels in ((60_000, 3_600_000_000), (10_000, 100_000_000)):
        at = held.getvalue().index(b"\xff\xc0") + 5
        size = side.to_bytes(2, "big") * 2
        huge = np.frombuffer(held.getvalue()[:at] + size + held.getvalue()[at + 4 :], np.uint8)
        np.savez("pack.npz", jpeg_train=huge, offsets_train=[0, len(huge)])
        with pytest.raises(tdds.TrajectoryError, match=rf"image of sample 0 is too large: .*{n_pixels} pixels"):
            Images(Path("pack.npz")).show(0)
    np.savez("pack.npz", jpeg_train=np.frombuffer(b"%!PS-Adobe-3.0 EPSF-3.0\n", np.uint8), offsets_train=[0, 24])
    with pytest.raises(tdds.TrajectoryError, match=r"pack\.npz: cannot be read as images"):
        Images(Path("pack.npz")).show(0)  # pillow would start Ghostscript for it


# ------------------------------------------------------------------------------------------- pipes and devices


@pytest.fixture
def in_bounds():
    """Half a minute and a GiB, then what waits or reads without end is stopped."""

    def stop(*_):
        raise AssertionError("it waits")

    before, limits = signal.signal(signal.SIGALRM, stop), resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + (1 << 30), limits[1]))
    signal.alarm(30)
    yield
    signal.alarm(0)
    resource.setrlimit(resource.RLIMIT_AS, limits)
    signal.signal(signal.SIGALRM, before)


def make_special(kind, path):
    """Put something that is no file there; a device is linked, lest it be harmed."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    else:
        Path(path).symlink_to("/dev/zero")


SPECIAL = ("pipe", "socket", "device")
#: What is typed, `{}` for what is no file.
READERS = {
    "score": "score {} --K 3 -o out.h5",
    "info": "info {}",
    "verify": "verify {}",
    "convert": "convert {} -o out.h5",
    "compare": "compare {}",
    "select": "select {} --keep 3 -o out.csv",
    "report": "report {} -o out.html",
    "combine": "combine {} s.h5 -o out.h5",
    "a dataset": "info {}::x",
    "labels": "score probs.npy --K 3 --labels {} -o out.h5",
    "ids": "score probs.npy --K 3 --ids {} -o out.h5",
    "features": "score probs.npy --method moderate --labels y.npy --features {} -o out.h5",
    "images": "report s.h5 --images {} -o out.html",
    "rows": "report s.h5 --data {} -o out.html",
}


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_not_read(name, kind, tmp_path, in_bounds):
    np.save("probs.npy", PROBS)
    np.save("y.npy", Y)
    scores_file("s.h5")
    make_special(kind, "odd")
    with pytest.raises(tdds.TrajectoryError, match=rf"^odd: is a {kind}; expected a file\.$"):
        run(*READERS[name].format("odd").split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["odd", "probs.npy", "s.h5", "y.npy"]


#: Where a pipe is come upon: the source that is opened, the place of the pipe.
PLACES = {
    ".npy": ("odd.npy", "odd.npy"),
    ".npz": ("odd.npz", "odd.npz"),
    ".parquet": ("odd.parquet", "odd.parquet"),
    "CCS": ("td-x.pickle", "td-x.pickle"),
    "CCS, a folder": (".", "td-x.pickle"),
    "outputs": ("logs", "logs/0_Output.npy"),
    "index": ("logs", "logs/0_Index.npy"),
    "a later epoch": ("logs", "logs/4_Output.npy"),
    "datacull": (".", "epoch0.jsonl"),
    "Dyn-Unc": (".", "prob_0.txt"),
    "zarr": ("a.zarr::x", "a.zarr/x/zarr.json"),
    "a shard": ("run", "run/epoch-00003.h5"),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_pipe_among_logs_is_named(name, in_bounds):
    source, place = PLACES[name]
    checks.write_directory(Path("logs"), np.log(PROBS), "logits")
    checks.write_store("run", PROBS.astype("f4"), "probs")
    if name == "zarr":
        checks.write_zarr("a.zarr", PROBS, attributes={"axes": "NTC"})
    Path(place).unlink(missing_ok=True)
    make_special("pipe", place)
    with pytest.raises(tdds.TrajectoryError, match=rf"^{place}: is a pipe; expected a file\."):
        tdds.score_trajectory(source, Y, method=["tdds", "loss"], K=3)


# ---------------------------------------------------------------------------------------------- what is written


WRITERS = {
    "score .h5": ("score", "a.npy", "--K", "3", "-o", "out.h5"),
    "score .parquet": ("score", "a.npy", "--K", "3", "-o", "out.parquet"),
    "score .csv": ("score", "a.npy", "--K", "3", "-o", "out.csv"),
    "select .npz": ("select", "s.h5", "--method", "tdds", "--keep", "3", "-o", "out.npz"),
    "select .csv": ("select", "s.h5", "--method", "tdds", "--keep", "3", "-o", "out.csv"),
    "select .txt": ("select", "s.h5", "--method", "tdds", "--keep", "3", "-o", "out.txt"),
    "select .parquet": ("select", "s.h5", "--method", "tdds", "--keep", "3", "-o", "out.parquet"),
    "combine": ("combine", "s.h5", "s2.h5", "-o", "out.h5"),
    "report": ("report", "s.h5", "-o", "out.html"),
    "convert": ("convert", "a.npy", "-o", "out.h5"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_no_link_is_written_through(name, tmp_path):
    np.save("a.npy", PROBS)
    for seed, path in enumerate(("s.h5", "s2.h5")):
        scores_file(path, source={"source": path, "fingerprint": str(seed)})
    *arguments, out = WRITERS[name]
    Path("victim").write_text("mine")
    for target in ("victim", "nobody"):
        Path(out).unlink(missing_ok=True)
        Path(out).symlink_to(target)
        done = run(*arguments, out, "--force")
        assert done.exit_code == 0, done.output
        assert Path(out).is_file()
        assert not Path(out).is_symlink()
    assert Path("victim").read_text() == "mine"
    assert not Path("nobody").exists()
    assert stat.S_IMODE(Path(out).stat().st_mode) == 0o666 & ~_umask()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a.npy", "s.h5", "s2.h5", "victim", out])


def test_the_demo_follows_no_link(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(demo, "SEEDS", range(2))
    monkeypatch.setattr(demo, "PRUNING_RATES", (0.9,))
    Path("demo").mkdir()
    theirs = checks.write_store(Path("theirs"), PROBS, "probs")
    Path("victim").write_text("mine")
    before = {path: path.read_bytes() for path in (*theirs.iterdir(), Path("victim"))}
    made = [Path("demo/run"), Path("demo/digits.png")]
    made[0].symlink_to("../theirs")
    made[1].symlink_to("../victim")
    done = run("demo", "-o", "demo", "--force")
    assert done.exit_code == 0, done.output
    assert not any(path.is_symlink() for path in made)
    assert tdds.open_trajectory(made[0]).n_samples == 1198
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo", "theirs", "victim"]


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("name", [*WRITERS, "pack", "replacing"])
def test_what_is_no_file_is_not_replaced(name, kind, in_bounds):
    *arguments, out = WRITERS.get(name, ["out"])
    write = {
        "pack": lambda: store.pack(tdds.open_trajectory(PROBS), out, overwrite=True),
        "replacing": lambda: replacing(Path(out)).__enter__(),
    }.get(name, lambda: run(*arguments, out, "--force"))
    make_special(kind, out)
    before = os.lstat(out)
    with pytest.raises(tdds.TrajectoryError, match=rf"^{out}: is a {kind}; expected a file\.$"):
        write()
    assert os.path.samestat(os.lstat(out), before)


def test_a_store_is_not_written_through_links(tmp_path):
    Path("victim").write_text("mine")
    Path("run").mkdir()
    Path("run/epoch-00000.h5").symlink_to("../victim")
    with pytest.raises(FileExistsError, match="already holds 1 epochs"):
        checks.write_store("run", PROBS.astype("f4"), "probs")
    with pytest.raises(tdds.TrajectoryError, match=r"epoch-00000\.h5: cannot be read as a trajectory"):
        tdds.TrajectoryWriter("run", N, C, dtype="float32", resume=True)
    Path("run/epoch-00000.h5").unlink()
    writer = tdds.TrajectoryWriter("run", N, C, dtype="float32")
    writer.write(None, PROBS[:, 0])
    Path("run/epoch-00000.h5").symlink_to("../victim")
    with pytest.raises(tdds.TrajectoryError, match="Another writer of part 0 has put epoch 0"):
        writer.end_epoch()
    assert Path("victim").read_text() == "mine"


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_temporary_files_are_private(tmp_path):
    def fail():
        with replacing(tmp_path / "out.h5") as temporary:
            assert stat.S_IMODE(temporary.parent.stat().st_mode) == 0o700
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------------------------------------- what is shown


def test_names_are_no_markup_and_move_no_cursor(tmp_path):
    for name in ("a[/red]", "b[bold]", "c\x1b[2J\x07", "d\nnext"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        np.save(folder / "run.npy", PROBS)
        out = folder / "s.h5"
        for arguments in (
            ("score", folder / "run.npy", "--K", "3", "-o", out),
            ("info", out),
            ("info", folder / "run.npy"),
        ):
            done = run(*arguments)
            assert done.exit_code == 0, done.output
            assert not set("\x1b\x07") & set(done.output)
        assert (
            name.encode("unicode_escape").decode()
            in run("score", folder / "run.npy", "--K", "3", "-o", out, "--force").output
        )
    scores_file("s.h5", source={"source": "[/]\x1b]0;owned\x07"})
    assert "\\x1b]0;owned\\x07" in "".join(run("info", "s.h5").output.split())
    with h5py.File("s.h5", "a") as file:
        file.move("scores/tdds", "scores/t\x1b[2J")
    with pytest.raises(tdds.TrajectoryError, match=r"scores called 't\\x1b\[2J'"):
        ScoreTable.load("s.h5")


def test_a_name_that_is_no_text_is_an_error_of_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["tdds", "info", "no\udcff[/x]\x1b[2Jsuch"])
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    assert capsys.readouterr().err == "tdds: no\\udcff[/x]\\x1b[2Jsuch: no such file or directory.\n"


def test_nothing_in_a_report_is_markup(tmp_path):
    from tdds.report import Rows

    text = f"a,{HOSTILE}\n" + "".join(f"{i},<img src=x onerror=alert(1)>\n" for i in range(N))
    Path("rows.csv").write_text(text)
    table = ScoreTable(
        scores={HOSTILE: np.arange(N) / 7.0},
        keeps={HOSTILE: "largest"},
        parameters={HOSTILE: {HOSTILE: HOSTILE}},
        source={"source": HOSTILE, "command": HOSTILE, "kind": HOSTILE, "dtype": HOSTILE, "fingerprint": HOSTILE},
        labels=Y,
        ids=np.array([f"{HOSTILE}{i}" for i in range(N)], dtype=object),
        created_by=HOSTILE,
    )
    tdds.report.write_report(table, "out.html", name=HOSTILE, samples=Rows(Path("rows.csv")), command=HOSTILE)
    page = Path("out.html").read_text()
    assert page.count("<script") == 2
    assert HOSTILE not in page
    assert "<img" not in page


# ---------------------------------------------------------------------------------------------- found by the fuzzer


def test_losses_that_overflow_are_no_scores(tmp_path):
    losses = np.zeros((3, 6))
    losses[1, 2] = 1e200
    losses[1, 4] = -1e200
    with pytest.raises(tdds.TrajectoryError, match=r"^The tdds score of sample 1 is (inf|nan): what"):
        tdds.score_trajectory(losses, K=3)


def test_log_probs_that_overflow_are_named():
    log_probs = np.log(PROBS)
    log_probs[4, 2, 1] = 800
    with pytest.raises(tdds.TrajectoryError, match=r"^Row of sample 4 at epoch 2 sums to inf, expected 1"):
        tdds.score_trajectory(log_probs, kind="log_probs", K=3)


def losses_for_logits():
    return checks.write_directory(Path("losses"), PROBS[..., 0], "losses")


def empty_lines():
    Path("dynamics_epoch_0.jsonl").touch()
    return "."


def empty_text():
    Path("prob_0.txt").touch()
    return "."


def hdf5(**datasets):
    """`x` and other datasets of a file; a type of HDF5's is one of that and of N values, which NumPy has not."""
    with h5py.File("a.h5", "w") as file:
        for name, held in ({"x": PROBS} | datasets).items():
            if isinstance(held, h5py.h5t.TypeID):
                h5py.h5d.create(file.id, name.encode(), held, h5py.h5s.create_simple((N,)))
            else:
                file[name] = held
        file["x"].attrs["axes"] = "NTC"
    return "a.h5::x"


def integer_of(n_bytes):
    kind = h5py.h5t.STD_I32LE.copy()
    kind.set_size(n_bytes)
    kind.set_precision(8 * n_bytes)
    return kind


def zarr_of(spoil, **beside):
    """An array of zarr format 2, spoiled by a function of its folder."""
    where = checks.write_zarr("a.zarr", PROBS, attributes={"axes": "NTC"}, zarr_format=2, beside=beside)
    spoil(Path("a.zarr"))
    return where


def without_order(folder):
    said = json.loads((folder / "x/.zarray").read_text())
    (folder / "x/.zarray").write_text(json.dumps({key: said[key] for key in said if key != "order"}))


def negative_size(folder):
    """Blosc's header says that so many bytes come out; numcodecs asks Python for them."""
    with open(folder / "x/0.0.0", "r+b") as chunk:
        chunk.seek(7)
        chunk.write(b"\xff")


def group_for_labels(folder):
    (folder / "labels").mkdir()
    (folder / "labels/.zgroup").write_text('{"zarr_format": 2}')


#: By name: a function that writes a damaged source and returns it, and what is said of it.
TRAJECTORIES = {
    "a directory of losses": (losses_for_logits, r"^losses: holds no \{t\}_Output\.npy; pass kind='losses'"),
    "empty JSON lines": (empty_lines, r"^dynamics_epoch_0\.jsonl: is empty\."),
    "empty text of Dyn-Unc": (empty_text, r"^\., epoch 0: is empty\."),
    "an HDF5 link to nowhere": (
        lambda: hdf5(labels=h5py.SoftLink("/nowhere")),
        r"^a\.h5: expected a dataset '/labels' inside the file",
    ),
    "HDF5 integers of 3 bytes": (lambda: hdf5(x=integer_of(3)), r"^a\.h5: '/x' holds a type that NumPy has not: .*i3"),
    "HDF5 labels of 12 bytes": (
        lambda: hdf5(labels=integer_of(12)),
        r"^a\.h5: '/labels' holds a type that NumPy has not: .*i12",
    ),
    "zarr metadata that lack a field": (lambda: zarr_of(without_order), r"^a\.zarr: "),
    "a zarr chunk of a negative size": (lambda: zarr_of(negative_size), r"^a\.zarr: .* Negative size passed"),
    "a zarr group for labels": (lambda: zarr_of(group_for_labels), r"^a\.zarr::labels: is no array\."),
}


@pytest.mark.parametrize("name", TRAJECTORIES)
def test_damage_that_other_packages_say_in_their_own_way(name):
    write, message = TRAJECTORIES[name]
    source = write()
    with pytest.raises(tdds.TrajectoryError, match=message) as caught:
        tdds.score_trajectory(source, K=3)
    assert "\n" not in str(caught.value)


def test_an_id_of_parquet_that_is_no_text():
    """What pyarrow raises of it is no error of Python's own kinds."""
    scores_file("s.parquet", ids=np.array([f"img-{i}" for i in range(N)], dtype=object))
    whole = Path("s.parquet").read_bytes()
    Path("s.parquet").write_bytes(whole.replace(b"img-0", b"img\xff0"))
    with pytest.raises(tdds.TrajectoryError, match=r"^s\.parquet: cannot be read as scores: .*img") as caught:
        ScoreTable.load("s.parquet")
    assert type(caught.value.__cause__).__name__ == "ArrowException"


def test_a_field_of_a_table_that_is_too_large():
    from tdds.report import Rows

    Path("rows.csv").write_text('a\n"' + "x" * 200_000 + '"\n')
    with pytest.raises(tdds.TrajectoryError, match=r"rows\.csv: cannot be read as rows: field larger"):
        Rows(Path("rows.csv"))
