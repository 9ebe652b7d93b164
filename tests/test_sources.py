"""Every way in gives the same trajectory, says what it is, and can be sent elsewhere."""

import pickle

import checks
import equations
import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tdds
from tdds import store
from tdds.sources import arrival, spooled

SHAPE = (30, 7, 4)


def read_all(trajectory, width=None):
    """All values, samples first, read in blocks of 11 samples and `width` epochs."""
    shape = (trajectory.n_samples, trajectory.n_epochs) + (
        () if trajectory.n_classes is None else (trajectory.n_classes,)
    )
    values = np.empty(shape)
    width = width or shape[1]
    with trajectory.reader() as read:
        for start in range(0, shape[0], 11):
            for epoch in range(0, shape[1], width):
                block = values[start : start + 11, epoch : epoch + width]
                read(start, min(start + 11, shape[0]), epoch, block)
    return values


READ_AGAIN = [name for name in checks.SOURCES if name not in ("list of epochs", "generator")]


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in ("logits", "losses") for name in READ_AGAIN if kind != "losses" or name in checks.LOSSES],
)
def test_same_numbers(kind, name, tmp_path):
    values, _ = checks.logged(kind, SHAPE, dtype=np.float32)
    source, said = checks.make_source(name, tmp_path, values, kind)
    trajectory = tdds.open_trajectory(source, **said)
    assert (trajectory.n_samples, trajectory.n_epochs, trajectory.n_classes) == (*values.shape, None)[:3]
    assert trajectory.kind == kind
    for width in (None, 3):
        np.testing.assert_array_equal(read_all(trajectory, width), values)
    if name != "h5py.Dataset":  # an open file stays where it is
        np.testing.assert_array_equal(read_all(pickle.loads(pickle.dumps(trajectory))), values)


@pytest.mark.parametrize("name", ["directory", "store", ".npz", ".npy", "HDF5 gzip", "packed", "zarr 3"])
def test_pickles_carry_no_data_nor_open_files(name, tmp_path):
    values, _ = checks.logged("logits", (2000, 7, 4))
    source, said = checks.make_source(name, tmp_path, values, "logits")
    trajectory = tdds.open_trajectory(source, **said)
    read_all(trajectory)
    if name != ".npz":  # held in memory, as its docstring says
        assert len(pickle.dumps(trajectory)) < 3000


REPRS = {
    "array": "<ArrayTrajectory in memory: 30 samples x 7 epochs x 4 classes, float32 logits>",
    "generator": "<EpochStream stream: 30 samples x unknown epochs x 4 classes, float32 logits>",
    "list of epochs": "<EpochStream stream: 30 samples x 7 epochs x 4 classes, float32 logits>",
    ".npy TNC": "<NpyFile {}/tnc.npy: 30 samples x 7 epochs x 4 classes, float32 logits>",
    ".npz samples first": "<ArrayTrajectory {}/ntc.npz: 30 samples x 7 epochs x 4 classes, float32 logits>",
    "dask": "<ArrayTrajectory in memory: 30 samples x 7 epochs x 4 classes, float32 logits>",
    "zarr 2 TNC": "<ZarrTrajectory {}/2.zarr::x: 30 samples x 7 epochs x 4 classes, float32 logits>",
    ".npz": "<NpzTrajectory {}/run.npz: 30 samples x 7 epochs x 4 classes, float32 logits>",
    "directory": "<NpyDirectory {}/logs: 30 samples x 7 epochs x 4 classes, float32 logits>",
    "HDF5 gzip": "<HDF5Trajectory {}/b.h5::group/x: 30 samples x 7 epochs x 4 classes, float32 logits>",
    "store": "<StoreTrajectory {}/run: 30 samples x 7 epochs x 4 classes, float32 logits>",
    "packed": "<HDF5Trajectory {}/packed.h5::values: 30 samples x 7 epochs x 4 classes, float32 logits>",
}


@pytest.mark.parametrize("name", REPRS)
def test_repr(name, tmp_path):
    source, said = checks.make_source(name, tmp_path, checks.logged("logits", SHAPE, dtype=np.float32)[0], "logits")
    assert repr(tdds.open_trajectory(source, **said)) == REPRS[name].format(tmp_path)


