"""Scores as tables: every form holds the same, runs are combined, what is of other data is refused."""

import csv
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from test_cli import run

from tdds import TrajectoryError
from tdds._version import __version__
from tdds.tables import ScoreTable, check_scores_output, combine_tables, read_column, write_all_rows

RNG = np.random.default_rng(0)
N = 40


@pytest.fixture
def pd():
    return pytest.importorskip("pandas")


@pytest.fixture
def pq():
    return pytest.importorskip("pyarrow.parquet")


def make_table(seed=0, **changes):
    rng = np.random.default_rng(seed)
    table = ScoreTable(
        scores={"tdds": rng.lognormal(sigma=2, size=N), "aum": rng.uniform(-1, 1, size=N)},
        keeps={"tdds": "largest", "aum": "smallest"},
        parameters={"tdds": {"T": None, "K": 5, "beta": 0.9}, "aum": {"T": None}},
        source={"source": f"run{seed}", "n_samples": N, "fingerprint": f"{seed:016x}", "n_epochs_read": 10},
        labels=np.arange(N) % 3,
        ids=np.array([f"img, {i:03}" for i in range(N)], dtype=object),
    )
    return dataclasses.replace(table, **changes)


def assert_equal(left, right):
    assert list(left.scores) == list(right.scores)
    for name in left.scores:
        np.testing.assert_array_equal(left.scores[name], right.scores[name])
    for name in ("keeps", "parameters", "source", "created_by"):
        assert getattr(left, name) == getattr(right, name), name
    for name in ("labels", "ids"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))


@pytest.mark.parametrize("suffix", [".h5", ".parquet"])
@pytest.mark.parametrize(
    "changes", [{}, {"labels": None, "ids": None}, {"ids": np.arange(N) + 7}], ids=["named", "bare", "integer ids"]
)
def test_what_is_saved_is_loaded(tmp_path, suffix, changes):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    table = make_table(**changes)
    table.scores = dict(sorted(table.scores.items()))  # HDF5 lists by name
    table.save(tmp_path / f"scores{suffix}")
    assert_equal(ScoreTable.load(tmp_path / f"scores{suffix}"), table)
    assert [path.name for path in tmp_path.iterdir()] == [f"scores{suffix}"]


def test_parquet_is_a_table_for_others_and_says_where_it_comes_from(tmp_path, pd, pq):
    table = make_table()
    table.save(tmp_path / "scores.parquet")
    frame = pd.read_parquet(tmp_path / "scores.parquet")
    assert list(frame.columns) == ["index", "id", "label", "tdds", "aum"]
    np.testing.assert_array_equal(frame["tdds"], table.scores["tdds"])
    origin = json.loads(pq.read_schema(tmp_path / "scores.parquet").metadata[b"tdds"])
    assert origin["created_by"] == f"tdds {__version__}"
    assert origin["source"]["fingerprint"] == "0" * 16
    assert origin["parameters"]["tdds"]["K"] == 5
    assert origin["keeps"] == {"tdds": "largest", "aum": "smallest"}


def test_csv_holds_the_columns_exactly(tmp_path):
    table = make_table()
    table.save(tmp_path / "scores.csv")
    rows = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    assert [float(row["tdds"]) for row in rows] == table.scores["tdds"].tolist()
    assert [row["id"] for row in rows] == table.ids.tolist()
    assert [int(row["label"]) for row in rows] == table.labels.tolist()
    with pytest.raises(TrajectoryError, match=r"pass the \.h5 or \.parquet file"):
        ScoreTable.load(tmp_path / "scores.csv")


def test_pandas(pd):
    table = make_table(ids=None)
    frame = table.to_pandas()
    assert frame.index.tolist() == list(range(N))
    assert list(frame.columns) == ["label", "tdds", "aum"]
    np.testing.assert_array_equal(frame["aum"], table.scores["aum"])
    assert frame.attrs["tdds"]["source"] == table.source


def test_parquet_that_is_none_of_ours(tmp_path, pd, pq):
    path = tmp_path / "scores.parquet"
    pd.DataFrame({"index": [0], "tdds": [1.0]}).to_parquet(path)
    with pytest.raises(TrajectoryError, match="is no scores file"):
        ScoreTable.load(path)
    path.write_text("no Parquet")
    with pytest.raises(TrajectoryError, match=r"scores.parquet: cannot be read"):
        ScoreTable.load(path)
    make_table().save(path)
    rows = pq.read_table(path)
    pq.write_table(rows.slice(3), path)
    with pytest.raises(TrajectoryError, match="not all samples in their order"):
        ScoreTable.load(path)
    newer = json.dumps(json.loads(rows.schema.metadata[b"tdds"]) | {"format_version": 2})
    pq.write_table(rows.replace_schema_metadata({"tdds": newer}), path)
    with pytest.raises(TrajectoryError, match="format version 2, this tdds reads up to 1"):
        ScoreTable.load(path)


