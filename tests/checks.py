"""What every score and every source must pass; `test_engine.py` and `test_sources.py` run these over all of them."""

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import equations
import h5py
import numpy as np
import pytest

import tdds
from tdds import planning, store

JUDGES = {
    "tdds": equations.tdds,
    "entropy": equations.entropy,
    "forgetting": equations.forgetting,
    "el2n": equations.el2n,
    "aum": equations.aum,
    "dyn_unc": equations.dyn_unc,
    "dual": equations.dual,
    "eva": equations.eva,
    "margin": equations.margin,
    "least_confidence": equations.least_confidence,
    "confidence": equations.confidence,
    "variability": equations.variability,
    "loss": equations.loss,
}
KINDS = ("probs", "logits", "log_probs", "losses")


# ---------------------------------------------------------------------------------------------------- trajectories


def logged(kind, shape=(40, 8, 5), seed=0, dtype=np.float64):
    """Values of `kind` as a run logs them, and labels."""
    rng = np.random.default_rng(seed)
    logits = np.cumsum(rng.normal(size=shape), axis=1)
    y = rng.integers(shape[2], size=shape[0])
    probs = equations.softmax(logits)
    if kind == "losses":
        values = -np.log(probs[np.arange(shape[0]), :, y])
    else:
        values = {"logits": logits, "probs": probs, "log_probs": np.log(probs)}[kind]
    return values.astype(dtype), y


def judged(method, values, y, kind, **options):
    """The score of logged `values` by the equations."""
    values = np.asarray(values, dtype=np.float64)
    if kind == "logits":
        values = equations.softmax(values)
    elif kind == "log_probs":
        values = np.exp(values)
    return JUDGES[method](values, y, **options)


class Duck:
    """An array that has shape, dtype, ndim and slices, and nothing else: as zarr's or dask's."""

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.ndim = values, values.shape, values.dtype, values.ndim

    def __getitem__(self, key):
        return self.values[key]


def write_npy(path, values):
    np.save(path, values)
    return path


def write_memmap(path, values):
    np.save(path, values)
    return np.load(path, mmap_mode="r")


def write_directory(path, values, kind, indices=None, seed=0):
    """The authors' layout: rows in the order of `indices`, one array an epoch, a random order where left out."""
    path.mkdir()
    rng = np.random.default_rng(seed)
    for t in range(values.shape[1]):
        index = rng.permutation(len(values)) if indices is None else np.asarray(indices[t])
        np.save(path / f"{t}_Index.npy", index)
        np.save(path / f"{t}_{'Loss' if kind == 'losses' else 'Output'}.npy", np.ascontiguousarray(values[index, t]))
    return path


def write_npz(path, values, kind, **beside):
    rng = np.random.default_rng(1)
    index = np.stack([rng.permutation(len(values)) for _ in range(values.shape[1])])
    arranged = np.stack([values[index[t], t] for t in range(values.shape[1])])
    np.savez(path, index=index, **{kind: arranged}, **beside)
    return path


def write_hdf5(path, values, axes="NTC", attributes=None, beside=None, **storage):
    """`values`, samples first, as ``path::group/x`` with `axes`; returns that name."""
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(
            "group/x", data=values.transpose(["NTC".index(a) for a in axes[: values.ndim]]), **storage
        )
        dataset.attrs.update(attributes or {})
        for name, column in (beside or {}).items():
            file[f"group/{name}"] = column
    return f"{path}::group/x"


def write_zarr(path, values, axes="NTC", attributes=None, beside=None, **storage):
    """`values`, samples first, as the array ``x`` of a zarr group with `axes`; returns its name."""
    import zarr

    group = zarr.open_group(path, mode="w", zarr_format=storage.pop("zarr_format", 3))
    arranged = values.transpose(["NTC".index(a) for a in axes[: values.ndim]])
    group.create_array("x", data=arranged, **storage).attrs.update(attributes or {})
    for name, column in (beside or {}).items():
        group.create_array(name, data=column.astype(str) if column.dtype.kind == "O" else column)
    return f"{path}::x"


def make_dask(values, **chunks):
    import dask.array

    return dask.array.from_array(values, **chunks)


def write_store(path, values, kind, n_parts=1, dtype=None, **beside):
    """A store written by `n_parts` processes, each its share of the samples of every epoch, shuffled."""
    rng = np.random.default_rng(2)
    n_classes = None if kind == "losses" else values.shape[2]
    for part in range(n_parts):
        own = np.arange(part, len(values), n_parts)
        options = {"kind": kind, "dtype": dtype or values.dtype.name, "part": part, "n_parts": n_parts, **beside}
        with tdds.TrajectoryWriter(path, len(values), n_classes, **options) as writer:
            for t in range(values.shape[1]):
                for index in np.array_split(rng.permutation(own), 3):
                    writer.write(index, values[index, t])
                writer.end_epoch()
    return path


