"""The store: what is written comes back, what is half written or damaged is never taken for whole."""

import contextlib
import errno
import json
import os
import re
import subprocess
import sys
import textwrap
import time
import zlib
from pathlib import Path

import checks
import equations
import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

import tdds
from tdds import TrajectoryError, TrajectoryWriter, store
from tdds.cli.commands import app

SHAPE = (40, 3, 5)
DTYPES = ("float16", "float32", "float64", "bfloat16")


def rounded(values, dtype):
    """What a store of `dtype` gives back of `values`."""
    if dtype == "bfloat16":
        return store.widen(store.float32_to_bfloat16(values))
    return values.astype(dtype)


def read_all(source, **said):
    trajectory = tdds.open_trajectory(source, **said)
    row = () if trajectory.n_classes is None else (trajectory.n_classes,)
    values = np.empty((trajectory.n_samples, trajectory.n_epochs, *row))
    with trajectory.reader() as read:
        read(0, len(values), 0, values)
    return values


def contents(path):
    """Everything in the shards of a store, by file, but for what names the run."""
    found = {}
    for shard in sorted(Path(path).glob("epoch-*.h5")):
        with h5py.File(shard, locking=False) as file:
            attributes = {name: value for name, value in file.attrs.items() if name != "run_id"}
            found[shard.name] = (attributes, {name: file[name][()].tobytes() for name in file})
    return found


def said(file):
    """The attributes of a file: numbers, and text of fixed length, which h5py gives as bytes."""
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in file.attrs.items()}


def names(path):
    return sorted(entry.name for entry in Path(path).iterdir())


def fill(writer, n_epochs, values):
    """Write epochs up to `n_epochs` of `values`, samples first."""
    for epoch in range(writer.n_epochs, n_epochs):
        writer.write(None, values[:, epoch])
        writer.end_epoch()


def run(script, *arguments, env=(), prefix=()):
    """Run a script in an interpreter of its own; returns what it printed as JSON."""
    command = [*prefix, sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **dict(env)})
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


# ------------------------------------------------------------------------------------------------------ round trip


