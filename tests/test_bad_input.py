"""What is wrong is said in one line that names what and where, by an error of the right type."""

import re

import checks
import h5py
import numpy as np
import pytest

import tdds

N, T, C = 30, 8, 4


def probs():
    return checks.logged("probs", (N, T, C))[0]


def spoiled(value, sample=17, epoch=4, dtype=np.float64, kind="probs"):
    """A trajectory with one value, or one whole row, spoiled."""
    values = checks.logged(kind, (N, T, C), dtype=dtype)[0]
    row = values[sample, epoch : epoch + 1] if kind == "losses" else values[sample, epoch]
    if callable(value):
        row[:] = value(row)
    else:
        row[-1] = value
    return values


def directory(folder, spoil):
    """The authors' layout, spoiled by a function of its path."""
    path = checks.write_directory(folder / "logs", checks.logged("logits", (N, T, C))[0], "logits")
    spoil(path)
    return path


def change(name, function):
    """Spoil the array `name` of a directory."""
    return lambda path: np.save(path / name, function(np.load(path / name)))


def sample_7_as_8(epoch):
    return change(f"{epoch}_Index.npy", lambda index: np.where(index == 7, 8, index))


def put(place, value):
    def function(array):
        array[place] = value
        return array

    return function


def cut(name, n_bytes):
    return lambda path: (path / name).write_bytes((path / name).read_bytes()[:n_bytes])


def rename(old, new):
    return lambda path: (path / old).rename(path / new)


def file(folder, name, content):
    (folder / name).write_bytes(content)
    return folder / name


def cut_npz(folder):
    path = checks.write_npz(folder / "run.npz", probs(), "probs")
    return file(folder, "cut.npz", path.read_bytes()[:-200])


def npz(folder, **arrays):
    np.savez(folder / "run.npz", **arrays)
    return folder / "run.npz"


def hdf5(folder, dataset="group/x", **attributes):
    return checks.write_hdf5(folder / "a.h5", probs(), attributes=attributes).replace("group/x", dataset)


def external_hdf5(folder):
    with h5py.File(folder / "a.h5", "w") as opened:
        opened["x"] = h5py.ExternalLink("missing.h5", "x")
    return f"{folder / 'a.h5'}::x"