def test_labels_and_ids_travel(tmp_path):
    values, y = checks.logged("probs", SHAPE)
    names = np.array([f"img_{i}.png" for i in range(SHAPE[0])])
    beside = {"labels": y, "ids": names.astype(object)}
    tdds_store = checks.write_store(tmp_path / "run", values, "probs", **beside)
    store.pack(tdds.open_trajectory(tdds_store), tmp_path / "packed.h5")
    sources = [
        tdds_store,
        tmp_path / "packed.h5",
        checks.write_hdf5(tmp_path / "a.h5", values, attributes={"axes": "NTC"}, beside=beside),
        checks.write_npz(tmp_path / "a.npz", values, "probs", labels=y, ids=names),
        checks.write_zarr(tmp_path / "a.zarr", values, attributes={"axes": "NTC"}, beside=beside, zarr_format=2),
        tmp_path / "ntc.npz",
    ]
    np.savez(tmp_path / "ntc.npz", probs=values, labels=y, ids=names)
    opened = [tdds.open_trajectory(source) for source in sources]
    opened.append(tdds.open_trajectory(values, labels=y.astype(float), ids=names))
    expected = equations.tdds(values, y, K=4, loss="ce")
    for trajectory in opened:
        assert trajectory.labels.dtype == np.int64
        assert trajectory.labels.tolist() == y.tolist()
        assert trajectory.ids.tolist() == names.tolist()
        assert repr(trajectory).endswith("float64 probs, labels, ids>")
        np.testing.assert_allclose(tdds.score_trajectory(trajectory, K=4, loss="ce"), expected, rtol=1e-9)


def test_bfloat16(tmp_path):
    values, _ = checks.logged("logits", SHAPE, dtype=np.float32)
    bits = store.float32_to_bfloat16(values)
    rounded = store.widen(bits)
    np.testing.assert_allclose(rounded, values, rtol=2**-8)
    attributes = {"axes": "NTC", "kind": "logits", "dtype": "bfloat16"}
    sources = [
        checks.write_hdf5(tmp_path / "a.h5", bits, attributes=attributes),
        checks.write_store(tmp_path / "run", values, "logits", dtype="bfloat16"),
    ]
    store.pack(tdds.open_trajectory(sources[1]), tmp_path / "packed.h5")
    expected = tdds.score_trajectory(rounded, K=4, kind="logits")
    for source in (*sources, tmp_path / "packed.h5"):
        trajectory = tdds.open_trajectory(source)
        assert trajectory.dtype == "bfloat16"
        np.testing.assert_array_equal(read_all(trajectory), rounded)
        np.testing.assert_array_equal(tdds.score_trajectory(trajectory, K=4), expected)


def test_bfloat16_of_ml_dtypes():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values, _ = checks.logged("logits", SHAPE, dtype=np.float32)
    trajectory = tdds.open_trajectory(values.astype(ml_dtypes.bfloat16), kind="logits")
    assert trajectory.dtype == "bfloat16"
    np.testing.assert_array_equal(read_all(trajectory), values.astype(ml_dtypes.bfloat16).astype(np.float32))


@pytest.mark.parametrize("dtype", ["float16", ">f4", "float64"])
def test_dtypes_of_a_directory(dtype, tmp_path):
    values, _ = checks.logged("logits", SHAPE, dtype=dtype)
    trajectory = tdds.open_trajectory(checks.write_directory(tmp_path / "logs", values, "logits"))
    assert trajectory.dtype == np.dtype(dtype).name
    np.testing.assert_array_equal(read_all(trajectory), values)


#: Epoch 2 lacks samples 3 and 29 (the last), epoch 3 lacks 3 still, epoch 5 lacks 0.
LACKING = {0: {8}, 1: {8}, 2: {3, 29}, 3: {3}, 5: {0}}


def write_incomplete(kind_of_source, folder, values):
    rng = np.random.default_rng(0)
    indices = [rng.permutation(sorted(set(range(30)) - LACKING.get(t, set()))) for t in range(7)]
    if kind_of_source == "directory":
        return checks.write_directory(folder / "logs", values, "logits", indices)
    with tdds.TrajectoryWriter(folder / "run", 30, 4, kind="logits", dtype="float64") as writer:
        for t, index in enumerate(indices):
            writer.write(index, values[index, t])
            writer.end_epoch()
    return folder / "run"