def test_other_extension_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"scores are written as \.h5, \.parquet, \.csv; got '\.xls'"):
        make_table().save(tmp_path / "scores.xls")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "use", "extra"),
    [
        ("pyarrow", lambda path: check_scores_output(path / "s.parquet"), "parquet"),
        ("pandas", lambda path: make_table().to_pandas(), "pandas"),
    ],
)
def test_missing_package_is_named_with_its_extra(monkeypatch, tmp_path, module, use, extra):
    for name in (module, f"{module}.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"pip install 'tdds-coreset\[{extra}\]'"):
        use(tmp_path)


def test_all_rows_say_what_is_kept(tmp_path, pd, pq):
    table, indices, weights = make_table(), np.array([3, 17]), np.array([0.5, 1.5])
    write_all_rows(tmp_path / "rows.parquet", table, indices, weights, {"method": "tdds", "sampler": "top"})
    frame = pd.read_parquet(tmp_path / "rows.parquet")
    assert list(frame.columns) == ["index", "id", "label", "tdds", "aum", "kept", "weight"]
    assert np.flatnonzero(frame["kept"]).tolist() == [3, 17]
    assert frame["weight"][[3, 17]].tolist() == [0.5, 1.5]
    assert frame["weight"].sum() == 2
    origin = json.loads(pq.read_schema(tmp_path / "rows.parquet").metadata[b"tdds"])
    assert origin["source"]["fingerprint"] == "0" * 16
    assert origin["parameters"]["tdds"]["K"] == 5
    assert origin["selection"] == {"method": "tdds", "sampler": "top"}
    assert_equal(ScoreTable.load(tmp_path / "rows.parquet"), table)
    with pytest.raises(ValueError, match=r"all rows are written as"):
        write_all_rows(tmp_path / "rows.txt", table, indices, weights)


def test_mean_over_runs():
    tables = [make_table(seed) for seed in range(3)]
    combined = combine_tables(tables)
    for name in ("tdds", "aum"):
        np.testing.assert_allclose(combined.scores[name], sum(table.scores[name] for table in tables) / 3)
    assert combined.keeps == tables[0].keeps
    assert [source["source"] for source in combined.source["runs"]] == ["run0", "run1", "run2"]
    np.testing.assert_array_equal(combined.ids, tables[0].ids)


def test_rank_mean_over_runs():
    tables = [make_table(seed) for seed in range(2)]
    tables[0].scores["aum"][:2] = 5  # the two largest tie and share their rank
    combined = combine_tables(tables, "rank").scores["aum"]
    ranks = [[(np.sum(run <= x) + np.sum(run < x) + 1) / 2 for x in run] for run in (t.scores["aum"] for t in tables)]
    np.testing.assert_allclose(combined, np.mean(ranks, axis=0) / N)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": (np.arange(N) + 1) % 3}, "of different data: their labels differ, first those of sample 0"),
        ({"labels": None}, "^Run 0 and Run 1: one has labels, the other none"),
        ({"ids": np.arange(N)}, "of different data: their ids differ"),
        ({"scores": {"tdds": np.ones(3), "aum": np.ones(3)}}, f"of different data: {N} and 3 samples"),
        ({"parameters": {"tdds": {"K": 9}, "aum": {}}}, "scored otherwise"),
        ({"scores": {"tdds": np.ones(N)}}, "hold other scores: tdds, aum; tdds"),
        ({"source": {"n_epochs_read": 8}}, "^Run 0 and Run 1 are of 10 and 8 epochs; score both with the same --T"),
        ({"source": {"n_epochs_read": 12}}, "^Run 0 and Run 1 are of 10 and 12 epochs; score both with the same --T"),
        ({"source": {"fingerprint": "0" * 16}}, "Run 0 and Run 1 are of the same trajectory"),
    ],
)
def test_runs_of_different_data_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        combine_tables([make_table(0), make_table(1, **changes)])


def test_a_run_that_comes_twice_is_named_wherever_it_stands():
    tables = [make_table(0), make_table(1), make_table(2, source={"fingerprint": "0" * 16})]
    with pytest.raises(ValueError, match=r"^Run 0 and Run 2 are of the same trajectory, 0{16}; expected one file a"):
        combine_tables(tables)


