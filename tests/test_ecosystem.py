"""Other people's packages: WebDataset shards rewritten, every block of docs/datasets.md run, boosters recorded."""

import csv
import doctest
import io
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris

import tdds
from tdds.tables import read_column

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
SECTIONS = {section.splitlines()[0]: section for section in PAGE.split("\n## ")[1:]}
NEEDS = {
    "NumPy": [],
    "torch": ["torch"],
    "Hugging Face datasets": ["datasets"],
    "Arrow, Parquet, polars": ["pyarrow", "polars"],
    "WebDataset": ["webdataset"],
    "MosaicML streaming": ["streaming"],
    "LitData": ["litdata"],
}


# --------------------------------------------------------------------------------------------------- WebDataset shards


def write_shard(path, samples, mode="w"):
    """A shard of `samples`: pairs of a member's name and its bytes."""
    with tarfile.open(path, mode) as shard:
        for name, content in samples:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.uname = len(content), 1234567890, "somebody"
            shard.addfile(member, io.BytesIO(content))


def members(path):
    with tarfile.open(path) as shard:
        return [(member.name, shard.extractfile(member).read(), member.mtime, member.uname) for member in shard]


def write_kept(path, ids, column="ids"):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([["indices", column, "weights"], *([i, name, 1.0] for i, name in enumerate(ids))])