@pytest.mark.parametrize("n_parts", [1, 2])
@pytest.mark.parametrize("kind", checks.KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_round_trip(dtype, kind, n_parts, tmp_path):
    """Every dtype and kind, in shuffled batches, by one process and by two, and packed."""
    values, y = checks.logged(kind, SHAPE)
    if kind in ("logits", "log_probs"):
        values[3, 1, 2] = -np.inf  # the logarithm of an exact 0
    ids = [f"é/{i}.jpg" for i in range(40)] if n_parts == 1 else np.arange(40) * 10**12
    path = checks.write_store(tmp_path / "run", values, kind, n_parts=n_parts, dtype=dtype, labels=y, ids=ids)
    trajectory = tdds.open_trajectory(path)
    store.pack(trajectory, tmp_path / "packed.h5")
    store.pack(trajectory, tmp_path / "wide.h5", dtype="float64")
    for source in (path, tmp_path / "packed.h5", tmp_path / "wide.h5"):
        opened = tdds.open_trajectory(source)
        assert (opened.n_samples, opened.n_epochs, opened.n_classes) == (*values.shape, None)[:3]
        assert (opened.kind, opened.dtype) == (kind, "float64" if source.name == "wide.h5" else dtype)
        np.testing.assert_array_equal(opened.labels, y)
        np.testing.assert_array_equal(opened.ids, ids)
        np.testing.assert_array_equal(read_all(source), rounded(values, dtype))
        report = store.verify(source)
        assert (report.problems, report.n_whole) == ([], 3)
    header = store.read_header(path)
    assert (header.kind, header.dtype, header.n_parts, header.created_by) == (kind, dtype, n_parts, tdds.__version__)
    assert store.read_header(tmp_path / "packed.h5").n_epochs == 3


def test_bfloat16_bits_are_taken_as_they_are(tmp_path):
    values, _ = checks.logged("logits", SHAPE)
    bits = store.float32_to_bfloat16(values)
    with TrajectoryWriter(tmp_path / "bits", 40, 5, kind="logits", dtype="bfloat16") as writer:
        fill(writer, 3, bits)
    with TrajectoryWriter(tmp_path / "floats", 40, 5, kind="logits", dtype="bfloat16") as writer:
        fill(writer, 3, values)
    assert contents(tmp_path / "bits") == contents(tmp_path / "floats")
    with h5py.File(tmp_path / "bits" / "epoch-00000.h5") as file:
        np.testing.assert_array_equal(file["values"][()], bits[:, 0])


def test_log8_is_a_code_of_one_byte_normalised_when_it_is_read(tmp_path):
    probs, _ = checks.logged("probs", SHAPE)
    probs[0, 0] = np.eye(5)[2]
    codes = np.rint(255 * np.sqrt(-np.log2(np.maximum(probs, 2.0**-27)) / 27))
    decoded = 2.0 ** (-27 * (codes / 255) ** 2)
    decoded /= decoded.sum(axis=-1, keepdims=True)
    for name, values in (("floats", probs), ("codes", codes.astype(np.uint8))):
        path = tmp_path / name
        with TrajectoryWriter(path, 40, 5, dtype="log8") as writer:
            fill(writer, 3, values)
        with h5py.File(path / "epoch-00000.h5") as file:
            np.testing.assert_array_equal(file["values"][()], codes[:, 0])
        store.pack(tdds.open_trajectory(path), tmp_path / f"{name}.h5")
        store.pack(tdds.open_trajectory(path), tmp_path / f"{name}-wide.h5", dtype="float32")
        for source in (path, tmp_path / f"{name}.h5", tmp_path / f"{name}-wide.h5"):
            assert tdds.open_trajectory(source).dtype == ("float32" if "wide" in source.name else "log8")
            np.testing.assert_allclose(read_all(source), decoded, rtol=1e-6)
            np.testing.assert_allclose(
                tdds.score_trajectory(source, K=3), equations.tdds(decoded, K=3), rtol=1e-3, atol=1e-9
            )
            assert store.verify(source).problems == []
    large = probs > 1e-6
    assert abs(decoded[large] / probs[large] - 1).max() < 0.07


def test_log8_takes_no_logits_and_no_codes_of_anything_else(tmp_path):
    with pytest.raises(ValueError, match=r"^dtype='log8' holds probabilities; got kind='logits'\."):
        TrajectoryWriter(tmp_path / "run", 2, 3, kind="logits", dtype="log8")
    with TrajectoryWriter(tmp_path / "run", 2, 3, dtype="log8") as writer:
        for values, words in (
            (np.zeros((2, 3), np.uint8), r"^Sample 0 at epoch 0 has codes of sum 3, expected log8 of probabilities"),
            (np.full((2, 3), np.nan), r"^Sample 0 at epoch 0 has the value nan, expected probs"),
        ):
            with pytest.raises(TrajectoryError, match=words):
                writer.write([0, 1], values)


def test_duplicates_keep_the_last_value_and_gaps_are_named(tmp_path):
    """Padding duplicates of a distributed sampler, and samples that `drop_last` left out."""
    with TrajectoryWriter(tmp_path / "run", 4, None, kind="losses", dtype="float64") as writer:
        writer.write([2, 0, 2, 1], np.array([9.0, 1, 8, 2]))
        writer.write(slice(2, 4), np.array([3.0, 4]))
        writer.end_epoch()
        writer.write([3, 1, 2, 1], np.array([7.0, 0, 5, 6]))
        writer.end_epoch()
    np.testing.assert_array_equal(read_all(tmp_path / "run", missing="carry"), [[1, 1], [2, 6], [3, 5], [4, 7]])
    with pytest.raises(
        TrajectoryError, match=r"^Epoch 1 does not hold sample 0; pass missing='carry' \(--missing carry\) to repeat"
    ):
        read_all(tmp_path / "run")
    report = store.verify(tmp_path / "run")
    assert [(e.n_rows, e.n_missing, e.n_duplicates) for e in report.epochs] == [(6, 0, 2), (4, 1, 1)]
    assert report.problems == []


def test_splits_lie_side_by_side(tmp_path):
    for split, n_samples in (("validation", 7), ("train", 11)):
        with TrajectoryWriter(tmp_path, n_samples, 2, split=split) as writer:
            fill(writer, 2, np.full((n_samples, 2, 2), 0.5))
    assert store.list_splits(tmp_path) == ["train", "validation"]
    assert tdds.open_trajectory(tmp_path / "train").n_samples == 11
    assert tdds.open_trajectory(tmp_path / "validation").n_samples == 7


def test_a_plain_reader_finds_everything(tmp_path):
    values, y = checks.logged("probs", (1000, 2, 800))
    path = checks.write_store(tmp_path / "run", values, "probs", dtype="float16", labels=y, ids=[f"i{i}" for i in y])
    with h5py.File(path / "store.h5") as file:
        header = said(file)
        np.testing.assert_array_equal(file["labels"], y)
        assert file["ids"].asstr()[0] == f"i{y[0]}"
    expected = {"format": "tdds-trajectory", "format_version": 1, "n_samples": 1000, "n_classes": 800}
    expected |= {"kind": "probs", "dtype": "float16", "n_parts": 1, "created_by": tdds.__version__}
    assert header == expected | {"run_id": header["run_id"]}
    with h5py.File(path / "epoch-00001.h5") as file:
        shared = {name: header[name] for name in ("format", "format_version", "run_id", "kind", "dtype", "n_parts")}
        shared |= {"created_by": tdds.__version__, "epoch": 1, "part": 0, "encoding": "plain"}
        assert said(file) == shared
        assert sorted(file) == ["crc32", "index", "values"]
        stored, index, rows = file["values"][()], file["index"][()], file["values"].chunks[0]
        assert (file["values"].compression, file["values"].chunks) == (None, (250, 800))
        np.testing.assert_array_equal(stored, values[index, 1].astype("f2"))
        assert file["crc32"][()].tolist() == [zlib.crc32(stored[at : at + rows]) for at in range(0, 1000, rows)]
        assert file["index"].attrs["crc32"] == zlib.crc32(index)


# --------------------------------------------------------------------------------------------- starting and stopping


def test_resume_continues_and_a_fresh_start_is_refused(tmp_path):
    values, _ = checks.logged("probs", (40, 6, 5))
    for n_epochs, found in ((0, 0), (2, 0), (5, 2)):  # an empty path, a header without epochs, two epochs
        with TrajectoryWriter(tmp_path / "run", 40, 5, resume=True) as writer:
            assert writer.n_epochs == found
            fill(writer, n_epochs, values)
    text = f"{tmp_path / 'run'} already holds 5 epochs of part 0; pass resume=True to continue, or another path."
    with pytest.raises(FileExistsError, match=f"^{re.escape(text)}$"):
        TrajectoryWriter(tmp_path / "run", 40, 5)
    with TrajectoryWriter(tmp_path / "once", 40, 5) as writer:
        fill(writer, 6, values)
    with pytest.raises(ValueError, match=r"^keep_epochs=6, but .* holds only 5 whole epochs\.$"):
        TrajectoryWriter(tmp_path / "run", 40, 5, resume=True, keep_epochs=6)
    with TrajectoryWriter(tmp_path / "run", 40, 5, resume=True, keep_epochs=4) as writer:
        assert (writer.n_epochs, len(store.list_shards(tmp_path / "run"))) == (4, 4)
        fill(writer, 6, values)
    assert contents(tmp_path / "run") == contents(tmp_path / "once")


def test_resume_goes_back_to_what_all_parts_have(tmp_path):
    values, _ = checks.logged("probs", SHAPE)
    for part, n_epochs in ((0, 3), (1, 2)):
        with TrajectoryWriter(tmp_path, 40, 5, part=part, n_parts=2) as writer:
            for epoch in range(n_epochs):
                writer.write(slice(part, None, 2), values[part::2, epoch])
                writer.end_epoch()
    (tmp_path / f".epoch-00002.part-0-of-2.{'0' * 32}.tmp").touch()
    (tmp_path / f".epoch-00002.part-1-of-2.{'1' * 32}.tmp").touch()  # may be a living writer's
    assert tdds.open_trajectory(tmp_path).n_epochs == 2
    report = store.verify(tmp_path)
    assert (report.problems, len(report.epochs)) == ([], 2)
    with TrajectoryWriter(tmp_path, 40, 5, part=0, n_parts=2, resume=True) as writer:
        assert writer.n_epochs == 2
    assert [name for name in names(tmp_path) if "0000" in name and "epoch-00002" in name] == [
        f".epoch-00002.part-1-of-2.{'1' * 32}.tmp"
    ]


def test_a_resume_that_is_cut_off_leaves_no_gap(tmp_path, monkeypatch):
    """The newest epochs go first."""
    with TrajectoryWriter(tmp_path, 4, 2) as writer:
        fill(writer, 5, np.full((4, 5, 2), 0.5))
    unlink = Path.unlink

    def cut_off(path, **options):
        unlink(path, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", cut_off)
    with pytest.raises(KeyboardInterrupt):
        TrajectoryWriter(tmp_path, 4, 2, resume=True, keep_epochs=2)
    monkeypatch.undo()
    assert len(store.list_shards(tmp_path)) == 4


def test_resume_clears_what_a_dead_process_left(tmp_path):
    """A folder, and half a header: nothing was ever reported as written."""
    half = tmp_path / "run" / f".store.part-0-of-1.{'a' * 32}.tmp"
    half.parent.mkdir()
    half.write_bytes(b"\x89HDF")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with TrajectoryWriter(tmp_path / "run", 40, 5, resume=True) as writer:
        assert writer.n_epochs == 0
    assert names(tmp_path / "run") == ["notes.txt", "store.h5"]


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"n_samples": 41, "labels": None}, "is a store of n_samples=40, this writer has n_samples=41; pass another"),
        ({"n_classes": 6}, "is a store of n_classes=5, this writer has n_classes=6; pass another path"),
        ({"kind": "logits"}, "is a store of kind='probs', this writer has kind='logits'; pass another path"),
        ({"dtype": "float32"}, "is a store of dtype='float16', this writer has dtype='float32'; pass another path"),
        ({"n_parts": 2}, "is a store of n_parts=1, this writer has n_parts=2; pass another path"),
        ({"labels": [1] * 40}, "labels were given, but the store {} has others; pass another path."),
        ({"ids": range(40)}, "ids were given, but the store {} has none; pass another path."),
    ],
    ids=lambda case: next(iter(case)) if isinstance(case, dict) else "",
)
def test_another_store_is_refused(changed, text, tmp_path):
    same = {"n_samples": 40, "n_classes": 5, "labels": [0] * 40}
    TrajectoryWriter(tmp_path, **same).close()
    with pytest.raises(TrajectoryError, match=re.escape(text.format(tmp_path))):
        TrajectoryWriter(tmp_path, resume=True, **(same | changed))
    TrajectoryWriter(tmp_path, 40, 5, resume=True).close()  # labels may be left out
    assert names(tmp_path) == ["store.h5"]