#: Name: source from a folder, options, error, what its text matches; FOLDER is the folder.
TRAJECTORIES = {
    # axes
    "T beyond axis 1": (
        lambda _: np.swapaxes(checks.logged("probs", (N, 40, C))[0], 0, 1)[:, :20],
        {"T": 40, "K": 5},
        ValueError,
        r"^T=40, but the trajectory holds 20 epochs\. If its first axis is the epochs, pass axes='TNC'\.$",
    ),
    "labels as long as axis 1": (
        lambda _: probs().swapaxes(0, 1),
        {"y": np.zeros(N, int)},
        ValueError,
        r"^30 labels for 8 samples; expected one a sample\. The epochs axis is that long: is it axes='TNC'\?$",
    ),
    "4 axes": (
        lambda _: probs()[None],
        {},
        tdds.TrajectoryError,
        r"^A trajectory has 3 axes.*got shape \(1, 30, 8, 4\)",
    ),
    "1 axis": (lambda _: probs()[0, 0], {}, tdds.TrajectoryError, r"^A trajectory has 3 axes.*got shape \(4,\)"),
    "unknown axes": (
        lambda _: probs(),
        {"axes": "NCX"},
        ValueError,
        r"^axes='NCX' is not known; expected one of 'NTC'",
    ),
    "axes of losses": (
        lambda _: probs()[..., 0],
        {"axes": 7},
        ValueError,
        r"^axes=7 is not known; expected one of 'NT'",
    ),
    "no samples": (
        lambda _: np.empty((0, T, C)),
        {},
        tdds.TrajectoryError,
        r"^<.*> has no samples: 0 sample\(s\) \(shape=\(0, 8, 4\)\) while",
    ),
    "no epochs": (
        lambda _: np.empty((N, 0, C)),
        {},
        tdds.TrajectoryError,
        r"^<.*> has no epochs: 0 feature\(s\) \(shape=\(30, 0, 4\)\)",
    ),
    "no classes": (
        lambda _: np.empty((N, T, 0)),
        {},
        tdds.TrajectoryError,
        r"^<.*> has no classes: 0 feature\(s\) \(shape=",
    ),
    "an empty list": (lambda _: [], {}, tdds.TrajectoryError, r"^A trajectory has 3 axes.*got shape \(0,\)"),
    "an empty iterator": (lambda _: iter([]), {}, tdds.TrajectoryError, r"^The iterable of epochs is empty\.$"),
    # types
    "complex": (lambda _: probs() + 0j, {}, ValueError, r"^Complex data not supported: a trajectory holds"),
    "words": (lambda _: [["a", "b"]], {}, TypeError, r"^A trajectory holds numbers; got list of <U1 \("),
    "objects": (
        lambda _: np.full((N, T, C), object()),
        {},
        TypeError,
        r"^A trajectory holds numbers; got ndarray of object \(float\(\) argument must be",
    ),
    "a dict": (lambda _: {"probs": probs()}, {}, TypeError, r"^A trajectory holds numbers; got dict of object"),
    "None": (lambda _: None, {}, tdds.TrajectoryError, r"^A trajectory has 3 axes.*got shape \(\)"),
    "dates": (
        lambda _: np.zeros((N, T), "M8[s]"),
        {},
        TypeError,
        r"^A trajectory holds float16, .*; got datetime64\[s\]\.$",
    ),
    "ragged": (lambda _: [[[0.5, 0.5]], [[1.0]]], {}, tdds.TrajectoryError, r"^The trajectory is ragged: "),
    "another number of classes": (
        lambda _: [*probs().swapaxes(0, 1)[:5], np.full((N, 5), 0.2)],
        {},
        tdds.TrajectoryError,
        r"^Epoch 5 has shape \(30, 5\); expected \(30, 4\) as epoch 0\.$",
    ),
    "another dtype": (
        lambda _: iter([probs()[:, 0].astype(np.float16), *probs().swapaxes(0, 1)[1:]]),
        {},
        tdds.TrajectoryError,
        r"^Epoch 1 has dtype float64; expected float16 as epoch 0\.$",
    ),
    # values
    "nan": (
        lambda _: spoiled(np.nan),
        {},
        tdds.TrajectoryError,
        r"^Row of sample 17 at epoch 4 holds nan for class 3; exp",
    ),
    "inf": (
        lambda _: spoiled(np.inf),
        {},
        tdds.TrajectoryError,
        r"^Row of sample 17 at epoch 4 holds inf for class 3; exp",
    ),
    "inf among logits": (
        lambda _: spoiled(np.inf, kind="logits"),
        {"kind": "logits"},
        tdds.TrajectoryError,
        r"^Row of sample 17 at epoch 4 holds inf for class 3; expected finite logits\.$",
    ),
    "-inf for every class": (
        lambda _: spoiled(lambda row: -np.inf, kind="logits"),
        {"kind": "logits"},
        tdds.TrajectoryError,
        r"^Row of sample 17 at epoch 4 is -inf for every class; expected finite logits\.$",
    ),
    "sum of 0.7": (
        lambda _: spoiled(lambda row: row * 0.7),
        {},
        tdds.TrajectoryError,
        r"^Row of sample 17 at epoch 4 sums to 0\.7, expected 1 within 1e-06 of float64; pass kind='logits' if these ",
    ),
    "float32 sum": (
        lambda _: spoiled(lambda row: row * 0.998, dtype=np.float32),
        {},
        tdds.TrajectoryError,
        r"^Row of sample 17 at epoch 4 sums to 0\.998, expected 1 within 0\.001 of float32; they were rounded",
    ),
    "float16 sum": (
        lambda _: spoiled(lambda row: row * 0.97, dtype=np.float16),
        {},
        tdds.TrajectoryError,
        r"^Row of sample 17 at epoch 4 sums to 0\.9\d+, expected 1 within 0\.02 of float16; they were rounded",
    ),
    "log_probs that sum to 2": (
        lambda _: spoiled(lambda row: row + np.log(2), kind="log_probs"),
        {"kind": "log_probs"},
        tdds.TrajectoryError,
        r"^Row of sample 17 at epoch 4 sums to 2, expected 1 within 1e-06 of float64\.$",
    ),
    "negative": (
        lambda _: spoiled(lambda row: [0.5, 0.6, -0.1, 0]),
        {},
        tdds.TrajectoryError,
        r"^Row of sample 17 at epoch 4 holds -0\.1 for class 2, expected probabilities; pass kind='logits' if",
    ),
    "nan of a loss": (
        lambda _: spoiled(np.nan, kind="losses"),
        {},
        tdds.TrajectoryError,
        r"^Loss of sample 17 at epoch 4 is nan; expected losses without NaN or inf\.$",
    ),
    # labels
    "labels too few": (
        lambda _: probs(),
        {"y": [0] * 29},
        ValueError,
        r"^29 labels for 30 samples; expected one a sample\.$",
    ),
    "label too large": (
        lambda _: probs(),
        {"y": [0] * 20 + [4] * 10},
        ValueError,
        r"^Label of sample 20 is 4; expected 0 to 3\.$",
    ),
    "label beyond 64 bits": (
        lambda _: np.ones((2, 5)),
        {"y": np.array([2**63, 1], np.uint64)},
        ValueError,
        r"^Label of sample 0 is 9223372036854775808; expected 0 or more, within 64 bits\.$",
    ),
    "negative label": (lambda _: probs(), {"y": [-1] * N}, ValueError, r"^Label of sample 0 is -1; expected 0 to 3\.$"),
    "half a label": (
        lambda _: probs(),
        {"y": [0] * 29 + [1.5]},
        ValueError,
        r"^Label of sample 29 is .*1\.5.*integer\.$",
    ),
    "nan for a label": (
        lambda _: probs(),
        {"y": [0] * 29 + [np.nan]},
        ValueError,
        r"^Label of sample 29 is .*nan.*integer",
    ),
    "words for labels": (
        lambda _: probs(),
        {"y": ["cat"] * N},
        ValueError,
        r"^Labels must be integers from 0, got <U3: enc",
    ),
    "one-hot labels": (
        lambda _: probs(),
        {"y": np.eye(30)},
        ValueError,
        r"^Labels must be one integer a sample, shape \(30,\)",
    ),
    "no labels for ce": (
        lambda _: probs(),
        {"loss": "ce"},
        ValueError,
        r"^tdds needs labels with these parameters; pass y, ",
    ),
    # a directory in the authors' layout
    "no index": (
        lambda folder: directory(folder, lambda path: (path / "3_Index.npy").unlink()),
        {},
        tdds.TrajectoryError,
        r"^FOLDER/logs/3_Index\.npy: missing; it must hold the sample of each row of 3_Output\.npy\.$",
    ),
    "a sample twice": (
        lambda folder: directory(folder, sample_7_as_8(3)),
        {},
        tdds.TrajectoryError,
        r"^Epoch 3 does not hold sample 7; pass missing='carry' \(--missing carry\) to repeat the value of the "
        r"epoch before, or at first that of the next\.$",
    ),
    "a sample twice from the start": (
        lambda folder: directory(folder, sample_7_as_8(0)),
        {},
        tdds.TrajectoryError,
        r"^Epoch 0 does not hold sample 7; pass missing='carry' \(--missing carry\) to repeat ",
    ),
    "a sample in no epoch": (
        lambda folder: directory(folder, lambda path: [sample_7_as_8(t)(path) for t in range(T)]),
        {"missing": "carry"},
        tdds.TrajectoryError,
        r"^FOLDER/logs: no epoch holds sample 7\.$",
    ),
    "index out of range": (
        lambda folder: directory(folder, change("3_Index.npy", put(2, 10**12))),
        {},
        tdds.TrajectoryError,
        r"^FOLDER/logs: row 2 of epoch 3 names sample 1000000000000; expected 0 to 29, the samples of epoch 0\.$",
    ),
    "index out of range from the start, carried": (
        lambda folder: directory(folder, change("0_Index.npy", lambda index: np.where(index == 29, 10**12, index))),
        {"missing": "carry"},
        tdds.TrajectoryError,
        r"^Epoch 0 does not hold sample 29 and 999999999970 others; pass missing=",
    ),
    "index out of range from the start": (
        lambda folder: directory(folder, change("0_Index.npy", lambda index: np.where(index == 29, 10**12, index))),
        {},
        tdds.TrajectoryError,
        r"^Epoch 0 does not hold sample 29 and 999999999970 others; pass missing=",
    ),
    "negative index": (
        lambda folder: directory(folder, change("3_Index.npy", put(2, -5))),
        {},
        tdds.TrajectoryError,
        r"^FOLDER/logs/3_Index\.npy: row 2 names sample -5; expected 0 or more\.$",
    ),
    "float index": (
        lambda folder: directory(folder, change("3_Index.npy", lambda index: index * 1.0)),
        {},
        tdds.TrajectoryError,
        r"^FOLDER/logs/3_Index\.npy: index of float64 and shape \(30,\); expected one integer for each of 30 rows\.$",
    ),
    "short index": (
        lambda folder: directory(folder, change("3_Index.npy", lambda index: index[:-1])),
        {},
        tdds.TrajectoryError,
        r"^FOLDER/logs/3_Index\.npy: index of int64 and shape \(29,\); expected one integer for each of 30 rows\.$",
    ),
    "cut .npy": (
        lambda folder: directory(folder, cut("3_Output.npy", 500)),
        {},
        tdds.TrajectoryError,
        r"^FOLDER/logs/3_Output\.npy: cannot be read as a trajectory: mmap length is greater than file size$",
    ),
    "empty .npy": (
        lambda folder: directory(folder, cut("3_Output.npy", 0)),
        {},
        tdds.TrajectoryError,
        r"^FOLDER/logs/3_Output\.npy: cannot be read as a trajectory: ",
    ),
    "no epoch 3": (
        lambda folder: directory(folder, rename("3_Output.npy", "3_output.npy")),
        {},
        tdds.TrajectoryError,
        r"^FOLDER/logs: epoch 3 is missing: no 3_Output\.npy\.$",
    ),
    "another number of classes in a file": (
        lambda folder: directory(folder, change("3_Output.npy", lambda rows: rows[:, :3])),
        {},
        tdds.TrajectoryError,
        r"^FOLDER/logs/3_Output\.npy: (rows of shape \(3,\) and type float64; expected \(4,\) and float64 as in epoch 0"
        r"|shape \(30, 3\); expected 2 axes, rows first, in C order)\.$",
    ),
    "nan in a file": (
        lambda folder: directory(folder, change("3_Output.npy", put((np.s_[:], 1), np.nan))),
        {},
        tdds.TrajectoryError,
        r"^Row of sample 0 at epoch 3 holds nan for class 1; expected finite logits\.$",
    ),
    "an unknown directory": (
        lambda folder: folder,
        {},
        tdds.TrajectoryError,
        r"^FOLDER: expected a store \(store\.h5\), \{t\}_Output\.npy and .*, or one of .*; found nothing\.$",
    ),
    # other files
    "no such path": (lambda f: f / "no.h5", {}, FileNotFoundError, r"^FOLDER/no\.h5: no such file or directory\.$"),
    "no such file of a dataset": (lambda f: f"{f}/no.h5::x", {}, FileNotFoundError, r"^FOLDER/no\.h5: no such file or"),
    "not HDF5": (
        lambda folder: file(folder, "notes.h5", b"not a trajectory" * 99),
        {},
        tdds.TrajectoryError,
        r"^FOLDER/notes\.h5: cannot be read as a trajectory: .*file signature not found",
    ),
    "not HDF5, with a dataset": (
        lambda folder: f"{file(folder, 'notes.txt', b'hello')}::x",
        {},
        tdds.TrajectoryError,
        r"^FOLDER/notes\.txt: cannot be read as a trajectory: ",
    ),
    "HDF5 without axes": (
        hdf5,
        {},
        tdds.TrajectoryError,
        r"^FOLDER/a\.h5::group/x of shape \(30, 8, 4\) names no axes; pass axes='NTC' or axes='TNC'\.$",
    ),
    "HDF5 without that dataset": (
        lambda folder: hdf5(folder, dataset="group/y"),
        {"axes": "NTC"},
        tdds.TrajectoryError,
        r"^FOLDER/a\.h5: holds no dataset 'group/y'; it holds group/x\.$",
    ),
    "HDF5 group": (
        lambda folder: hdf5(folder, dataset="group"),
        {"axes": "NTC"},
        tdds.TrajectoryError,
        r"^FOLDER/a\.h5: holds no dataset 'group'; it holds group/x\.$",
    ),
    "HDF5 that says no dataset": (
        lambda folder: hdf5(folder).split("::")[0],
        {},
        tdds.TrajectoryError,
        r"^FOLDER/a\.h5: is no packed store; say which dataset, as FOLDER/a\.h5::NAME\. It holds group/x\.$",
    ),
    "HDF5 link to nowhere": (
        external_hdf5,
        {"axes": "NTC"},
        tdds.TrajectoryError,
        r"^FOLDER/a\.h5: cannot be read as a trajectory: ",
    ),
    "HDF5 of unknown kind": (
        lambda folder: hdf5(folder, axes="NTC", kind="scores"),
        {},
        tdds.TrajectoryError,
        r"^FOLDER/a\.h5: .*kind='scores' is not known; expected one of 'probs', 'logits', 'log_probs'\.$",
    ),
    "cut .npz": (cut_npz, {}, tdds.TrajectoryError, r"^FOLDER/cut\.npz: is no \.npz file, or was cut short\.$"),
    ".npy named .npz": (
        lambda folder: checks.write_npy(folder / "a.npy", probs()).rename(folder / "a.npz"),
        {},
        tdds.TrajectoryError,
        r"^FOLDER/a\.npz: is no \.npz file, or was cut short\.$",
    ),
    ".npz of nothing known": (
        lambda folder: npz(folder, outputs=probs()),
        {},
        tdds.TrajectoryError,
        r"^FOLDER/run\.npz: expected one of probs, logits, log_probs, losses, .*; it holds outputs\.$",
    ),
    ".npz of two kinds": (
        lambda folder: npz(folder, logits=probs(), probs=probs(), index=np.zeros((N, T), int)),
        {},
        tdds.TrajectoryError,
        r"^FOLDER/run\.npz: expected one of probs, logits, .*; it holds logits, probs, index\.$",
    ),
    ".npz with an index of another shape": (
        lambda folder: npz(folder, logits=probs().swapaxes(0, 1), index=np.zeros((T, N - 1), int)),
        {},
        tdds.TrajectoryError,
        r"^FOLDER/run\.npz: logits have shape \(8, 30, 4\) and index \(8, 29\); expected \(n_epochs, n_rows, ",
    ),
    ".npz with a negative index": (
        lambda folder: npz(folder, logits=probs().swapaxes(0, 1), index=np.full((T, N), -1)),
        {},
        tdds.TrajectoryError,
        r"^FOLDER/run\.npz, epoch 0: row 0 names sample -1; expected 0 or more\.$",
    ),
    # parameters
    "K of 2": (
        lambda _: probs(),
        {"K": 2},
        ValueError,
        r"^K=2: a window of 2 epochs holds 1 difference, whose variance is always 0; expected K >= 3\.$",
    ),
    "K beyond T": (
        lambda _: probs(),
        {"K": 6, "T": 5},
        ValueError,
        r"^K=6 is larger than T=5: no window of K epochs fits; expected K <= T\.$",
    ),
    "K beyond the trajectory": (
        lambda _: probs(),
        {"K": 9},
        ValueError,
        r"^K=9, but the trajectory holds 8 epochs: no window of K epochs fits; pass a smaller K, at least 3\.$",
    ),
    "T beyond the trajectory": (
        lambda _: probs(),
        {"T": 9},
        ValueError,
        r"^T=9, but the trajectory holds 8 epochs\. If",
    ),
    "K a float": (lambda _: probs(), {"K": 4.0}, TypeError, r"^K must be an integer, got 4\.0 of type float\.$"),
    "T a bool": (lambda _: probs(), {"T": True}, TypeError, r"^T must be an integer, got True of type bool\.$"),
    "beta above 1": (
        lambda _: probs(),
        {"beta": 1.1},
        ValueError,
        r"^beta=1\.1 is out of range; expected 0 <= beta <= 1\.$",
    ),
    "beta nan": (
        lambda _: probs(),
        {"beta": np.nan},
        ValueError,
        r"^beta=nan is out of range; expected 0 <= beta <= 1\.$",
    ),
    "beta a bool": (lambda _: probs(), {"beta": True}, TypeError, r"^beta must be a number, got True of type bool\.$"),
    "unknown method": (
        lambda _: probs(),
        {"method": "tdss"},
        ValueError,
        r"^method='tdss' is not known; expected one of ",
    ),
    "unknown formulation": (
        lambda _: probs(),
        {"formulation": "official"},
        ValueError,
        r"^formulation='official' is not known; expected one of 'paper', 'reference', 'datacull'\.$",
    ),
    "unknown loss": (
        lambda _: probs(),
        {"loss": "mse"},
        ValueError,
        r"^loss='mse' is not known; expected one of 'kl', 'ce'",
    ),
    "unknown kind": (
        lambda _: probs(),
        {"kind": "softmax"},
        ValueError,
        r"^kind='softmax' is not known; expected one of None, 'probs', 'logits', 'log_probs', 'losses'\.$",
    ),
    "unknown kind of a store": (
        lambda folder: checks.write_store(folder / "run", probs(), "probs"),
        {"kind": "losses"},
        ValueError,
        r"^kind='losses' is not known; expected one of 'probs', 'logits', 'log_probs'\.$",
    ),
    "unknown missing": (
        lambda _: probs(),
        {"missing": "zeros"},
        ValueError,
        r"^missing='zeros' is not known; expected one of 'error', 'carry'\.$",
    ),
    "no memory": (
        lambda _: probs(),
        {"memory_limit": 0},
        ValueError,
        r"^memory_limit=0\.0 is out of range; expected 1 <= ",
    ),
    "no threads": (lambda _: probs(), {"n_jobs": 0}, ValueError, r"^n_jobs == 0 in Parallel has no meaning$"),
}


@pytest.mark.parametrize("name", TRAJECTORIES)
def test_scoring_refuses(name, tmp_path):
    make, options, error, text = TRAJECTORIES[name]
    with pytest.raises(error) as caught:
        tdds.score_trajectory(make(tmp_path), **{"K": 4, **options})
    message = str(caught.value)
    assert re.search(text.replace("FOLDER", re.escape(str(tmp_path))), message)
    assert "\n" not in message
    assert not isinstance(caught.value, LookupError)