def write_packed(path, values, kind):
    store.pack(tdds.open_trajectory(values, kind=None if kind == "losses" else kind), path)
    return path


#: Ways in by name: from a folder, logged values (samples first) and their kind to a source and what to say about it.
SOURCES = {
    "array": lambda folder, values, kind: (values, {"kind": kind}),
    "array TNC": lambda folder, values, kind: (values.swapaxes(0, 1), {"kind": kind, "axes": "TNC"}),
    "duck array": lambda folder, values, kind: (Duck(values), {"kind": kind}),
    "nested lists": lambda folder, values, kind: (values.tolist(), {"kind": kind}),
    "list of epochs": lambda folder, values, kind: (list(values.swapaxes(0, 1)), {"kind": kind}),
    "generator": lambda folder, values, kind: (iter(values.swapaxes(0, 1)), {"kind": kind}),
    "memmap": lambda folder, values, kind: (write_memmap(folder / "map.npy", values), {"kind": kind}),
    ".npy": lambda folder, values, kind: (write_npy(folder / "ntc.npy", values), {"kind": kind}),
    ".npy TNC": lambda folder, values, kind: (
        write_npy(folder / "tnc.npy", values.swapaxes(0, 1)),
        {"kind": kind, "axes": "TNC"},
    ),
    ".npz": lambda folder, values, kind: (write_npz(folder / "run.npz", values, kind), {}),
    "directory": lambda folder, values, kind: (write_directory(folder / "logs", values, kind), {"kind": kind}),
    "HDF5 contiguous": lambda folder, values, kind: (
        write_hdf5(folder / "a.h5", values),
        {"kind": kind, "axes": "NTC"},
    ),
    "HDF5 gzip": lambda folder, values, kind: (
        write_hdf5(folder / "b.h5", values, attributes={"kind": kind, "axes": "NTC"}, chunks=True, compression="gzip"),
        {},
    ),
    "HDF5 chunked TNC": lambda folder, values, kind: (
        write_hdf5(folder / "c.h5", values, "TNC", chunks=(3, 7, 2)[: values.ndim]),
        {"kind": kind, "axes": "TNC"},
    ),
    "zarr 3": lambda folder, values, kind: (
        write_zarr(folder / "3.zarr", values, chunks=(10, 4, 3)[: values.ndim]),
        {"kind": kind, "axes": "NTC"},
    ),
    "zarr 2 TNC": lambda folder, values, kind: (
        write_zarr(folder / "2.zarr", values, "TNC", zarr_format=2, chunks=(1, 20, 5)[: values.ndim]),
        {"kind": kind, "axes": "TNC"},
    ),
    "dask": lambda folder, values, kind: (make_dask(values, chunks=(13, 4, 3)[: values.ndim]), {"kind": kind}),
    ".npz samples first": lambda folder, values, kind: (
        np.savez(folder / "ntc.npz", **{kind: values}) or folder / "ntc.npz",
        {},
    ),
    "HDF5 TCN": lambda folder, values, kind: (
        write_hdf5(folder / "d.h5", values, "TCN"),
        {"kind": kind, "axes": "TCN"},
    ),
    "h5py.Dataset": lambda folder, values, kind: (
        h5py.File(write_hdf5(folder / "e.h5", values).split("::")[0], "r")["group/x"],
        {"kind": kind},
    ),
    "store": lambda folder, values, kind: (write_store(folder / "run", values, kind), {}),
    "store of 2 parts": lambda folder, values, kind: (write_store(folder / "parts", values, kind, n_parts=2), {}),
    "packed": lambda folder, values, kind: (write_packed(folder / "packed.h5", values, kind), {}),
}
#: What holds (n_samples, n_epochs) of losses as well.
LOSSES = set(SOURCES) - {"list of epochs", ".npz", "HDF5 TCN"}


def make_source(name, folder, values, kind):
    source, options = SOURCES[name](folder, values, kind)
    if kind == "losses" and name not in ("directory", "store", "store of 2 parts"):
        options.pop("kind", None)
    return source, options


def small_blocks(n_bytes):
    """The engine with blocks, and tasks, of about so many bytes."""
    return mock.patch.multiple(planning, BLOCK_BYTES=n_bytes, _TASK_BYTES=n_bytes)


# ------------------------------------------------------------------------------------------------ checks of a score


def score(values, y, kind, **options):
    return tdds.score_trajectory(values, y, kind=None if kind == "losses" else kind, **options)


def check_equals_equations(method, kind, options, folder):
    for dtype in (np.float64, np.float32, np.float16):
        values, y = logged(kind, dtype=dtype)
        scores = score(values, y, kind, method=method, **options)
        assert scores.dtype == np.float64
        np.testing.assert_allclose(scores, judged(method, values, y, kind, **options), rtol=1e-5, atol=1e-12)