@pytest.mark.parametrize(
    ("changed", "error", "text"),
    [
        ({"kind": "scores"}, ValueError, "kind='scores' is not known"),
        ({"dtype": "int8"}, ValueError, "dtype must be one of float16, float32, float64, bfloat16, log8, got 'int8'"),
        ({"n_samples": 0}, ValueError, "n_samples=0 is too small; expected n_samples >= 1."),
        ({"n_classes": 2.0}, TypeError, "n_classes must be an integer, got 2.0 of type float."),
        ({"kind": "losses"}, ValueError, "n_classes=5 with kind='losses', one number a sample; pass n_classes=None."),
        ({"part": 1}, ValueError, "part=1 of n_parts=1; expected 0 to 0."),
        ({"split": "../x"}, ValueError, "split='../x' must be the name of one sub-directory."),
        ({"keep_epochs": 1}, ValueError, "keep_epochs has a meaning only with resume=True."),
        ({"labels": [5] * 40}, ValueError, "Label of sample 0 is 5; expected 0 to 4."),
        ({"ids": ["a"]}, ValueError, "ids have shape (1,); expected one a sample, (40,)."),
    ],
    ids=lambda case: next(iter(case)) if isinstance(case, dict) else "",
)
def test_a_bad_argument_is_named_and_makes_nothing(changed, error, text, tmp_path):
    with pytest.raises(error, match=re.escape(text)):
        TrajectoryWriter(tmp_path / "run", **({"n_samples": 40, "n_classes": 5} | changed))
    assert names(tmp_path) == []


# ------------------------------------------------------------------------------------------------- rejected writes


def spoiled(values, at, value):
    values = values.copy()
    values[at] = value
    return values


LATER = np.arange(500, 2000)  # two chunks of the shard, the bad row in the last
REJECTED = {
    "nan": (
        "probs",
        LATER,
        lambda v: spoiled(v, (-1, 7), np.nan),
        TrajectoryError,
        "Sample 1999 at epoch 1 has the value nan, expected probs between 0 and 1.001",
    ),
    "above": (
        "probs",
        LATER,
        lambda v: spoiled(v, (-1, 7), 1.5),
        TrajectoryError,
        "Sample 1999 at epoch 1 has the value 1.5, expected probs between 0 and 1.001",
    ),
    "negative": (
        "probs",
        LATER,
        lambda v: spoiled(v, (0, 0), -1e-3),
        TrajectoryError,
        "Sample 500 at epoch 1 has the value -0.001, expected probs between 0 and 1.001",
    ),
    "infinite": (
        "logits",
        LATER,
        lambda v: spoiled(v, (-1, 7), np.inf),
        TrajectoryError,
        "Sample 1999 at epoch 1 has the value inf, expected logits between -inf and 1.798e+308",
    ),
    "overflow": (
        "logits",
        LATER,
        lambda v: spoiled(v, (-1, 7), -7e4),
        TrajectoryError,
        "Sample 1999 at epoch 1 has the value -70000.0, too large for float16",
    ),
    "columns": (
        "probs",
        LATER,
        lambda v: v[:, 1:],
        ValueError,
        "values have shape (1500, 199), expected (1500, 200): a row for each sample of index.",
    ),
    "rows": (
        "probs",
        LATER,
        lambda v: v[1:],
        ValueError,
        "values have shape (1499, 200), expected (1500, 200): a row for each sample of index.",
    ),
    "integers": ("probs", LATER, lambda v: v.astype(int), TypeError, "values must be floating point, got dtype int64"),
    "sample": (
        "probs",
        LATER + 1,
        lambda v: v,
        ValueError,
        "index names sample 2000 (row 1499), expected 0 to 1999; nothing was recorded.",
    ),
    "negative sample": (
        "probs",
        LATER - 501,
        lambda v: v,
        ValueError,
        "index names sample -1 (row 0), expected 0 to 1999; nothing was recorded.",
    ),
    "float index": (
        "probs",
        LATER * 1.0,
        lambda v: v,
        TypeError,
        "index must hold integers, the sample of each row; got dtype float64.",
    ),
    "2-D index": (
        "probs",
        LATER[:, None],
        lambda v: v,
        ValueError,
        "index must have shape (n_rows,), the sample of each row; got shape (1500, 1).",
    ),
}