@pytest.mark.parametrize(
    ("kind", "name"), [("probs", "epoch_{:03d}.npy"), ("logits", "net18-{}.npy"), ("losses", "{}.npy")]
)
def test_a_folder_of_an_npy_an_epoch(kind, name, tmp_path):
    values, _ = checks.logged(kind, SHAPE, dtype=np.float32)
    for t in range(7):
        np.save(tmp_path / name.format(10 * t + 10), values[:, t])  # every tenth epoch
    np.save(tmp_path / "labels.npy", np.arange(30))
    trajectory = tdds.open_trajectory(tmp_path, kind="logits" if kind == "logits" else None)
    assert (trajectory.n_epochs, trajectory.kind) == (7, kind)
    for width in (None, 1, 3):
        np.testing.assert_array_equal(read_all(trajectory, width), values)
    with checks.small_blocks(1):
        scores = tdds.score_trajectory(pickle.loads(pickle.dumps(trajectory)), K=4)
    np.testing.assert_array_equal(scores, tdds.score_trajectory(values, K=4, kind=trajectory.kind))
    np.save(tmp_path / name.format(40), values[:29, 3])
    with pytest.raises(tdds.TrajectoryError, match=r"29 rows; expected 30 as in .*10.*\.npy, one a sample in the same"):
        tdds.score_trajectory(tmp_path, K=4, kind=trajectory.kind)


@pytest.mark.parametrize("kind_of_source", ["directory", "store"])
def test_carry_repeats_the_epoch_before_and_at_first_the_next(kind_of_source, tmp_path):
    values, _ = checks.logged("logits", SHAPE)
    path = write_incomplete(kind_of_source, tmp_path, values)
    carried = values.copy()
    for epoch, samples in LACKING.items():
        carried[list(samples), epoch] = carried[list(samples), epoch - 1]
    carried[8, :2] = carried[8, 2]
    trajectory = tdds.open_trajectory(path, missing="carry")
    for width in (None, 1, 3):
        np.testing.assert_array_equal(read_all(trajectory, width), carried)
    np.testing.assert_array_equal(
        tdds.score_trajectory(path, K=4, missing="carry"), tdds.score_trajectory(carried, K=4, kind="logits")
    )
    text = r"^Epoch 0 does not hold sample 8; pass missing='carry' \(--missing carry\) to repeat the value "
    with pytest.raises(tdds.TrajectoryError, match=text):
        tdds.score_trajectory(path, K=4)


def test_carry_is_said_where_logs_are_opened(tmp_path):
    values, _ = checks.logged("logits", SHAPE)
    path = checks.write_directory(tmp_path / "logs", values, "logits", [np.arange(30)] * 7)
    with pytest.raises(ValueError, match=r"^missing='carry', but <.* was opened without; open it with missing='carry'"):
        tdds.score_trajectory(tdds.open_trajectory(path), K=4, missing="carry")
    for trajectory in (tdds.open_trajectory(path, missing="carry"), tdds.open_trajectory(values, kind="logits")):
        assert len(tdds.score_trajectory(trajectory, K=4, missing="carry")) == 30


def test_epochs_past_T_may_be_incomplete_or_damaged(tmp_path):
    values, _ = checks.logged("logits", SHAPE)
    expected = tdds.score_trajectory(values, T=4, K=4, kind="logits")
    path = checks.write_directory(tmp_path / "logs", values, "logits")
    (path / "5_Index.npy").unlink()
    (path / "6_Output.npy").write_bytes(b"cut")
    np.save(path / "4_Index.npy", np.arange(29))
    np.testing.assert_array_equal(tdds.score_trajectory(path, T=4, K=4), expected)
    with pytest.raises(tdds.TrajectoryError, match=r"logs/4_Index\.npy: index of int64 and shape \(29,\); expected"):
        tdds.score_trajectory(path, T=5, K=4)


def test_of_duplicates_the_last_counts(tmp_path):
    values, _ = checks.logged("logits", SHAPE)
    path = checks.write_directory(tmp_path / "logs", values, "logits")
    for t in range(7):  # padding of a distributed sampler: samples 5 and 6 come before and again, with other values
        index, rows = np.load(path / f"{t}_Index.npy"), np.load(path / f"{t}_Output.npy")
        np.save(path / f"{t}_Index.npy", np.concatenate([[5, 6, 5], index]))
        np.save(path / f"{t}_Output.npy", np.concatenate([np.full((3, 4), 99.0), rows]))
    np.testing.assert_array_equal(read_all(tdds.open_trajectory(path)), values)