def test_one_run_is_nothing_to_combine():
    with pytest.raises(ValueError, match="at least two runs"):
        combine_tables([make_table()])


def test_command_line(tmp_path, pq):
    for seed in range(2):
        np.save(tmp_path / f"{seed}.npy", np.random.default_rng(seed).dirichlet(np.ones(4), size=(N, 6)))
        arguments = ("score", f"{seed}.npy", "-o", f"{seed}.parquet", "--K", 3)
        assert run(*arguments, cwd=tmp_path)[0] == 0
    assert ScoreTable.load(tmp_path / "0.parquet").source["command"] == "tdds score 0.npy -o 0.parquet --K 3"
    status, out, err = run("combine", "0.parquet", "1.parquet", "-o", "mean.h5", "--how", "rank", cwd=tmp_path)
    assert (status, err) == (0, "")
    assert out == f"Combined 2 runs of {N} samples by rank -> mean.h5\n"
    assert run("select", "mean.h5", "--keep", 10, "-o", "rows.csv", "--all-rows", cwd=tmp_path)[0] == 0
    rows = list(csv.DictReader((tmp_path / "rows.csv").read_text().splitlines()))
    arguments = ("--keep", 10, "--sampler", "random", "--random-state", 3, "-o", "r.parquet", "--all-rows")
    assert run("select", "mean.h5", *arguments, cwd=tmp_path)[0] == 0
    selection = json.loads(pq.read_schema(tmp_path / "r.parquet").metadata[b"tdds"])["selection"]
    assert (selection["method"], selection["sampler"], selection["random_state"]) == ("tdds", "random", 3)
    assert selection["command"].startswith("tdds select mean.h5 --keep 10 --sampler random")
    scores = ScoreTable.load(tmp_path / "mean.h5").scores["tdds"]
    kept = [int(row["index"]) for row in rows if row["kept"] == "True"]
    assert kept == sorted(np.argsort(-scores, kind="stable")[:10])
    status, out, _ = run("score", "0.npy", "-o", "s.csv", "--K", 3, cwd=tmp_path)
    assert "A .csv holds the scores alone" in out
    status, _, err = run("combine", "0.parquet", "0.parquet", "-o", "m.h5", cwd=tmp_path)
    assert status == 1
    assert "0.parquet and 0.parquet are of the same trajectory" in err
    status, _, err = run("combine", "0.parquet", "nothing.h5", "-o", "m.txt", cwd=tmp_path)
    assert err.startswith("tdds: m.txt: scores are written as .h5, .parquet, .csv")


@pytest.fixture
def columns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", labels=[0, 1], ids=["a", "b"])
    np.save("y.npy", [0, 1])
    (tmp_path / "names.txt").write_bytes("\ufeffcat\ndog\n".encode())


@pytest.mark.usefixtures("columns")
def test_a_column_is_the_one_that_is_asked_for():
    assert read_column("data.npz").tolist() == [0, 1]
    assert read_column("data.npz", "ids").tolist() == ["a", "b"]
    assert read_column("data.npz::labels", "ids").tolist() == [0, 1]
    assert read_column("names.txt", "class_names").tolist() == ["cat", "dog"]
    for text, expected in {"-1 0 12": [-1, 0, 12], "007 8": ["007", "8"], "\u00b2 3": ["\u00b2", "3"]}.items():
        Path("values.txt").write_text(text.replace(" ", "\n"), encoding="utf-8")
        assert read_column("values.txt").tolist() == expected


@pytest.mark.usefixtures("columns")
@pytest.mark.parametrize(
    ("place", "what", "message"),
    [
        ("data.npz", "features", r"^data\.npz: holds no 'features', but labels, ids; say which, as data\.npz::NAME\.$"),
        ("y.npy::bar", "labels", r"^y\.npy::bar: only arrays in \.npz and HDF5 files have names; leave ::bar out\.$"),
        ("names.txt::bar", "ids", r"^names\.txt::bar: only arrays"),
        ("bad.npy", "ids", r"^bad\.npy: cannot be read as a file of ids: "),
        ("bad.npz", "labels", r"^bad\.npz: is no \.npz file, or was cut short\.$"),
    ],
)
def test_a_column_that_is_not_there(place, what, message):
    for name in ("bad.npy", "bad.npz"):
        Path(name).write_bytes(b"bad")
    with pytest.raises(TrajectoryError, match=message):
        read_column(place, what)