@pytest.mark.parametrize("name", REJECTED)
def test_a_rejected_write_records_nothing(name, tmp_path):
    kind, index, spoil, error, text = REJECTED[name]
    values, _ = checks.logged(kind, (2000, 2, 200))
    for folder in ("with", "without"):
        with TrajectoryWriter(tmp_path / folder, 2000, 200, kind=kind) as writer:
            fill(writer, 1, values)
            writer.write(slice(0, 500), values[:500, 1])
            if folder == "with":
                with pytest.raises(error, match=re.escape(text)):
                    writer.write(index, spoil(values[500:, 1]))
            writer.write(LATER, values[500:, 1])
            writer.write([], np.empty((0, 200)))
            writer.end_epoch()
    assert contents(tmp_path / "with") == contents(tmp_path / "without")
    np.testing.assert_array_equal(read_all(tmp_path / "with"), values.astype("f2"))


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8"])
def test_values_of_the_other_byte_order(dtype, tmp_path):
    values, _ = checks.logged("probs", SHAPE)
    with TrajectoryWriter(tmp_path / "run", 40, 5) as writer:
        fill(writer, 3, values.astype(dtype))
    np.testing.assert_array_equal(read_all(tmp_path / "run"), values.astype(dtype).astype("<f2"))


@pytest.mark.parametrize("value", [np.nan, -1e-3, 1.5, np.inf])
def test_float16_probabilities_are_checked_too(value, tmp_path):
    good = np.array([[0.0, 1.0], [-0.0, 1.001]], np.float16)
    with TrajectoryWriter(tmp_path, 2, 2) as writer:
        with pytest.raises(TrajectoryError, match=r"^Sample 1 at epoch 0 has the value .*, expected probs between 0"):
            writer.write(None, spoiled(good, (1, 0), value))
        fill(writer, 1, good[:, None])
    np.testing.assert_array_equal(read_all(tmp_path)[:, 0], good)


def test_an_interrupted_write_loses_its_epoch(tmp_path, monkeypatch):
    values = np.full((4, 2, 2), 0.5)

    def interrupted(*_):
        raise KeyboardInterrupt

    with TrajectoryWriter(tmp_path, 4, 2) as writer:
        writer.write([3], values[:1, 0])
        monkeypatch.setattr("zlib.crc32", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.write(None, values[:, 0])
        monkeypatch.undo()
        with pytest.raises(TrajectoryError, match=r"^Epoch 0 of .* failed earlier .* and is lost"):
            writer.end_epoch()
        writer.abandon_epoch()
        fill(writer, 2, values)
    np.testing.assert_array_equal(read_all(tmp_path), values)


def test_an_epoch_that_was_not_ended_is_dropped_aloud(tmp_path):
    values = np.full((40, 5), 0.2)
    writer = TrajectoryWriter(tmp_path, 40, 5)
    with pytest.raises(TrajectoryError, match=r"^Epoch 0 has no rows: call write\(index, values\) before end_epoch"):
        writer.end_epoch()
    fill(writer, 1, values[:, None])
    writer.write(None, values)
    writer.write([3], values[:1])
    with pytest.raises(
        TrajectoryError, match=r"^41 rows of epoch 1 were written to .* but the epoch was not ended, so"
    ):
        writer.close()
    writer.close()
    with pytest.raises(ValueError, match=r"^The writer of .* is closed\.$"):
        writer.write(None, values)
    with contextlib.suppress(ZeroDivisionError), TrajectoryWriter(tmp_path, 40, 5, resume=True) as writer:
        writer.write(None, values)
        _ = 1 / 0
    assert (writer.n_epochs, names(tmp_path)) == (1, ["epoch-00000.h5", "store.h5"])
    writer = TrajectoryWriter(tmp_path, 40, 5, resume=True)
    writer.write(None, values)
    writer.abandon_epoch()
    writer.close()
    writer = TrajectoryWriter(tmp_path, 40, 5, resume=True)
    writer.write(None, values)
    del writer  # forgotten
    assert names(tmp_path) == ["epoch-00000.h5", "store.h5"]


def test_a_forked_child_harms_nothing(tmp_path):
    """A data loader's worker inherits the open epoch; whatever it does, the parent's epoch is whole."""
    found = run(
        """
        import json, os, sys
        import numpy as np
        from tdds import TrajectoryWriter

        writer = TrajectoryWriter(sys.argv[1], 3000, 100)
        for rows in np.array_split(np.arange(3000), 4):
            writer.write(rows, np.full((len(rows), 100), 0.01))
            child = os.fork()
            if not child:
                try:
                    for i in range(20):
                        writer.write(slice(None), np.full((3000, 100), 0.5))
                except OSError as error:
                    print(json.dumps(str(error)), flush=True) if rows[0] == 0 else None
                del writer
                sys.exit(3)
            assert os.waitpid(child, 0)[1] >> 8 == 3
        writer.end_epoch()
        """,
        tmp_path,
    )
    assert found == (
        "[Errno 1] this file is being written by the process from which this one forked: "
        f"'{tmp_path / 'epoch-00000.h5'}'"
    )
    assert names(tmp_path) == ["epoch-00000.h5", "store.h5"]
    assert store.verify(tmp_path).problems == []
    assert (read_all(tmp_path) == np.float16(0.01)).all()


# ------------------------------------------------------------------------------------------------------------ damage


def flip(path, offset, bit=4):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ (1 << bit)]))