@pytest.mark.parametrize("near_and_longest", [(1, 1), (40, 64), (1 << 14, 1 << 22)])
def test_rows_far_apart_are_read_in_runs(near_and_longest, tmp_path, monkeypatch):
    near, longest = near_and_longest
    monkeypatch.setattr(arrival, "_GAP_BYTES", near)
    monkeypatch.setattr(arrival, "_RUN_BYTES", longest)
    values, _ = checks.logged("logits", (3000, 3, 4), dtype=np.float32)
    for path in (
        checks.write_directory(tmp_path / "logs", values, "logits"),
        checks.write_store(tmp_path / "run", values, "logits", n_parts=2),
    ):
        trajectory = tdds.open_trajectory(path)
        block = np.empty((7, 3, 4), dtype=np.float32)
        with trajectory.reader() as read:
            read(1500, 1507, 0, block)
        np.testing.assert_array_equal(block, values[1500:1507])


@given(st.sets(st.integers(0, 10_000), max_size=60), st.sampled_from([1, 40, 5_000_000]))
def test_runs_cover_the_rows_once_in_order(rows, row_bytes):
    rows = np.array(sorted(rows), dtype=np.int64)
    runs = list(arrival._stretches(rows, row_bytes))
    assert [row for run, _, _ in runs for row in rows[run]] == rows.tolist()
    for run, first, last in runs:
        assert (first, last) == (rows[run][0], rows[run][-1])
        assert last - first < max(1, (1 << 22) // row_bytes)
        assert (np.diff(rows[run]) <= max(1, arrival._GAP_BYTES // row_bytes)).all()


@pytest.mark.parametrize("name", ["directory", "store", "store of two parts", "store bfloat16", "store log8", "losses"])
def test_a_copy_in_sorted_runs_holds_the_same(name, tmp_path, monkeypatch):
    monkeypatch.setattr(spooled, "_RUN_BYTES", 1 << 11)
    kind = "losses" if name == "losses" else "probs"
    values, _ = checks.logged(kind, (900, 5, 4), dtype=np.float32)
    if name == "directory":
        path = checks.write_directory(tmp_path / "logs", values, kind)
    else:
        dtype = name.split()[1] if name.endswith(("16", "8")) else None
        path = checks.write_store(tmp_path / "logs", values, kind, n_parts=2 if "two" in name else 1, dtype=dtype)
    trajectory = tdds.open_trajectory(path, kind=kind)
    expected = read_all(trajectory)
    (tmp_path / "copies").mkdir()
    with trajectory.in_runs(tmp_path / "copies") as runs:
        np.testing.assert_array_equal(read_all(runs), expected)
        assert len(list((tmp_path / "copies").rglob("*_Output.npy"))) == 5
        index, n_rows = runs.index(3), (1 << 11) // (trajectory.buffer_dtype.itemsize * (trajectory.n_classes or 1))
        for start in range(0, 900, n_rows):
            assert (np.diff(index[start : start + n_rows]) > 0).all()
        assert pickle.loads(pickle.dumps(runs.part(3, 9)))._held.name == trajectory.name
    assert list((tmp_path / "copies").iterdir()) == []


def test_in_sorted_runs_duplicates_and_missing_samples_are_resolved_as_before(tmp_path, monkeypatch):
    monkeypatch.setattr(spooled, "_RUN_BYTES", 1 << 9)
    values, _ = checks.logged("logits", (300, 4, 3), dtype=np.float32)
    path = checks.write_directory(tmp_path / "logs", values, "logits")
    for t in range(1, 4):
        index, rows = np.load(path / f"{t}_Index.npy"), np.load(path / f"{t}_Output.npy")
        index[:50] = index[50:100]  # 50 samples are missing, 50 come twice
        index[200:210] = index[190:200]
        np.save(path / f"{t}_Index.npy", index)
        np.save(path / f"{t}_Output.npy", rows)
    trajectory = tdds.open_trajectory(path, missing="carry")
    with trajectory.in_runs(tmp_path) as runs:
        np.testing.assert_array_equal(read_all(runs), read_all(trajectory))
    with (
        tdds.open_trajectory(path).in_runs(tmp_path) as runs,
        pytest.raises(tdds.TrajectoryError, match=r"^Epoch 1 does"),
    ):
        read_all(runs)


def test_logs_that_take_many_blocks_are_scored_from_runs_and_packed_from_them(tmp_path, monkeypatch):
    values, _ = checks.logged("probs", (3000, 8, 100), dtype=np.float32)
    path = checks.write_store(tmp_path / "run", values, "probs", n_parts=2)
    made = []
    monkeypatch.setattr(
        spooled.SortedRuns, "__init__", lambda *args, init=spooled.SortedRuns.__init__: made.append(1) or init(*args)
    )
    monkeypatch.setattr(spooled, "_RUN_BYTES", 1 << 18)
    expected = tdds.score_trajectory(str(path), K=4)
    assert not made
    np.testing.assert_array_equal(tdds.score_trajectory(str(path), K=4, memory_limit=1, n_jobs=2), expected)
    assert len(made) == 1
    monkeypatch.setattr("tdds.store.packed._BLOCK_BYTES", 1 << 20)
    tdds.store.pack(tdds.open_trajectory(path), tmp_path / "run.h5")
    assert len(made) == 2
    np.testing.assert_array_equal(tdds.score_trajectory(tmp_path / "run.h5", K=4), expected)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run", "run.h5"]


def test_runs_example():
    runs = list(arrival._stretches(np.array([0, 1, 2, 5000, 5001, 20_000]), 16))
    assert runs == [(slice(0, 3), 0, 2), (slice(3, 5), 5000, 5001), (slice(5, 6), 20_000, 20_000)]


def test_a_store_is_read_while_it_grows(tmp_path):
    values, _ = checks.logged("probs", SHAPE)
    with tdds.TrajectoryWriter(tmp_path / "run", 30, 4, dtype="float64") as writer:
        for t in range(7):
            writer.write(None, values[:, t])
            if t == 5:
                opened = tdds.open_trajectory(tmp_path / "run")
            writer.end_epoch()
    assert opened.n_epochs == 5
    np.testing.assert_array_equal(read_all(opened), values[:, :5])
    assert tdds.open_trajectory(tmp_path / "run").n_epochs == 7


def test_kind_is_what_the_file_says_unless_said(tmp_path):
    values, _ = checks.logged("probs", SHAPE)
    logs = checks.write_directory(tmp_path / "logs", values, "probs")
    assert tdds.open_trajectory(checks.write_directory(tmp_path / "logits", 2 * values, "logits")).kind == "logits"
    assert tdds.open_trajectory(logs, kind="probs").kind == "probs"
    packed = checks.write_packed(tmp_path / "packed.h5", values, "probs")
    assert tdds.open_trajectory(packed).kind == "probs"
    assert tdds.open_trajectory(packed, kind="logits").kind == "logits"


def test_attributes_of_fixed_length_are_read(tmp_path):
    values, _ = checks.logged("logits", SHAPE)
    name = checks.write_hdf5(tmp_path / "a.h5", values, "TNC", {"axes": np.bytes_("TNC"), "kind": np.bytes_("logits")})
    np.testing.assert_array_equal(read_all(tdds.open_trajectory(name)), values)


def test_tensors_are_read_through_detach_and_cpu():
    values, _ = checks.logged("probs", SHAPE, dtype=np.float32)

    class Tensor:
        dtype = "torch.float32"

        def detach(self):
            return self

        cpu = detach

        def numpy(self):
            return values

    np.testing.assert_array_equal(read_all(tdds.open_trajectory(Tensor())), values)


def test_h5py_dataset_of_losses_by_axes(tmp_path):
    losses, _ = checks.logged("losses", SHAPE)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("loss", data=losses.T)
        trajectory = tdds.open_trajectory(dataset, axes="TN")
        np.testing.assert_array_equal(read_all(trajectory), losses)
        assert trajectory.kind == "losses"


def test_an_open_dataset_says_its_axes_and_kind(tmp_path):
    values, _ = checks.logged("logits", SHAPE)
    name, dataset = checks.write_hdf5(tmp_path / "a.h5", values, "TNC", {"axes": "TNC", "kind": "logits"}).split("::")
    with h5py.File(name) as file:
        trajectory = tdds.open_trajectory(file[dataset])
        assert (trajectory.kind, trajectory.n_samples) == ("logits", SHAPE[0])
        np.testing.assert_array_equal(read_all(trajectory), values)


@pytest.mark.parametrize("dtype", ["bfloat16", "log8"])
def test_an_open_dataset_of_codes_is_read_as_what_they_stand_for(dtype, tmp_path):
    values, _ = checks.logged("probs", SHAPE)
    store.pack(tdds.open_trajectory(values), tmp_path / "a.h5", dtype=dtype)
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(
            read_all(tdds.open_trajectory(file["values"])), read_all(tdds.open_trajectory(tmp_path / "a.h5"))
        )


@pytest.mark.parametrize("suffix", ["npy", "h5"])
def test_whole_numbers_in_a_file_are_read_as_floats(tmp_path, suffix):
    values = np.eye(4, dtype=np.int64)[np.random.default_rng(0).integers(4, size=(20, 6))]
    if suffix == "npy":
        source = checks.write_npy(tmp_path / "a.npy", values)
    else:
        source = checks.write_hdf5(tmp_path / "a.h5", values, "NTC", {"axes": "NTC"})
    np.testing.assert_allclose(tdds.score_trajectory(source, K=4), equations.tdds(values, K=4), rtol=1e-9)


def test_fingerprint_reads_only_the_epochs_that_count():
    values, _ = checks.logged("probs", SHAPE)
    changed = values.copy()
    changed[:, 6:] = np.nan
    one, other = (tdds.open_trajectory(held) for held in (values, changed))
    assert one.fingerprint(6) == other.fingerprint(6) != one.fingerprint()


def test_a_fingerprint_looks_at_the_last_sample_too():
    values, _ = checks.logged("probs", (100, 7, 4))
    other = values.copy()
    other[-1] = values[-1, :, ::-1]
    assert tdds.open_trajectory(values).fingerprint() != tdds.open_trajectory(other).fingerprint()


def test_the_kind_of_an_npz_is_what_is_said(tmp_path):
    np.savez(tmp_path / "run.npz", probs=checks.logged("logits", SHAPE)[0])
    assert tdds.open_trajectory(tmp_path / "run.npz").kind == "probs"
    assert tdds.open_trajectory(tmp_path / "run.npz", kind="logits").kind == "logits"


@pytest.mark.parametrize("name", ["labels", "ids"])
def test_names_kept_in_another_file_are_refused(tmp_path, name):
    values, y = checks.logged("probs", SHAPE)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["held"] = y
    with h5py.File(tmp_path / "run.h5", "w") as file:
        file["x"] = values
        file[name] = h5py.ExternalLink(str(tmp_path / "other.h5"), "held")
    with pytest.raises(tdds.TrajectoryError, match=rf"expected a dataset '/{name}' inside the file"):
        tdds.open_trajectory(f"{tmp_path / 'run.h5'}::x", axes="NTC")


def test_a_virtual_dataset_of_the_same_file_and_no_other(tmp_path):
    probs, _ = checks.logged("probs", (6, 8, 4))
    path = tmp_path / "run.h5"
    with h5py.File(path, "w") as file:
        file["block"] = probs
        for name, source in (("twice", "block"), ("nested", "twice")):
            layout = h5py.VirtualLayout((12, 8, 4), probs.dtype)
            layout[:6] = layout[6:] = h5py.VirtualSource(".", source, probs.shape)
            file.create_virtual_dataset(name, layout).attrs["axes"] = "NTC"
    scores = tdds.score_trajectory(f"{path}::twice", K=4)
    np.testing.assert_array_equal(scores, np.tile(tdds.score_trajectory(probs, K=4), 2))
    with pytest.raises(tdds.TrajectoryError, match=r"run\.h5: 'twice' is a virtual dataset; expected one that holds"):
        tdds.score_trajectory(f"{path}::nested", K=4)


@pytest.mark.parametrize("kind", ["probs", "logits", "log_probs"])
def test_values_without_classes_are_losses_and_nothing_else(kind):
    losses = np.random.default_rng(0).random((30, 7))
    text = rf"^kind='{kind}', but values without an axis of classes are losses; leave kind out"
    with pytest.raises(ValueError, match=text):
        tdds.score_trajectory(losses, K=4, kind=kind)
    with pytest.raises(ValueError, match=text):
        tdds.score_trajectory(iter(losses.T), K=4, kind=kind)
    assert tdds.open_trajectory(losses, kind="losses").kind == "losses"


@pytest.mark.parametrize("form", [list, tuple])
def test_a_list_of_1d_arrays_says_its_axes(form):
    losses = np.random.default_rng(0).random((30, 7))
    text = (
        rf"^A {form.__name__} of 1-D arrays may be samples or epochs; pass numpy\.stack\(arrays\) with axes='NT' where"
    )
    with pytest.raises(tdds.TrajectoryError, match=text):
        tdds.open_trajectory(form(losses))
    expected = tdds.score_trajectory(losses, K=4)
    np.testing.assert_array_equal(tdds.score_trajectory(form(losses.T), K=4, axes="TN"), expected)
    np.testing.assert_array_equal(tdds.score_trajectory(losses.tolist(), K=4), expected)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_outputs_that_look_like_probabilities_say_what_they_are(dtype, tmp_path):
    probs, _ = checks.logged("probs", SHAPE, dtype=dtype)
    path = checks.write_directory(tmp_path / "logs", probs, "probs")
    with pytest.raises(
        tdds.TrajectoryError,
        match=r"0_Output\.npy: its rows sum to 1 as probabilities do, .*; pass kind='probs' \(--ki",
    ):
        tdds.open_trajectory(path)
    for kind in ("probs", "logits"):
        expected = tdds.score_trajectory(probs, K=4, kind=kind)
        np.testing.assert_array_equal(tdds.score_trajectory(path, K=4, kind=kind), expected)


@pytest.mark.parametrize("form", ["directory", "npz"])
def test_carry_counts_a_last_sample_that_epoch_0_lacks(form, tmp_path):
    values, _ = checks.logged("logits", SHAPE)
    indices = (
        [np.arange(28), *[np.arange(30)] * 6] if form == "directory" else [np.arange(29) + (t > 0) for t in range(7)]
    )
    if form == "directory":
        path = checks.write_directory(tmp_path / "logs", values, "logits", indices)
    else:
        path = tmp_path / "logs.npz"
        np.savez(path, logits=np.stack([values[index, t] for t, index in enumerate(indices)]), index=indices)
    carried = tdds.open_trajectory(path, missing="carry")
    assert carried.n_samples == 30
    np.testing.assert_array_equal(read_all(carried)[29, :2], values[29, [1, 1]])
    if form == "directory":  # what is not read is not checked
        (path / "6_Index.npy").write_bytes(b"cut")
        assert len(tdds.score_trajectory(path, T=4, K=4, missing="carry")) == 30


def test_a_name_inside_one_zarr_array_is_refused(tmp_path):
    zarr = pytest.importorskip("zarr")
    zarr.save_array(str(tmp_path / "one.zarr"), np.random.default_rng(0).random((9, 5)))
    with pytest.raises(tdds.TrajectoryError, match=r"one\.zarr: is one array, and holds no 'x'; leave ::x out\.$"):
        tdds.open_trajectory(f"{tmp_path}/one.zarr::x", axes="NT")
    assert tdds.open_trajectory(tmp_path / "one.zarr", axes="NT").n_epochs == 5


@pytest.mark.parametrize("form", ["h5", "npz", "zarr"])
def test_names_beside_a_strangers_values_that_cannot_be_used(form, tmp_path):
    values, y = checks.logged("probs", (30, 7, 4))
    path = tmp_path / f"a.{form}"
    if form == "npz":
        np.savez(path, probs=values, labels=np.eye(4)[y])
    elif form == "zarr":
        checks.write_zarr(path, values, beside={"labels": np.eye(4)[y]})
    else:
        with h5py.File(path, "w") as file:
            file["probs"], file["labels"] = values, np.eye(4)[y]
    place = {"h5": f"{path}::probs", "npz": path, "zarr": f"{path}::x"}[form]
    with pytest.warns(RuntimeWarning, match=r"the labels beside it are left out; .* shape \(30, 4\)"):
        assert tdds.open_trajectory(place, axes="NTC").labels is None
    np.testing.assert_array_equal(tdds.open_trajectory(place, axes="NTC", labels=y).labels, y)


def test_ids_that_int64_does_not_hold_are_text():
    values, _ = checks.logged("probs", (3, 4, 5))
    ids = np.array([1, 2**63, 2**64 - 1], dtype=np.uint64)
    assert tdds.open_trajectory(values, ids=ids).ids.tolist() == ["1", str(2**63), str(2**64 - 1)]
    assert tdds.open_trajectory(values, ids=ids[[0, 0, 0]]).ids.dtype == np.int64


def test_ids_that_are_no_unicode_are_named():
    values, _ = checks.logged("probs", (3, 4, 5))
    with pytest.raises(ValueError, match=r"^The id of sample 1 is 'n\\udcffu', a name that is no UTF-8; expected text"):
        tdds.open_trajectory(values, ids=["a", "n\udcffu", "?"])
