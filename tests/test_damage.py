"""What happens to a store behind its back: every attack is found and named, or does not matter."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import warnings

import checks
import equations
import numpy as np
import pytest
from test_stopping import command
from test_store import chunk_offset, flip, tamper, truncate

import tdds
from tdds import TrajectoryError, engine, store
from tdds.tables import ScoreTable

SHAPE, HURT = (40, 8, 5), 3
VALUES, LABELS = checks.logged("probs", SHAPE, dtype=np.float32)


def swap(one, other):
    held = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(held)


def shard_of(n_samples, n_classes, seed):
    """A function that puts the shard of another run, of that size, in the place of one."""

    def replace(path):
        values, _ = checks.logged("probs", (n_samples, SHAPE[1], n_classes), seed, np.float32)
        other = checks.write_store(path.parent.parent / "other", values, "probs")
        shutil.copy(other / path.name, path)

    return replace


def claim(path, change):
    """A shard of another shape that claims to be of this run."""
    run_id = store.read_header(path.parent).run_id
    change(path)
    tamper(path, lambda file: file.attrs.update(run_id=np.bytes_(run_id)))


def rewrite(path, name, values):
    """Put another dataset in the place of one, with the attributes of the old."""

    def change(file):
        attributes, chunks = dict(file[name].attrs), file[name].chunks and values.shape
        del file[name]
        file.create_dataset(name, data=values, chunks=chunks).attrs.update(attributes)

    tamper(path, change)


def sit_in_place(path):
    path.unlink()
    path.mkdir()


def link_to_itself(path):
    path.unlink()
    path.symlink_to(path.name)


#: By name: what is done to the shard of epoch 3 of 8, the epochs that `verify` then calls damaged, and what scoring
#: says that holds nothing against its checksums: a text, or None where the scores are those of what was written.
ATTACKS = {
    "cut in the values": (lambda p: os.truncate(p, chunk_offset(p, "values") + 50), [3], "cannot be read"),
    "cut by a byte": (lambda p: os.truncate(p, p.stat().st_size - 1), [3], "cannot be read"),
    "empty": (lambda p: truncate(p, 0), [3], "cannot be read"),
    "zeros": (lambda p: p.write_bytes(bytes(p.stat().st_size)), [3], "cannot be read"),
    "text": (lambda p: p.write_text("epoch 3, loss 0.31\n"), [3], "cannot be read"),
    "a folder": (sit_in_place, [3], "cannot be read"),
    "a link to itself": (link_to_itself, [3], "cannot be read"),
    "gone": (lambda p: p.unlink(), [3], "missing, though later epochs are there"),
    "superblock": (lambda p: flip(p, 20), [3], "cannot be read"),
    "object header": (lambda p: flip(p, 60), [3], "cannot be read"),
    "high bit of a value": (lambda p: flip(p, chunk_offset(p, "values") + 7, 6), [3], r"Row of sample \d+ at epoch 3 "),
    "bit of the index": (lambda p: flip(p, chunk_offset(p, "index") + 4, 2), [3], "the checksum of 'index'"),
    "fewer classes": (lambda p: claim(p, shard_of(40, 4, 0)), [3], r"values of shape \(40, 4\)"),
    "more samples": (lambda p: claim(p, shard_of(50, 5, 0)), [3], r"'index' names a sample outside \[0, 40\)"),
    "fewer values": (lambda p: rewrite(p, "values", VALUES[:39, HURT]), [3], r"values of shape \(39, 5\)"),
    "fewer checksums": (lambda p: rewrite(p, "crc32", np.zeros(0, "<u4")), [3], "0 checksums do not cover 40 rows"),
    "another dtype": (lambda p: rewrite(p, "values", VALUES[:, HURT].astype("<f8")), [3], "has dtype float64"),
    "another run": (shard_of(*SHAPE[::2], 1), [3], "run_id is .* this shard is not of this store"),
    "another data set": (shard_of(70, 3, 2), [3], "run_id is .* this shard is not of this store"),
    "epochs swapped": (lambda p: swap(p, p.with_name("epoch-00005.h5")), [3, 5], "epoch is 5, expected 3"),
    "epoch twice": (lambda p: shutil.copy(p.with_name("epoch-00002.h5"), p), [3], "epoch is 2, expected 3"),
    "clock set back": (lambda p: os.utime(p, (0, 0)), [], None),
    "clock set forward": (lambda p: os.utime(p, (2**33, 2**33)), [], None),
    "a half-written twin": (lambda p: (p.parent / f".{p.stem}.{'0' * 32}.tmp").write_bytes(b"\x89HDF"), [], None),
    "a copy beside": (lambda p: shutil.copy(p, p.with_suffix(".h5.orig")), [], None),
    "read-only": (lambda p: [entry.chmod(0o444) for entry in p.parent.iterdir()] and p.parent.chmod(0o555), [], None),
}


@pytest.fixture
def run(tmp_path):
    yield checks.write_store(tmp_path / "run", VALUES, "probs", labels=LABELS)
    (tmp_path / "run").chmod(0o755)


def score(source, **options):
    return tdds.score_trajectory(source, K=3, **options)


@pytest.mark.parametrize("name", ATTACKS)
def test_attack(name, run):
    attack, damaged, text = ATTACKS[name]
    expected = score(run)
    attack(run / f"epoch-{HURT:05d}.h5")
    whole = [epoch for epoch in range(SHAPE[1]) if epoch not in damaged]
    report = store.verify(run)
    assert [epoch.epoch for epoch in report.epochs if not epoch.problems] == whole

    if text is None:
        np.testing.assert_array_equal(score(run), expected)
        np.testing.assert_array_equal(score(run, damaged="error"), expected)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_array_equal(score(run, damaged="skip"), expected)
        return
    with pytest.raises(TrajectoryError, match=text) as caught:
        score(run)
    if "Row of" not in text:
        assert str(run / f"epoch-{HURT:05d}.h5") in str(caught.value)
        named = "0 to 2, 4, 6 to 7" if len(damaged) > 1 else "0 to 2, 4 to 7"
        assert f"Whole: epochs {named}; pass damaged='skip' (--skip-damaged)" in str(caught.value)
    said = report.problems[0].split(": time = ")[0].rstrip(".")  # HDF5 tells the time
    with pytest.raises(TrajectoryError, match=re.escape(said)):
        score(run, damaged="error")
    which = "epochs 3, 5 are" if len(damaged) > 1 else "epoch 3 is"
    with pytest.warns(RuntimeWarning, match=f"{which} damaged, and left out; "):
        trajectory = tdds.open_trajectory(run, damaged="skip")
    assert trajectory.skipped == tuple(damaged)
    np.testing.assert_array_equal(score(trajectory), score(VALUES[:, whole]))
    with pytest.warns(RuntimeWarning, match=f"{which} damaged, and left out; "):
        carried = score(run, damaged="skip", missing="carry")
    repeated = VALUES.copy()
    repeated[:, damaged] = VALUES[:, [epoch - 1 for epoch in damaged]]
    np.testing.assert_array_equal(carried, score(repeated))


@pytest.mark.parametrize(
    ("new", "equation"),
    [
        (tdds.TDDSSelector(K=3), lambda values: equations.tdds(values, K=3)),
        (tdds.CoresetSelector("el2n"), lambda values: equations.el2n(values, LABELS)),
    ],
    ids=["tdds", "el2n"],
)
def test_a_selector_fits_what_is_whole(new, equation, run):
    truncate(run / f"epoch-{HURT:05d}.h5", 0.5)
    with pytest.raises(TrajectoryError, match=r"pass damaged='skip' \(--skip-damaged\)"):
        new.fit(run)
    with pytest.warns(RuntimeWarning, match="epoch 3 is damaged"):
        new.fit(tdds.open_trajectory(run, damaged="skip"))
    np.testing.assert_allclose(new.scores_, equation(np.delete(VALUES, HURT, axis=1).astype(float)), rtol=1e-5)


def test_low_bits_are_seen_by_checksums_alone(run):
    """The bit of every value that its row's sum does not betray: `damaged` and `verify` find each of them."""
    shard, expected = run / f"epoch-{HURT:05d}.h5", score(run)
    offset, unseen = chunk_offset(shard, "values"), 0
    for value in range(0, 200, 40):
        for bit in (0, 9, 18, 21, 26, 30, 31):
            flip(shard, offset + 4 * value + bit // 8, bit % 8)
            with pytest.raises(TrajectoryError, match="the checksum of the rows from 0 on does not hold"):
                score(run, damaged="error")
            with contextlib.suppress(TrajectoryError):  # of the row's sum
                unseen += not np.array_equal(score(run), expected)
            flip(shard, offset + 4 * value + bit // 8, bit % 8)
    np.testing.assert_array_equal(score(run, damaged="error"), expected)
    assert unseen >= 5


def test_one_damaged_part_of_two(tmp_path):
    path = checks.write_store(tmp_path / "run", VALUES, "probs", n_parts=2)
    shard = path / "epoch-00003.part-1-of-2.h5"
    flip(shard, chunk_offset(shard, "values"))
    repeated = VALUES.copy()
    repeated[1::2, 3] = VALUES[1::2, 2]  # part 1 holds the odd samples
    with pytest.warns(RuntimeWarning, match="epoch 3 is damaged"):
        np.testing.assert_array_equal(score(path, damaged="skip", missing="carry"), score(repeated))
    with pytest.warns(RuntimeWarning, match="epoch 3 is damaged"):
        np.testing.assert_array_equal(score(path, damaged="skip"), score(np.delete(VALUES, 3, axis=1)))


@pytest.mark.parametrize("missing", ["error", "carry"])
def test_the_first_epoch_and_all_of_them(missing, run):
    flip(run / "epoch-00000.h5", chunk_offset(run / "epoch-00000.h5", "values"))
    with pytest.warns(RuntimeWarning, match="epoch 0 is damaged"):
        np.testing.assert_array_equal(score(run, damaged="skip", missing=missing), score(VALUES[:, 1:]))
    for shard in run.glob("epoch-*.h5"):
        truncate(shard, 0.5)
    with pytest.raises(TrajectoryError, match=r"epoch-00000.* \(and 7 more\)\. Whole: epochs none; "):
        score(run, damaged="skip", missing=missing)


def test_a_packed_file(run, tmp_path):
    packed = tmp_path / "packed.h5"
    store.pack(tdds.open_trajectory(run), packed)
    for damaged in ("error", "skip"):
        np.testing.assert_array_equal(score(packed, damaged=damaged), score(VALUES))
    flip(packed, chunk_offset(packed, "values") + 33, 0)
    for damaged in ("error", "skip"):
        with pytest.raises(TrajectoryError, match=r"packed\.h5: the checksum of the rows from 0 on .*; pack it anew"):
            score(packed, damaged=damaged)


@pytest.mark.parametrize("damaged", ["error", "skip"])
def test_what_has_no_checksums_is_not_said_to_be_checked(damaged, run, tmp_path):
    for source in (VALUES, checks.write_npy(tmp_path / "a.npy", VALUES), tdds.open_trajectory(run)):
        with pytest.raises(ValueError, match=rf"damaged='{damaged}', but .* has no checksums"):
            score(source, damaged=damaged)
    with pytest.raises(ValueError, match="damaged='drop' is not known; expected one of 'unchecked', 'error', 'skip'"):
        score(run, damaged="drop")


def test_at_the_command_line(run):
    """Damage is one line that says what is whole and what to type; what is skipped is said, and kept in the scores."""
    shard = run / f"epoch-{HURT:05d}.h5"
    flip(shard, chunk_offset(shard, "values"), 0)
    hurt = f"run/{shard.name}: the checksum of the rows from 0 on does not hold: it is damaged"
    refused = (
        f"tdds: {hurt}. Whole: epochs 0 to 2, 4 to 7; pass damaged='skip' (--skip-damaged) to go on without the "
        "others, or bring them back from a copy.\n"
    )
    for ask in (["score", "run", "--verify", "-o", "new.h5", "--K", 3], ["convert", "run", "-o", "new.h5"]):
        process = command(*ask, cwd=run.parent)
        assert process.communicate()[1] == refused
        assert process.returncode == 1
        assert not (run.parent / "new.h5").exists()
    expected = score(np.delete(VALUES, HURT, axis=1))
    process = command("score", "run", "--skip-damaged", "-o", "scores.h5", "--K", 3, cwd=run.parent)
    assert process.communicate()[1] == f"tdds: run: epoch 3 is damaged, and left out; {hurt}\n"
    table = ScoreTable.load(run.parent / "scores.h5")
    np.testing.assert_array_equal(table.scores["tdds"], expected)
    assert (table.source["skipped_epochs"], table.source["n_epochs"]) == ([3], 7)
    process = command("pack", "run", "--skip-damaged", "-o", "packed.h5", cwd=run.parent)
    assert process.communicate()[1] == f"tdds: run: epoch 3 is damaged, and left out; {hurt}\n"
    np.testing.assert_array_equal(score(run.parent / "packed.h5", damaged="error"), expected)


def other_values(folder, kind):
    """The same source, with other values."""
    values = checks.logged("probs", SHAPE, seed=1, dtype=np.float32)[0]
    if kind == "store":
        return checks.write_store(folder / "run", values, "probs") / "epoch-00004.h5"
    if kind == "packed":
        return checks.write_packed(folder / "run.h5", values, "probs")
    if kind == "npy":
        return checks.write_npy(folder / "run.npy", values)
    return checks.write_directory(folder / "run", values, "probs") / "4_Output.npy"


@pytest.mark.parametrize("kind", ["store", "packed", "npy", "directory"])
@pytest.mark.parametrize("how", ["replaced", "cut", "gone", "overwritten"])
def test_a_file_changes_after_it_was_opened(how, kind, tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    theirs, ours = other_values(tmp_path / "second", kind), other_values(tmp_path / "first", kind)
    source = ours.parent if kind in ("store", "directory") else ours
    trajectory = tdds.open_trajectory(source, kind="probs" if kind == "directory" else None)
    if how == "replaced":
        os.replace(theirs, ours)
    elif how == "cut":
        os.truncate(ours, ours.stat().st_size - 10)
    elif how == "gone":
        ours.unlink()
    else:
        with open(ours, "r+b") as file:
            file.seek(-9, os.SEEK_END)
            last = file.read()
            file.seek(-9, os.SEEK_END)
            file.write(last[::-1])
    with pytest.raises(TrajectoryError, match=f"{ours.name}: (was changed or replaced|is gone) since it was opened"):
        score(trajectory)


def test_another_file_of_the_same_size_and_time(tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    theirs, ours = (other_values(tmp_path / name, "npy") for name in ("second", "first"))
    trajectory, times = tdds.open_trajectory(ours), ours.stat()
    os.utime(theirs, ns=(times.st_atime_ns, times.st_mtime_ns))
    os.replace(theirs, ours)
    with pytest.raises(TrajectoryError, match=r"run\.npy: was changed or replaced since it was opened"):
        score(trajectory)


def test_a_file_changes_while_it_is_read(tmp_path, monkeypatch):
    path, real = other_values(tmp_path, "npy"), engine.score_part

    def read_and_written(*task):
        found = real(*task)
        os.utime(path)
        return found

    monkeypatch.setattr(engine, "score_part", read_and_written)
    with pytest.raises(TrajectoryError, match=r"run\.npy: was changed or replaced since it was opened"):
        score(path)


def mounted(folder, *options):
    done = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("only root may mount a file system")


@pytest.fixture
def mount(tmp_path):
    folder = tmp_path / "mount"
    folder.mkdir()
    try:
        mounted(folder, "-o", "size=8m")
    except FileNotFoundError:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


def test_a_mount_vanishes(mount):
    path = checks.write_store(mount / "run", VALUES, "probs")
    trajectory = tdds.open_trajectory(path)
    subprocess.run(["umount", "-l", str(mount)], check=True)
    with pytest.raises(TrajectoryError, match=r"epoch-00000\.h5: is gone since it was opened"):
        score(trajectory)
    with pytest.raises(FileNotFoundError, match="no such file or directory"):
        score(path)


def test_a_read_only_disk(mount):
    path = checks.write_store(mount / "run", VALUES, "probs")
    subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
    np.testing.assert_array_equal(score(path, damaged="error"), score(VALUES))
    with pytest.raises(OSError, match=r"Read-only file system: '.*epoch-00008\.h5'"):  # noqa: SIM117
        with tdds.TrajectoryWriter(path, 40, 5, dtype="float32", resume=True) as writer:
            writer.write(None, VALUES[:, 0])
    assert store.verify(path).n_whole == 8
    with pytest.raises(OSError, match=r"Read-only file system: '.*run\.h5'"):
        store.pack(tdds.open_trajectory(path), mount / "run.h5")


def test_no_permission(run, tmp_path):
    """As an ordinary user, where the tests run as root."""
    (run / "epoch-00003.h5").chmod(0)
    script = f"import tdds; tdds.score_trajectory({str(run)!r}, K=3)"
    prefix = []
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("setpriv is not installed")
        for folder in (tmp_path, *tmp_path.parents):
            folder.chmod(folder.stat().st_mode | 0o055) if str(folder).startswith("/tmp/pytest") else None
        prefix = [setpriv, "--reuid=65534", "--clear-groups"]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    (tmp_path / "cache").mkdir(mode=0o777)
    (tmp_path / "cache").chmod(0o777)
    done = subprocess.run(
        [*prefix, sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment
    )
    if "epoch-00003" not in done.stderr and ("Permission denied" in done.stderr or "ModuleNotFound" in done.stderr):
        pytest.skip("another user may not read Python or the library here")
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"tdds.validation.TrajectoryError: {run / 'epoch-00003.h5'}: cannot be read as a trajectory")
    assert "Permission denied" in last
    assert "Whole: epochs 0 to 2, 4 to 7" in last