def chunk_offset(path, name, row=0):
    with h5py.File(path) as file:
        dataset = file[name]
        if dataset.chunks is None:
            return dataset.id.get_offset()
        return dataset.id.get_chunk_info(row // dataset.chunks[0]).byte_offset


def truncate(path, share):
    os.truncate(path, int(path.stat().st_size * share))


def swap_run(path):
    """Put the same shard of another run in its place."""
    values, _ = checks.logged("probs", SHAPE)
    other = checks.write_store(path.parent.parent / "other", values, "probs", n_parts=2, dtype="float16")
    os.replace(other / path.name, path)


def tamper(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


SHARD = "epoch-00001.part-1-of-2.h5"
OPEN = "synchronously open" if h5py.version.hdf5_version_tuple >= (1, 14) else "open"
DAMAGE = {
    "truncated": (lambda p: truncate(p, 0.7), f"cannot be read as a trajectory: Unable to {OPEN} file"),
    "empty": (lambda p: truncate(p, 0), f"cannot be read as a trajectory: Unable to {OPEN} file"),
    "bit of values": (
        lambda p: flip(p, chunk_offset(p, "values") + 33),
        "the checksum of the rows from 0 on does not hold: it is damaged",
    ),
    "bit of index": (
        lambda p: flip(p, chunk_offset(p, "index") + 8, 0),
        "the checksum of 'index' does not hold: this shard is damaged",
    ),
    "bit of crc32": (
        lambda p: flip(p, chunk_offset(p, "crc32")),
        "the checksum of the rows from 0 on does not hold: it is damaged",
    ),
    "another run": (swap_run, "this shard is not of this store"),
    "another epoch": (
        lambda p: p.write_bytes((p.parent / "epoch-00000.part-1-of-2.h5").read_bytes()),
        "epoch is 0, expected 1; this shard is not of this store",
    ),
    "another part": (
        lambda p: p.write_bytes((p.parent / "epoch-00001.part-0-of-2.h5").read_bytes()),
        "part is 0, expected 1; this shard is not of this store",
    ),
    "missing part": (Path.unlink, "missing, though later epochs are there"),
    "no values": (
        lambda p: tamper(p, lambda f: f.pop("values")),
        "expected a dataset 'values' inside the file, without links to others.",
    ),
    "no attribute": (lambda p: tamper(p, lambda f: f.attrs.pop("run_id")), "cannot be read as a trajectory:"),
    "coded": (lambda p: tamper(p, lambda f: f.attrs.update(encoding="delta")), "encoding is 'delta', expected 'plain'"),
    "newer": (
        lambda p: tamper(p, lambda f: f.attrs.update(format_version=2)),
        "format version 2 is newer than 1; update tdds",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_shard_is_found_and_named(name, tmp_path):
    values, _ = checks.logged("probs", SHAPE)
    path = checks.write_store(tmp_path / "run", values, "probs", n_parts=2, dtype="float16")
    damage, text = DAMAGE[name]
    damage(path / SHARD)
    report = store.verify(path)
    assert [bool(epoch.problems) for epoch in report.epochs] == [False, True, False]
    assert report.n_whole == 1
    assert report.problems[0].startswith(f"{path / SHARD}: ")
    assert text in report.problems[0]
    shown = CliRunner().invoke(app, ["verify", str(path)])
    assert shown.exit_code == 1
    assert shown.output.splitlines() == [*report.problems, f"{path}: 3 epochs, 1 of them damaged."]
    if name == "missing part":
        with pytest.raises(TrajectoryError, match=r"later epochs are there\. Whole: epochs 0, 2; pass damaged='skip'"):
            tdds.open_trajectory(path)
        with pytest.raises(
            TrajectoryError, match=re.escape(f"{path / SHARD} is missing though later epochs are there")
        ):
            TrajectoryWriter(path, 40, 5, n_parts=2, resume=True)
    else:
        with pytest.raises(TrajectoryError, match=re.escape(f"{path / SHARD}: ")):  # noqa: SIM117
            with store.open_shard(path / SHARD) as shard:
                shard.read()
        if name not in ("bit of values", "bit of crc32"):  # scoring reads values without their checksums
            with pytest.raises(TrajectoryError, match=re.escape(f"{path / SHARD}: ")):
                read_all(path)


@pytest.mark.parametrize(("n_epochs", "apart"), [((9, 3), True), ((0, 2), True), ((5, 5, 2), True), ((4, 3), False)])
def test_parts_that_are_apart_are_shown_and_no_damage(n_epochs, apart, tmp_path):
    values, _ = checks.logged("probs", (30, 9, 5))
    for part, n in enumerate(n_epochs):
        own = np.arange(part, 30, len(n_epochs))
        with TrajectoryWriter(tmp_path, 30, 5, part=part, n_parts=len(n_epochs)) as writer:
            for t in range(n):
                writer.write(own, values[own, t])
                writer.end_epoch()
    shown = CliRunner().invoke(app, ["verify", str(tmp_path)])
    said = f"Its parts came to {str(n_epochs)[1:-1]} epochs; one counts when every part has it."
    assert shown.exit_code == 0
    assert shown.output.splitlines() == [f"{tmp_path}: {min(n_epochs)} epochs, all whole.", said][: 1 + apart]
    for command in ("info", "verify") if min(n_epochs) else ("verify",):  # a trajectory of no epochs is none
        found = json.loads(CliRunner().invoke(app, [command, str(tmp_path), "--json"]).output)
        assert (found["n_epochs"], found.get("part_epochs")) == (min(n_epochs), list(n_epochs) if apart else None)


def test_a_missing_epoch_in_the_middle_and_strangers_are_named(tmp_path):
    values, _ = checks.logged("probs", SHAPE)
    path = checks.write_store(tmp_path / "run", values, "probs", dtype="float16")
    (path / "epoch-00001.h5").unlink()
    strangers = ["epoch-000001.h5", "epoch-00001.part-0-of-2.h5"]
    for name in (*strangers, "epoch-1.h5", "epoch-00001.h5.bak"):  # the last two look like nothing of ours
        (path / name).touch()
    (path / "epoch-00003.h5").symlink_to("nowhere")
    assert store.verify(path).problems == [
        f"{path / 'epoch-00001.h5'}: missing, though later epochs are there",
        store.verify(path).epochs[3].problems[0],
        *(f"{path / name}: is no shard of this store of 1 parts" for name in strangers),
    ]
    assert "epoch-00003.h5" in store.verify(path).epochs[3].problems[0]
    assert store.verify(path).n_whole == 1


@pytest.mark.parametrize("name", ["store.h5", "epoch-00001.h5", "packed.h5"])
def test_any_flipped_bit_is_found_or_harmless(name, tmp_path):
    """A bit of every eleventh byte, in turn: the file is refused by name, or says what it said before."""
    values, y = checks.logged("probs", (12, 2, 3))
    said = {"labels": y, "ids": [f"image-{i}" for i in range(12)]}
    path = checks.write_store(tmp_path / "run", values, "probs", dtype="float32", **said)
    store.pack(tdds.open_trajectory(path), tmp_path / "packed.h5")
    file = tmp_path / name if name == "packed.h5" else path / name
    source = file if name == "packed.h5" else path

    def everything():
        header = store.read_header(source)
        stated = [getattr(header, key) for key in ("run_id", "n_samples", "n_classes", "kind", "dtype", "n_parts")]
        return [*stated, header.labels.tolist(), header.ids.tolist(), read_all(source).tolist()]

    expected, whole = everything(), file.read_bytes()
    n_found = 0
    for offset in range(0, len(whole), 11):
        flip(file, offset, offset % 8)
        try:
            problems = store.verify(source).problems
        except (TrajectoryError, FileNotFoundError) as error:
            problems = [str(error)]
        n_found += bool(problems)
        assert problems or everything() == expected, offset
        assert not problems or str(file) in problems[0], offset
        file.write_bytes(whole)
    assert n_found > len(whole) / 11 / 4
    assert store.verify(source).problems == []


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_damaged_header_or_packed_file_is_named(share, tmp_path):
    values, _ = checks.logged("probs", SHAPE)
    path = checks.write_store(tmp_path / "run", values, "probs")
    store.pack(tdds.open_trajectory(path), tmp_path / "packed.h5")
    for source, file in ((path, path / "store.h5"), (tmp_path / "packed.h5", tmp_path / "packed.h5")):
        truncate(file, share)
        for reading in (store.verify, store.read_header, tdds.open_trajectory):
            with pytest.raises(TrajectoryError, match=re.escape(f"{file}: cannot be read as a trajectory: ")):
                reading(source)
    for attempt in ({}, {"resume": True}):
        with pytest.raises(TrajectoryError, match=re.escape(f"{path / 'store.h5'}: cannot be read")):
            TrajectoryWriter(path, 40, 5, **attempt)


def elsewhere(how, name):
    """Replace a dataset by one of the same values that are kept outside of it."""

    def change(file):
        data, chunks = file[name][()], file[name].chunks
        attributes = dict(file[name].attrs)
        del file[name]
        other = str(Path(file.filename).parent.parent / "elsewhere.h5")
        with h5py.File(other, "w") as outside:
            outside.create_dataset("kept", data=data, chunks=chunks).attrs.update(attributes)
        if how == "external link":
            file[name] = h5py.ExternalLink(other, "kept")
        elif how == "soft link":
            file.create_dataset("kept", data=data, chunks=chunks).attrs.update(attributes)
            file[name] = h5py.SoftLink("/kept")
        elif how == "virtual":
            layout = h5py.VirtualLayout(data.shape, data.dtype)
            layout[...] = h5py.VirtualSource(other, "kept", data.shape)
            file.create_virtual_dataset(name, layout).attrs.update(attributes)
        else:
            raw = Path(other).with_suffix(".raw")
            data.tofile(raw)
            external = [(str(raw), 0, data.nbytes)]
            file.create_dataset(name, data.shape, data.dtype, external=external).attrs.update(attributes)

    return change


@pytest.mark.parametrize("name", ["values", "index", "labels"])
@pytest.mark.parametrize("how", ["external link", "soft link", "virtual", "external storage"])
def test_values_kept_elsewhere_are_refused(how, name, tmp_path):
    """Or a file from somebody else could make the reader show what lies on this machine."""
    values, y = checks.logged("probs", SHAPE)
    path = checks.write_store(tmp_path / "run", values, "probs", labels=y)
    (tmp_path / "packed").mkdir()
    packed = tmp_path / "packed" / "packed.h5"
    store.pack(tdds.open_trajectory(path), packed)
    file = path / ("store.h5" if name == "labels" else "epoch-00000.h5")
    text = {
        "virtual": f"'{name}' is a virtual dataset; expected",
        "external storage": "keeps its values in another file",
    }.get(how, f"expected a dataset '{name}' inside the file, without links to others.")
    tamper(file, elsewhere(how, name))
    with pytest.raises(TrajectoryError, match=re.escape(f"{file}: ") + ".*" + re.escape(text)):
        read_all(path)
    if name == "index":
        return
    tamper(packed, elsewhere(how, name))
    with pytest.raises(TrajectoryError, match=re.escape(f"{packed}: ") + ".*" + re.escape(text)):
        store.verify(packed)
    if name == "values" and how != "soft link":  # a link inside one file shows nothing of others
        with pytest.raises(TrajectoryError, match=re.escape(f"{packed}: 'values' keeps".replace("'values'", "")[:-6])):
            tdds.open_trajectory(packed)


def test_an_epoch_that_ends_while_the_folder_is_read_is_not_missing(tmp_path, monkeypatch):
    with TrajectoryWriter(tmp_path, 4, 2) as writer:
        fill(writer, 3, np.full((4, 3, 2), 0.5))
    monkeypatch.setattr(store.reader, "scan_shards", lambda header: ([{0, 2}], []))
    assert len(store.list_shards(tmp_path)) == 1
    assert store.verify(tmp_path).problems == []


def test_what_is_not_known_is_ignored(tmp_path):
    values, _ = checks.logged("probs", SHAPE)
    path = checks.write_store(tmp_path / "run", values, "probs")
    for file in ("store.h5", "epoch-00001.h5"):
        tamper(path / file, lambda f: (f.attrs.update(author="me"), f.create_dataset("extra", data=[1])))
    (path / "checkpoint.pt").touch()
    assert store.verify(path).problems == []
    np.testing.assert_array_equal(read_all(path), values)


# ------------------------------------------------------------------------------------------------------------ packed


def test_pack_refuses_and_leaves_nothing_behind(tmp_path):
    values, _ = checks.logged("logits", (3000, 4, 50))
    target = tmp_path / "packed.h5"
    bad = spoiled(values, (2999, 3, 49), 7e4)
    with pytest.raises(TrajectoryError, match=r"^Sample 2999 at epoch 3 has the value 70000\.0, too large for float16"):
        store.pack(tdds.open_trajectory(bad, kind="logits"), target, dtype="float16")
    path = checks.write_store(tmp_path / "run", values, "logits", dtype="float32")
    truncate(path / "epoch-00003.h5", 0.5)
    with pytest.raises(TrajectoryError, match=re.escape(f"{path / 'epoch-00003.h5'}: ")):
        store.pack(tdds.open_trajectory(path), target)
    with pytest.raises(FileNotFoundError, match=re.escape(f"'{tmp_path / 'no' / 'packed.h5'}'")):
        store.pack(tdds.open_trajectory(values, kind="logits"), tmp_path / "no" / "packed.h5")
    with pytest.raises(ValueError, match="does not know its number of epochs; pack an array or a file"):
        store.pack(tdds.open_trajectory(iter(values[:, :, :2].swapaxes(0, 1))), target)
    assert names(tmp_path) == ["run"]
    target.write_text("precious")
    with pytest.raises(FileExistsError, match=re.escape(f"{target} exists; pass overwrite=True, or another path.")):
        store.pack(tdds.open_trajectory(values, kind="logits"), target)
    assert target.read_text() == "precious"
    done = []
    store.pack(tdds.open_trajectory(values, kind="logits"), target, overwrite=True, progress=done.append)
    assert (sum(done), names(tmp_path)) == (3000, ["packed.h5", "run"])
    np.testing.assert_array_equal(read_all(target), values)


lists_chunks = pytest.mark.skipif(not hasattr(h5py.h5d.DatasetID, "chunk_iter"), reason="HDF5 older than 1.12.3")


@lists_chunks
@pytest.mark.parametrize("chunks", [None, (10, 3, 4), (7, 3, 4), (40, 3, 4)])
def test_rows_are_read_where_they_lie(tmp_path, chunks):
    values = np.random.default_rng(0).random((40, 3, 4), dtype=np.float32)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("values", data=values, chunks=chunks)
    with h5py.File(path) as file, path.open("rb") as raw:
        rows = store.DirectRows(file["values"])
        for start, stop in [(0, 40), (9, 11), (10, 20), (39, 40), (3, 33)]:
            for direct in (rows, rows.part(start, stop), rows.part(2, 40).part(start, stop) if start > 2 else rows):
                out = np.empty((stop - start, 3, 4), np.float32)
                direct.read(raw, start, out)
                np.testing.assert_array_equal(out, values[start:stop])
    os.truncate(path, path.stat().st_size - 1200)  # the last 25 rows and what padding there is
    with path.open("rb") as cut, pytest.raises(TrajectoryError, match=r"a\.h5: ends before row \d"):
        rows.read(cut, 0, np.empty((40, 3, 4), np.float32))


@lists_chunks
def test_a_chunk_that_is_not_there_is_not_read(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("values", (40, 3), "f4", chunks=(10, 3))
        dataset[:10] = dataset[20:] = 0.5
        with pytest.raises(TrajectoryError, match=r"a\.h5: row 10 of '/values' is not there"):
            store.DirectRows(dataset)


def test_a_packed_file_without_chunks_is_judged_all_the_same(tmp_path):
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file.attrs.update(format="tdds-trajectory-packed", format_version=1, run_id="x", created_by="me")
        values = file.create_dataset("values", data=np.full((3, 4, 2), 0.5))
        values.attrs.update(kind="probs", dtype="float64", axes="NTC")
        file["crc32"] = np.array([zlib.crc32(np.full((3, 4, 2), 0.5))], "<u4")
    assert store.verify(tmp_path / "p.h5").problems == []
    flip(tmp_path / "p.h5", chunk_offset(tmp_path / "p.h5", "values"))
    assert [len(epoch.problems) for epoch in store.verify(tmp_path / "p.h5").epochs] == [1, 1, 1, 1]


# --------------------------------------------------------------------------------------- power cuts; kills: test_kill


def test_an_epoch_is_synced_before_it_has_its_name_and_the_folder_after(tmp_path, monkeypatch):
    """What a power cut leaves cannot be tested here; the order of the calls that it depends on can."""
    calls, fsync = [], os.fsync

    def recorded(handle):
        name = os.path.relpath(os.readlink(f"/proc/self/fd/{handle}"), tmp_path)
        calls.append((re.sub("[0-9a-f]{32}", "*", name), (tmp_path / "a/b/epoch-00000.h5").exists()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", recorded)
    writer = TrajectoryWriter(tmp_path / "a" / "b", 4, 2)
    assert calls == [(name, False) for name in ("a", ".", "a/b/.store.part-0-of-1.*.tmp", "a/b", "a/b")]
    calls.clear()
    fill(writer, 1, np.full((4, 1, 2), 0.5))
    assert calls == [("a/b/.epoch-00000.*.tmp", False), ("a/b", True)]


def test_a_second_writer_of_the_same_part_overwrites_nothing(tmp_path):
    values = np.full((4, 3, 2), 0.5)
    values[:, :, 0], values[:, :, 1] = 0.25, 0.75
    first, second = TrajectoryWriter(tmp_path, 4, 2), TrajectoryWriter(tmp_path, 4, 2)
    fill(first, 2, values)
    with pytest.raises(
        TrajectoryError, match=r"^Another writer of part 0 has put epoch 0 into .* since this one opened"
    ):
        fill(second, 1, np.full((4, 1, 2), 0.5))
    fill(first, 3, values)
    np.testing.assert_array_equal(read_all(tmp_path), values)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"epoch-0000{t}.h5" for t in range(3)] + ["store.h5"]


def test_chunks_go_to_the_disk_while_the_epoch_is_written(tmp_path, monkeypatch):
    """The sync at its end then has little left; that the system refuses the advice, or knows none, costs nothing."""
    advised = []

    def refuse(handle, start, n_bytes, advice):
        advised.append((start, n_bytes))
        raise OSError(errno.EINVAL, "no advice taken")

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    probs = np.random.default_rng(0).dirichlet(np.ones(100), (10_000, 2)).astype(np.float16)
    with TrajectoryWriter(tmp_path, 10_000, 100) as writer:
        writer.write(None, probs[:, 0])
        assert [n_bytes for _, n_bytes in advised] == [500_000] * 4  # all of it, before the epoch ends
        writer.end_epoch()
        monkeypatch.delattr(os, "posix_fadvise")
        writer.write(None, probs[:, 1])
        writer.end_epoch()
    np.testing.assert_array_equal(read_all(tmp_path), probs)


# ------------------------------------------------------------------------------------------------ locks, disks, memory


@pytest.mark.parametrize("locking", ["TRUE", "FALSE", "BEST_EFFORT"])
def test_file_locks_do_not_matter(locking, tmp_path):
    """Others hold the files open, in this process and in another, while the store is read, resumed and packed."""
    values = np.full((20, 2, 3), 1 / 3)
    with TrajectoryWriter(tmp_path / "run", 20, 3) as writer:
        fill(writer, 1, values)
    with h5py.File(tmp_path / "run" / "store.h5"), h5py.File(tmp_path / "run" / "epoch-00000.h5"):
        found = run(
            """
            import json, sys
            import h5py, numpy as np, tdds
            from tdds import store
            run, packed = sys.argv[1:]
            held = [h5py.File(f"{run}/{name}") for name in ("store.h5", "epoch-00000.h5")]
            with tdds.TrajectoryWriter(run, 20, 3, resume=True) as writer:
                before = writer.n_epochs
                writer.write(None, np.full((20, 3), 1 / 3))
                writer.end_epoch()
                trajectory = tdds.open_trajectory(run)
                writer.write(None, np.full((20, 3), 1 / 3))
                store.pack(trajectory, packed)
                writer.end_epoch()
            print(json.dumps([before, store.verify(run).n_whole, store.verify(packed).problems]))
            """,
            tmp_path / "run",
            tmp_path / "packed.h5",
            env={"HDF5_USE_FILE_LOCKING": locking},
        )
    assert found == [1, 3, []]


def test_processes_race_for_the_header(tmp_path):
    script = """
        import json, sys, time
        from tdds import TrajectoryWriter
        print("up", flush=True)
        start = float(sys.stdin.readline())
        found = []
        for i in range(20):
            time.sleep(max(0, start + 0.02 * i - time.time()))  # no busy wait: four of them share few cores
            found.append(TrajectoryWriter(f"{sys.argv[1]}/{i}", 50, 3, part=int(sys.argv[2]), n_parts=4).run_id)
        print(json.dumps(found))
        """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*command, str(part)], **pipes) for part in range(4)]
    for process in processes:
        assert process.stdout.readline() == "up\n"
    start = time.time() + 0.05
    for process in processes:
        process.stdin.write(f"{start}\n")
        process.stdin.flush()
    done = [process.communicate() for process in processes]
    assert [err for _, err in done] == [""] * 4
    for i, found in enumerate(zip(*(json.loads(out) for out, _ in done), strict=True)):
        assert set(found) == {store.read_header(tmp_path / str(i)).run_id}
        assert names(tmp_path / str(i)) == ["store.h5"]


FULL = """
import errno, json, os, resource, signal, sys
import numpy as np
from tdds import TrajectoryError, TrajectoryWriter, store

path, how = sys.argv[1:]
if how == "rlimit":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
writer, seen = TrajectoryWriter(path, 8000, 100), []  # chunks of 2000 rows, 400 kB
row = np.full(100, 0.01)
for epoch, n_rows in enumerate((1000, 1000, 900)):
    writer.write(slice(n_rows), np.broadcast_to(row, (n_rows, 100)))
    writer.end_epoch()
    # The second time the limit is met with the last rows still in the buffer, when the epoch ends.
    for n_rows in (8000, 3900 if how == "rlimit" else 7900):
        try:
            writer.write(slice(n_rows), np.broadcast_to(row, (n_rows, 100)))
            writer.end_epoch()
        except OSError as error:
            seen.append([errno.errorcode[error.errno], error.filename])
        try:
            writer.write([0], row[None])
        except TrajectoryError as error:
            seen.append(str(error))
        writer.abandon_epoch()
writer.close()
report = store.verify(path)
print(json.dumps([seen, writer.n_epochs, report.problems, [epoch.n_rows for epoch in report.epochs]]))
print(json.dumps(sorted(os.listdir(path))), file=sys.stderr) if any(n[0] == "." for n in os.listdir(path)) else None
"""


@pytest.mark.parametrize("how", ["rlimit", "tmpfs"])
def test_disk_full(how, tmp_path):
    """The error names the file, earlier epochs are whole, and the writer goes on, again and again."""
    prefix = []
    if how == "tmpfs":
        prefix = [
            "unshare",
            "-Urm",
            "sh",
            "-c",
            f"mount -t tmpfs -o size=1500k tmpfs '{tmp_path}' && exec \"$@\"",
            "sh",
        ]
        if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
            pytest.skip("this machine lets nobody mount a tmpfs")
    seen, n_epochs, problems, n_rows = run(FULL, tmp_path / "run", how, prefix=prefix)
    assert (n_epochs, problems, n_rows) == (3, [], [1000, 1000, 900])
    assert len(seen) % 2 == 0
    assert len(seen) >= 6
    for (code, filename), text in zip(seen[::2], seen[1::2], strict=True):
        assert code == ("EFBIG" if how == "rlimit" else "ENOSPC")
        assert re.fullmatch(re.escape(str(tmp_path / "run")) + r"/epoch-0000[123]\.h5", filename)
        assert re.match(r"Epoch [123] of .* failed earlier \(.*\) and is lost; earlier epochs are whole\.", text)


def test_memory_of_a_writer_stays_flat(tmp_path):
    """An epoch of 200 MB, in batches of 256 rows and in one call: the process grows by a few chunks."""
    grown = run(
        """
        import json, sys
        import numpy as np
        from tdds import TrajectoryWriter
        from tdds.estimate import peak_memory
        batch = np.full((256, 1000), 1e-3, np.float32)
        with TrajectoryWriter(sys.argv[1], 100_000, 1000) as writer:
            writer.write(slice(256), batch)
            writer.end_epoch()
            before = peak_memory()
            for start in range(0, 100_000, 256):
                stop = min(start + 256, 100_000)
                writer.write(slice(start, stop), batch[: stop - start])
            writer.end_epoch()
            batches = peak_memory() - before
            writer.write(None, np.broadcast_to(batch[0], (100_000, 1000)))
            writer.end_epoch()
        print(json.dumps([batches, peak_memory() - before]))
        """,
        tmp_path,
    )
    sizes = [(tmp_path / f"epoch-0000{epoch}.h5").stat().st_size for epoch in (1, 2)]
    assert [size // 10**6 for size in sizes] == [200, 200]
    assert max(grown) < 16 << 20, grown


def test_a_refused_resume_removes_nothing(tmp_path):
    with TrajectoryWriter(tmp_path, 4, 2) as writer:
        for _ in range(5):
            writer.write(None, np.full((4, 2), 0.5))
            writer.end_epoch()
    damaged = tmp_path / "epoch-00001.h5"
    damaged.write_bytes(damaged.read_bytes()[:100])
    held = sorted(tmp_path.iterdir())
    with pytest.raises(TrajectoryError, match=r"epoch-00001\.h5"):
        TrajectoryWriter(tmp_path, 4, 2, resume=True, keep_epochs=2)
    assert sorted(tmp_path.iterdir()) == held