def check_block_size_and_threads_change_nothing(method, kind, options, folder):
    values, y = logged(kind, (2000, 12, 9), dtype=np.float32)
    expected = score(values, y, kind, method=method, **options)
    parts = {60: score(values[:60], y[:60], kind, method=method, **options), 2000: expected}
    if method != "eva":  # whose scores depend on all samples
        np.testing.assert_array_equal(parts[60], expected[:60])
    for n_bytes in (1, 5000):
        with small_blocks(n_bytes):
            part = values[: 60 if n_bytes == 1 else 2000]
            for n_jobs in (1, 2):
                scores = score(part, y[: len(part)], kind, method=method, n_jobs=n_jobs, **options)
                np.testing.assert_array_equal(scores, parts[len(part)])
    # An epoch of all samples at a time, as many epochs as the bound allows: two of 12, or all.
    source, said = make_source("directory", folder, values, kind)
    for memory_limit in (1, 256):
        scores = tdds.score_trajectory(source, y, method=method, memory_limit=memory_limit, **said, **options)
        np.testing.assert_array_equal(scores, expected)


def check_source_changes_nothing(method, kind, options, folder):
    values, y = logged(kind, (60, 9, 5))
    expected = score(values, y, kind, method=method, **options)
    for name in LOSSES if kind == "losses" else SOURCES:
        source, said = make_source(name, folder, values, kind)
        scores = tdds.score_trajectory(source, y, method=method, **said, **options)
        np.testing.assert_array_equal(scores, expected, err_msg=name)


def check_samples_permute_exactly(method, kind, options, folder):
    values, y = logged(kind)
    order = np.random.default_rng(3).permutation(len(values))
    scores = score(values, y, kind, method=method, **options)
    np.testing.assert_array_equal(score(values[order], y[order], kind, method=method, **options), scores[order])


def check_classes_permute_to_rounding(method, kind, options, folder):
    if kind == "losses":
        return
    values, y = logged(kind)
    order = np.random.default_rng(4).permutation(values.shape[2])
    permuted = score(values[..., order], np.argsort(order)[y], kind, method=method, **options)
    np.testing.assert_allclose(permuted, score(values, y, kind, method=method, **options), rtol=1e-9, atol=1e-15)


def check_layout_changes_nothing(method, kind, options, folder):
    values, y = logged(kind, dtype=np.float32)
    expected = score(values, y, kind, method=method, **options)
    wide = np.zeros((2 * len(values), *values.shape[1:], 2), dtype=np.float32)
    wide[::2, ..., 1] = values
    read_only = values.copy()
    read_only.flags.writeable = False
    for layout in (wide[::2, ..., 1], read_only, np.asfortranarray(values), values.astype(">f4"), values[::-1][::-1]):
        np.testing.assert_array_equal(score(layout, y, kind, method=method, **options), expected)
    values, y = logged(kind)
    expected = score(values, y, kind, method=method, **options)
    for layout in (values.astype(object), values.astype(">f8"), values.tolist()):
        np.testing.assert_array_equal(score(layout, y, kind, method=method, **options), expected)


def check_later_epochs_are_not_read(method, kind, options, folder):
    values, y = logged(kind, (30, 9, 4))
    expected = score(values[:, :6], y, kind, method=method, **options)
    values[:, 6:] = np.nan
    for name in {"array", "array TNC", "generator", "directory", "HDF5 gzip"}:
        source, said = make_source(name, folder, values, kind)
        scores = tdds.score_trajectory(source, y, method=method, T=6, **said, **options)
        np.testing.assert_array_equal(scores, expected, err_msg=name)


def check_bad_row_is_named(method, kind, options, folder):
    values, y = logged(kind, (30, 9, 4))
    values[17, 4, ...] = np.nan
    for name in {"array", "array TNC", "generator", "directory", "HDF5 chunked TNC", "HDF5 gzip"}:
        source, said = make_source(name, folder, values, kind)
        for n_bytes in (1,) if name == "generator" else (1, 600, 1 << 22):
            with (
                small_blocks(n_bytes),
                pytest.raises(tdds.TrajectoryError, match=r"sample 17 at epoch 4 (holds|is) nan"),
            ):
                tdds.score_trajectory(source, y, method=method, **said, **options)


SCORE_CHECKS = [check for name, check in list(globals().items()) if name.startswith("check_")]


def run_python(*arguments, prefix=(), cwd=None, **environment):
    """What a fresh interpreter prints, or an assertion with it; what is None is taken out of its environment."""
    # Not this run's coverage, whose tracer makes interpreted kernels ten times slower.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "NUMBA_"))}
    root = str(Path(tdds.__file__).parents[1])
    environment = {"PYTHONPATH": root, "PYTHONFAULTHANDLER": "1", **inherited, **environment}
    done = subprocess.run(
        [*prefix, sys.executable, *map(str, arguments)],
        env={name: value for name, value in environment.items() if value is not None},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