def rewrite(folder, *arguments):
    command = [sys.executable, ROOT / "data_tools" / "webdataset_shards.py", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def shards(tmp_path):
    """Three shards of two samples of two files each, with folders, dots in the extension and members of no sample."""
    folder = tmp_path / "in"
    folder.mkdir()
    for s in range(3):
        files = [("README", b"no sample")]
        for i in (2 * s, 2 * s + 1):
            files += [(f"v1.0/{i:04d}.seg.png", bytes([i]) * 700), (f"v1.0/{i:04d}.cls", b"%d" % i)]
        write_shard(folder / f"{s}.tar", files)
    return tmp_path


def test_shards_keep_the_samples_whole(shards):
    write_kept(shards / "kept.csv", ["v1.0/0005", "v1.0/0000", "v1.0/0001"])
    done = rewrite(shards, "in/*.tar", "kept.csv", "out")
    assert (done.returncode, done.stdout, done.stderr) == (0, "3 samples in 2 of 3 shards: out\n", "")
    assert sorted(path.name for path in (shards / "out").iterdir()) == ["0.tar", "2.tar"]
    assert members(shards / "out" / "0.tar") == members(shards / "in" / "0.tar")[1:]
    assert members(shards / "out" / "2.tar") == members(shards / "in" / "2.tar")[3:]


def test_compressed_shards_stay_compressed(tmp_path):
    write_shard(tmp_path / "a.tar.gz", [("1.txt", b"x" * 5000), ("2.txt", b"y")], "w:gz")
    write_kept(tmp_path / "kept.csv", ["1"])
    assert rewrite(tmp_path, "a.tar.gz", "kept.csv", "out").returncode == 0
    assert (tmp_path / "out" / "a.tar.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert [name for name, *_ in members(tmp_path / "out" / "a.tar.gz")] == ["1.txt"]


@pytest.mark.parametrize(
    ("ids", "arguments", "text"),
    [
        (["v1.0/0000", "v1.0/0009"], ["in/*.tar"], r"1 of 2 keys are in no shard, such as 'v1\.0/0009'\."),
        (["v1.0/0000"], ["in/*.tgz"], r"in/\*\.tgz: no such file\."),
        (["again"], ["in/*.tar"], r"in/[01]\.tar: the key 'again' is that of another sample before it\."),
        (["v1.0/0000"], ["*/0.tar"], r"Two shards have the same name"),
    ],
    ids=["missing", "no shard", "twice", "same name"],
)
def test_a_wrong_rewriting_leaves_nothing(shards, ids, arguments, text):
    write_kept(shards / "kept.csv", ids)
    if ids == ["again"]:
        for s in range(2):
            write_shard(shards / "in" / f"{s}.tar", [("again.txt", b"%d" % s)])
    if arguments == ["*/0.tar"]:
        shutil.copytree(shards / "in", shards / "other")
    done = rewrite(shards, *arguments, "kept.csv", "out")
    assert done.returncode == 1
    assert re.match(rf"webdataset_shards\.py: {text}", done.stderr), done.stderr
    assert done.stderr.count("\n") == 1
    assert not list((shards / "out").glob("*"))


def test_a_later_smaller_selection_leaves_no_shard_of_an_earlier_one(shards):
    for ids in (["v1.0/0000", "v1.0/0005"], ["v1.0/0005"]):
        write_kept(shards / "kept.csv", ids)
        assert rewrite(shards, "in/*.tar", "kept.csv", "out").returncode == 0
    assert [path.name for path in (shards / "out").iterdir()] == ["2.tar"]


def test_rewriting_refuses_the_folder_it_reads_and_a_selection_without_ids(shards):
    write_kept(shards / "kept.csv", ["v1.0/0000"])
    before = {path: path.read_bytes() for path in (shards / "in").iterdir()}
    assert "choose another folder" in rewrite(shards, "in/*.tar", "kept.csv", "in").stderr
    assert {path: path.read_bytes() for path in (shards / "in").iterdir()} == before
    write_kept(shards / "kept.csv", ["v1.0/0000"], column="names")
    assert "kept.csv: has no column 'ids'" in rewrite(shards, "in/*.tar", "kept.csv", "out").stderr


def test_keys_with_leading_zeros_stay_names(tmp_path):
    (tmp_path / "keys.txt").write_text("000001\n000020\n")
    assert read_column(str(tmp_path / "keys.txt")).tolist() == ["000001", "000020"]
    (tmp_path / "labels.txt").write_text("1\n0\n-20\n")
    assert read_column(str(tmp_path / "labels.txt")).tolist() == [1, 0, -20]


# -------------------------------------------------------------------------------------------------------- the page


def run_blocks(section, names):
    """Run the blocks of a section, in their order, in the working folder; `names` are there and grow."""
    for language, block in re.findall(r"```(python|bash)\n(.*?)```", section, flags=re.DOTALL):
        if language == "bash":
            subprocess.run(["bash", "-ec", block], check=True)
            continue
        said = []
        test = doctest.DocTestParser().get_doctest(block, names, section.splitlines()[0], "docs/datasets.md", 0)
        runner = doctest.DocTestRunner()
        runner.run(test, out=said.append, clear_globs=False)
        assert runner.failures == 0, "".join(said)
        names.update(test.globs)


def test_every_section_is_run():
    assert set(SECTIONS) == {"The selection", *NEEDS}
    assert len(re.findall(r"^```\w", PAGE, flags=re.MULTILINE)) == len(
        re.findall(r"```(?:python|bash)\n.*?```", PAGE, flags=re.DOTALL)
    )


@pytest.mark.parametrize("name", NEEDS)
@pytest.mark.ecosystem
@pytest.mark.filterwarnings("ignore")  # theirs
def test_page(name, tmp_path, monkeypatch):
    for package in NEEDS[name]:
        pytest.importorskip(package)
    (tmp_path / "data_tools").symlink_to(ROOT / "data_tools")
    monkeypatch.chdir(tmp_path)
    names = {}
    run_blocks(SECTIONS["The selection"], names)
    run_blocks(SECTIONS[name], names)


# ------------------------------------------------------------------------------------------------- the way out


@pytest.mark.ecosystem
@pytest.mark.filterwarnings("ignore")  # theirs
def test_a_dataset_is_selected_without_a_copy():
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset.from_dict({"x": list(range(20))})
    selector = tdds.TDDSSelector(K=3, pruning_rate=0.8).fit(np.random.default_rng(0).random((20, 6)))
    kept = selector.transform(dataset)
    assert kept["x"][:] == selector.sample_indices_.tolist()
    assert kept.data.num_rows == 20  # the table as it was, behind a mapping
    with pytest.raises(ValueError, match=r"^X has 19 rows, the trajectory 20 samples"):
        selector.transform(dataset.select(range(19)))
    with pytest.raises(TypeError, match=r"^X has no rows to take \(filter a stream by the indices that are kept\)"):
        selector.transform(dataset.to_iterable_dataset())


# -------------------------------------------------------------------------------------------------------- boosting


def lightgbm_rounds(X, y):
    """What LightGBM says of X after each round, by its own callback."""
    lightgbm, said = pytest.importorskip("lightgbm"), []
    booster = lightgbm.LGBMClassifier(n_estimators=7, num_leaves=5, verbose=-1, n_jobs=1)
    clone(booster).fit(X, y, callbacks=[lambda env: said.append(env.model.predict(X))])
    return booster, said


def xgboost_rounds(X, y):
    xgboost, said = pytest.importorskip("xgboost"), []

    class Listens(xgboost.callback.TrainingCallback):
        def after_iteration(self, model, epoch, evals_log):
            said.append(model.predict(xgboost.DMatrix(X)))
            return False

    booster = xgboost.XGBClassifier(n_estimators=7, max_depth=2, n_jobs=1)
    clone(booster).set_params(callbacks=[Listens()]).fit(X, y)
    return booster, said


def catboost_rounds(X, y):
    """CatBoost predicts nothing before it is done, so a model of n rounds stands for the n-th."""
    catboost = pytest.importorskip("catboost")
    booster = catboost.CatBoostClassifier(
        iterations=7, learning_rate=0.3, verbose=0, thread_count=1, random_seed=0, allow_writing_files=False
    )
    return booster, [clone(booster).set_params(iterations=n).fit(X, y).predict_proba(X) for n in range(1, 8)]


@pytest.mark.parametrize("rounds", [lightgbm_rounds, xgboost_rounds, catboost_rounds])
@pytest.mark.ecosystem
@pytest.mark.filterwarnings("ignore")  # theirs
def test_the_epochs_of_a_booster_are_its_rounds(rounds):
    X, y = load_iris(return_X_y=True)
    booster, said = rounds(X, y)
    model = tdds.CoresetClassifier(booster, n_epochs=7, K=3, sampler="class_balanced").fit(X, y)
    trajectory = np.stack(said, axis=1)
    assert trajectory.shape == (150, 7, 3)
    expected = tdds.score_trajectory(trajectory, K=3)
    np.testing.assert_allclose(model.scores_, expected, rtol=1e-3, atol=1e-9 * expected.max())
    kept = model.sample_indices_
    assert model.predict(X).shape == (150,)
    np.testing.assert_array_equal(model.predict(X), np.ravel(clone(booster).fit(X[kept], y[kept]).predict(X)))
