"""Damaged files, case after case, each judged: the right scores, or an error of ours. Run by `test_fuzz.py`.

A case is a name and a number: `Folder(path).case("store", 17)` repeats it, whatever ran before. Cases run in a process
of their own (`serve`), so that a crash or a hang is seen and named; `Worker` asks it.
"""

import contextlib
import io
import json
import multiprocessing
import pickle
import re
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import checks
import equations
import h5py
import numpy as np

import tdds
from tdds import cli

SECONDS = 60  # a case that takes longer hangs
SHAPE = N, T, C = 13, 6, 3
PACKAGE = str(Path(tdds.__file__).parent)
TOLERANCES = {"float16": 2e-2, "bfloat16": 2e-2, "float32": 1e-3, "log8": 1e-3}
#: What an error says where it names no file.
PLACE = re.compile(r"sample|epoch|label|class|axes|kind|window|shape|method|score|parameter|K=")

# ------------------------------------------------------------------------------------------------- the whole files


def logged(kind, dtype="float32", seed=0):
    return checks.logged(kind, SHAPE, seed, np.dtype(dtype))


def beside(y):
    return {"labels": y, "ids": np.array([f"img-{i}" for i in range(N)], dtype=object)}


def npy(folder, kind, dtype, tnc=False):
    values, _ = logged(kind, dtype)
    return checks.write_npy(folder / "a.npy", values.swapaxes(0, 1) if tnc else values)


def npz(folder, kind, dtype, save=np.savez):
    values, y = logged(kind, dtype)
    save(folder / "a.npz", **{kind: values}, labels=y, ids=np.arange(N) + 5)
    return folder / "a.npz"


def arrival_npz(folder, kind, dtype):
    values, y = logged(kind, dtype)
    return checks.write_npz(folder / "a.npz", values, kind, labels=y)


def directory(folder, kind, dtype):
    return checks.write_directory(folder / "logs", logged(kind, dtype)[0], kind)


def hdf5(folder, kind, dtype, axes="NTC", **storage):
    values, y = logged(kind, dtype)
    axes = axes[: values.ndim] if values.ndim == 3 else axes.replace("C", "")
    said = {"axes": axes} if kind == "losses" else {"axes": axes, "kind": kind}
    return checks.write_hdf5(folder / "a.h5", values, axes, said, {"labels": y, "ids": np.arange(N)}, **storage)


def zarr(folder, kind, dtype, **storage):
    values, y = logged(kind, dtype)
    said = {"axes": "NTC", "kind": kind}
    return checks.write_zarr(folder / "a.zarr", values, "NTC", said, {"labels": y}, chunks=(5, 3, 3), **storage)


def store(folder, kind, dtype, n_parts=1):
    values, y = logged(kind, "float32")
    return checks.write_store(folder / "run", values, kind, n_parts, dtype, **beside(y))


def packed(folder, kind, dtype):
    values, y = logged(kind, "float32")
    trajectory = tdds.open_trajectory(values, kind=None if kind == "losses" else kind, **beside(y))
    tdds.store.pack(trajectory, folder / "packed.h5", dtype=dtype)
    return folder / "packed.h5"


def json_lines(folder, kind, dtype):
    values, _ = logged(kind, dtype)
    for t in range(T):
        lines = [json.dumps({str(i): values[i, t].astype(float).tolist()}) for i in np.roll(np.arange(N), t)]
        (folder / f"epoch{t}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def cartography(folder, kind, dtype):
    values, y = logged(kind, dtype)
    for t in range(T):
        lines = [
            json.dumps(
                {"guid": f"g{i:02}", f"logits_epoch_{t}": values[i, t].astype(float).tolist(), "gold": int(y[i])}
            )
            for i in np.roll(np.arange(N), t)
        ]
        (folder / f"dynamics_epoch_{t}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def dyn_unc(folder, kind, dtype):
    values, _ = logged(kind, dtype)
    for t in range(T):
        np.savetxt(folder / f"prob_{t}.txt", values[:, t, 0])
    return folder


def ccs(folder, kind, dtype):
    values, _ = logged(kind, dtype)
    parts = [(t, part) for t in range(T) for part in np.split(np.roll(np.arange(N), t), [7])]
    batches = [{"epoch": t, "idx": part, "output": values[part, t]} for t, part in parts]
    with open(folder / "td-run.pickle", "wb") as file:
        pickle.dump({"training_dynamics": batches}, file)
    return folder / "td-run.pickle"


#: Whole sources by name: what writes them into a folder and returns their path; kind; dtype.
FILES = {
    ".npy": (npy, "probs", "float32"),
    ".npy of losses": (npy, "losses", "float64"),
    ".npy TNC of logits": (lambda *a: npy(*a, tnc=True), "logits", "float16"),
    ".npz": (npz, "probs", "float32"),
    ".npz, packed": (lambda *a: npz(*a, save=np.savez_compressed), "logits", "float64"),
    ".npz in arrival order": (arrival_npz, "log_probs", "float32"),
    "directory": (directory, "logits", "float16"),
    "directory of losses": (directory, "losses", "float32"),
    "HDF5": (hdf5, "probs", "float32"),
    "HDF5 gzip": (lambda *a: hdf5(*a, chunks=(4, 3, 3), compression="gzip", shuffle=True), "logits", "float32"),
    "HDF5 TNC": (lambda *a: hdf5(*a, axes="TNC", chunks=(1, N, C)), "log_probs", "float64"),
    "HDF5 of losses": (lambda *a: hdf5(*a, chunks=True, fletcher32=True), "losses", "float16"),
    "zarr 3": (zarr, "logits", "float32"),
    "zarr 2": (lambda *a: zarr(*a, zarr_format=2), "probs", "float32"),
    "store": (store, "probs", "float16"),
    "store of 2 parts": (lambda *a: store(*a, n_parts=2), "logits", "float32"),
    "store of losses": (store, "losses", "float64"),
    "store of bfloat16": (store, "logits", "bfloat16"),
    "store of log8": (store, "probs", "log8"),
    "packed": (packed, "probs", "float16"),
    "packed losses": (packed, "losses", "float64"),
    "packed log8": (packed, "probs", "log8"),
    "datacull": (json_lines, "logits", "float32"),
    "datacull losses": (json_lines, "losses", "float32"),
    "cartography": (cartography, "logits", "float32"),
    "Dyn-Unc": (dyn_unc, "probs", "float32"),
    "CCS": (ccs, "log_probs", "float16"),
}
SAYS_NO_KIND = (".npy", ".npy TNC of logits", "directory", "directory of losses")
#: Files that are no trajectories: what writes one, and the commands that read it ({} is its path, WHOLE a whole run).
OTHERS = {
    "scores .h5": (lambda folder: scores(folder / "s.h5"), ["info", "select", "report", "compare", "combine"]),
    "scores .parquet": (
        lambda folder: scores(folder / "s.parquet"),
        ["info", "select", "report", "compare", "combine"],
    ),
    "labels .npy": (lambda folder: column(folder / "y.npy"), ["labels"]),
    "labels .npz": (lambda folder: column(folder / "y.npz"), ["labels"]),
    "labels .h5": (lambda folder: column(folder / "y.h5"), ["labels"]),
    "labels .txt": (lambda folder: column(folder / "y.txt"), ["labels", "ids"]),
    "features .npy": (lambda folder: column(folder / "f.npy", features=True), ["features"]),
    "images .npz": (lambda folder: images(folder / "i.npz"), ["images"]),
    "JPEG pack": (lambda folder: jpegs(folder / "j.npz"), ["images"]),
    "rows .csv": (lambda folder: rows(folder / "r.csv"), ["data"]),
    "rows .txt": (lambda folder: rows(folder / "r.txt"), ["data"]),
}


def scores(path):
    from tdds.tables import ScoreTable

    values, y = logged("probs", "float64")
    held = {"tdds": equations.tdds(values, K=3), "aum": equations.aum(values, y)}
    table = ScoreTable(
        held,
        {"tdds": "largest", "aum": "smallest"},
        {"tdds": {"T": None, "K": 3, "beta": 0.9}, "aum": {"T": None}},
        {"source": "run", "n_samples": N, "fingerprint": path.suffix},
        **beside(y),
    )
    table.save(path)
    return path


def column(path, features=False):
    y = logged("probs")[1]
    if features:
        np.save(path, np.random.default_rng(0).normal(size=(N, 4)))
    elif path.suffix == ".npy":
        np.save(path, y)
    elif path.suffix == ".npz":
        np.savez_compressed(path, labels=y)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("labels", data=y, chunks=(4,), compression="gzip")
    else:
        path.write_text("".join(f"{label}\n" for label in y))
    return path


def images(path):
    np.savez(path, images=np.full((N, 4, 4, 3), 9, np.uint8), labels=logged("probs")[1], class_names=["a", "b", "<i>"])
    return path


def jpegs(path):
    from PIL import Image

    held = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(held, "JPEG")
    pixels = np.frombuffer(held.getvalue() * N, np.uint8)
    offsets = np.arange(N + 1) * len(held.getvalue())
    np.savez_compressed(path, jpeg_train=pixels, offsets_train=offsets, y_train=logged("probs")[1])
    return path


def rows(path):
    lines = [f'{i},"word, {i}"' for i in range(N)]
    path.write_text("\n".join(["number,text", *lines] if path.suffix == ".csv" else lines) + "\n")
    return path


# ---------------------------------------------------------------------------------------------------------- damage


def damaged(files, rng):
    """`files`, bytes by name, with up to three things done to them; `None` for a file that becomes a folder."""
    files = dict(files)
    for _ in range(rng.choice([0, 1, 1, 1, 1, 1, 1, 1, 2, 3])):
        name = str(rng.choice(sorted(files)))
        if not files[name]:
            continue
        whole = rng.random()
        if whole < 0.03:
            files[name] = b""
        elif whole < 0.05 and len(files) > 1:
            del files[name]
        elif whole < 0.08:
            other = str(rng.choice(sorted(files)))
            files[name], files[other] = files[other], files[name]
        elif whole < 0.09:
            files[name] = None
        else:
            files[name] = bytes(spoiled(bytearray(files[name]), rng))
    return files


def spoiled(data, rng):
    """Bytes with one place changed; in half the cases near the start, where headers are."""
    end = len(data) if rng.random() < 0.5 else min(len(data), 512)
    at = int(rng.integers(end)) if end else 0
    size = int(min(rng.geometric(0.1), len(data)))
    how = rng.choice(["bits", "byte", "run", "cut", "drop", "insert", "repeat", "number", "digit", "value"])
    if how == "bits":
        for _ in range(rng.integers(1, 5)):
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    elif how == "byte":
        data[at] = int(rng.integers(256))
    elif how == "run":
        data[at : at + size] = bytes([int(rng.choice([0, 255, rng.integers(256)]))]) * len(data[at : at + size])
    elif how == "cut":
        del data[at:]
    elif how == "drop":
        del data[at : at + size]
    elif how == "insert":
        data[at:at] = rng.bytes(size)
    elif how == "repeat":
        data[at:at] = data[at : at + size] * int(rng.integers(1, 200))
    elif how == "number":
        width = int(rng.choice([1, 2, 4, 8]))
        number = int(rng.choice([0, 1, 2**7, 2**8 - 1, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1]))
        data[at : at + width] = (number % 2 ** (8 * width)).to_bytes(width, rng.choice(["little", "big"]))
    elif how == "digit":
        digits = [i for i, byte in enumerate(data[:20000]) if 48 <= byte <= 57]
        if digits:
            at = int(rng.choice(digits))
            data[at : at + 1] = str(rng.choice(["0", "9", "-1", "99999", "1e400", "", "nan", "7"])).encode()
    else:
        dtype = rng.choice(["<f2", "<f4", "<f8", "<i4", "<i8"])
        value = rng.choice([np.nan, np.inf, -np.inf, -1, 0, -0.0, 1, 1e-310, 1e30, 3e4])
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            raw = np.array(value).astype(dtype).tobytes()
        data[at : at + len(raw)] = raw
    return data


# ------------------------------------------------------------------------------------------------- the plain readers


def arrange(values, index):
    """Epochs in arrival order as samples first, float64; nan where a sample is missing."""
    n = max(int(own.max()) for own in index) + 1
    arranged = np.full((n, len(values), *values[0].shape[1:]), np.nan)
    for t, (rows_, own) in enumerate(zip(values, index, strict=True)):
        for row, sample in zip(rows_, own, strict=True):
            arranged[sample, t] = row
    return arranged


def decoded(values, dtype):
    """Stored values as float64."""
    if dtype == "bfloat16":
        return (values.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    if dtype == "log8":
        probs = np.exp2(-27 * (values / 255.0) ** 2)
        sums = probs.sum(axis=-1, keepdims=True)
        return np.where(abs(sums - 1) <= 0.1, probs / sums, probs)
    return values.astype(np.float64)


def read_plainly(name, path, n_epochs):
    """The values of a source, samples first as float64, their stored dtype, and its labels; by other code than ours."""
    where, _, inside = str(path).partition("::")
    make = FILES[name][0]
    place = Path(where)
    if place.suffix == ".npy":
        values = np.load(place)
        return (values.swapaxes(0, 1) if "TNC" in name else values), None
    if place.suffix == ".npz":
        with np.load(place) as held:
            (kind,) = (k for k in checks.KINDS if k in held)
            labels = held.get("labels")
            if "index" in held:
                return arrange(held[kind][:n_epochs], held["index"][:n_epochs]).astype(np.float64), labels
            return held[kind], labels
    if make is directory:
        what = "Loss" if FILES[name][1] == "losses" else "Output"
        pairs = [(np.load(place / f"{t}_{what}.npy"), np.load(place / f"{t}_Index.npy")) for t in range(n_epochs)]
        return arrange(*zip(*pairs, strict=True)), None
    if place.suffix == ".zarr":
        import zarr as zarr_

        group = zarr_.open_group(place, mode="r")
        return group[inside][:, :n_epochs], (group["labels"][...] if "labels" in group else None)
    if name.startswith("HDF5"):
        with h5py.File(place) as file:
            values, axes = file[inside][...], file[inside].attrs["axes"]
            labels = file["group/labels"][...] if "labels" in file["group"] else None
        axes = axes.decode() if isinstance(axes, bytes) else axes
        return values.transpose([axes.index(axis) for axis in "NTC"[: values.ndim]]), labels
    if name.startswith("packed"):
        with h5py.File(place) as file:
            dtype = file["values"].attrs["dtype"].decode()
            return decoded(file["values"][...], dtype), (file["labels"][...] if "labels" in file else None)
    if name.startswith("store"):
        with h5py.File(place / "store.h5") as file:
            labels = file["labels"][...] if "labels" in file else None
            dtype = file.attrs["dtype"].decode()
        values, index = [], []
        for t in range(n_epochs):
            parts = [h5py.File(part) for part in sorted(place.glob(f"epoch-{t:05}*"))]
            values.append(decoded(np.concatenate([part["values"][...] for part in parts]), dtype))
            index.append(np.concatenate([part["index"][...] for part in parts]))
        return arrange(values, index), labels
    return read_text_plainly(place, FILES[name][0], n_epochs)


def read_text_plainly(place, make, n_epochs):
    if make is ccs:
        batches = tdds.sources.pickles.read_pickle(place)["training_dynamics"]
        first_epoch = batches[0]["epoch"]
        epochs = [[b for b in batches if b["epoch"] == first_epoch + t] for t in range(n_epochs)]
        pairs = [[np.concatenate([b[key] for b in own]) for key in ("output", "idx")] for own in epochs]
        return arrange(*zip(*pairs, strict=True)), None
    if make is dyn_unc:
        start = min(t for t in range(T) if (place / f"prob_{t}.txt").exists())
        files = [place / f"prob_{t}.txt" for t in range(start, start + n_epochs)]
        probs = np.stack([np.loadtxt(file, dtype=np.float32, ndmin=1) for file in files], 1)
        probs = np.where(probs == 0, np.nan, probs)
        return np.stack([probs, 1 - probs], 2), np.zeros(len(probs), int)
    values, names, labels = [], [], {}
    pattern = "epoch{}.jsonl" if make is json_lines else "dynamics_epoch_{}.jsonl"
    start = min(t for t in range(T) if (place / pattern.format(t)).exists())
    for t in range(start, start + n_epochs):
        file = place / pattern.format(t)
        lines = [json.loads(line) for line in file.read_bytes().splitlines()]
        if make is json_lines:
            (own, held) = zip(*(pair for line in lines for pair in line.items()), strict=True)
            names.append([int(name) for name in own])
        else:
            own, held = [line["guid"] for line in lines], [line[f"logits_epoch_{t}"] for line in lines]
            labels = labels or {line["guid"]: line.get("gold") for line in lines}
            names.append([sorted(labels).index(guid) for guid in own])
        values.append(np.array(held, dtype=np.float32))
    given = [labels[guid] for guid in sorted(labels)]
    return arrange(values, [np.array(own) for own in names]), (np.array(given) if given and None not in given else None)


# --------------------------------------------------------------------------------------------------------- the judge


class Wrong(Exception):
    """The library did what it must not do."""


def check_legal(values, kind, tolerance):
    """Raise where no score may come of `values`."""
    if kind == "losses":
        legal = np.isfinite(values)
    elif kind == "logits":
        legal = (values < np.inf) & (values.max(axis=-1, keepdims=True) > -np.inf)
    else:
        probs = np.exp(values) if kind == "log_probs" else values
        legal = (probs >= 0) & (abs(probs.sum(axis=-1, keepdims=True) - 1) <= tolerance * 1.01)
    if not legal.all():
        raise Wrong(f"scores of values that are no {kind}: {values[~legal][:5]} at {np.argwhere(~legal)[:3].tolist()}")


def check_scores(found, method, values, y, kind, tolerance, **options):
    """Hold scores against the equations."""
    n_epochs = options.get("T") or {"el2n": 10, "dual": 30}.get(method)
    with np.errstate(all="ignore"):
        values = np.asarray(values, dtype=np.float64)
        check_legal(values[:, :n_epochs], kind, tolerance)
        expected = checks.judged(method, values, y, kind, **options)
    if found.shape != expected.shape or found.dtype != np.float64 or np.isnan(found).any():
        raise Wrong(f"{method}: scores {found.dtype} of shape {found.shape}, expected {expected.shape}; {found}")
    off = abs(found - expected) > 1e-5 * abs(expected) + 1e-9 * (1 + abs(expected).max())
    if off.any():
        raise Wrong(f"{method} {options}: {found[off][:3]}, the equations say {expected[off][:3]}")


def check_error(error, path):
    """Raise where an error is not one of the library's own, in one line, naming what and where."""
    text = str(error)
    if not isinstance(error, (ValueError, TypeError, OSError, ImportError)) or isinstance(error, UnicodeError):
        raise Wrong(f"{type(error).__name__}: {text}") from error
    last = traceback.extract_tb(error.__traceback__)[-1]
    if not (last.filename.startswith(PACKAGE) or last.filename.endswith("sklearn/utils/_param_validation.py")):
        raise Wrong(f"raised in {last.filename}:{last.lineno}: {type(error).__name__}: {text}") from error
    if not text or "\n" in text or not (str(path) in text or PLACE.search(text)):
        raise Wrong(f"says neither what nor where: {text!r}") from error


def pick_method(rng, kind):
    names = sorted(checks.JUDGES) if kind != "losses" else ["tdds", "loss"]
    method = "tdds" if rng.random() < 0.4 else str(rng.choice(names))
    options = {}
    if method in ("tdds", "dyn_unc", "dual"):
        options["K"] = int(rng.integers(3, T))
    if method == "tdds":
        options["beta"] = float(rng.choice([0, 0.3, 0.9, 1]))
        options["formulation"] = str(rng.choice(["paper", "reference", "datacull"]))
        options["magnitude"] = bool(rng.random() < 0.8)
        options["loss"] = "kl" if kind == "losses" else str(rng.choice(["kl", "ce", "el2n"]))
    if rng.random() < 0.3 and method != "eva":
        options["T"] = int(rng.integers(max(options.get("K", 3), 3), T + 1))
    return method, options


class Folder:
    """Cases in one folder; whole files are written once and their bytes copied."""

    def __init__(self, path):
        self.path = Path(path)
        self._whole = {}

    def whole(self, name):
        """The bytes of a whole source by file name, and its path below the folder."""
        if name not in self._whole:
            folder = self.path / f"whole-{len(self._whole)}"
            folder.mkdir()
            made = FILES[name][0](folder, *FILES[name][1:]) if name in FILES else OTHERS[name][0](folder)
            files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
            self._whole[name] = files, str(made)[len(str(folder)) + 1 :]
        return self._whole[name]

    @contextlib.contextmanager
    def damaged(self, name, rng):
        files, inside = self.whole(name)
        folder = self.path / "case"
        folder.mkdir()
        try:
            for file, content in damaged(files, rng).items():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                if content is None:
                    (folder / file).mkdir()
                else:
                    (folder / file).write_bytes(content)
            yield f"{folder}/{inside}".rstrip("/")
        finally:
            shutil.rmtree(folder)

    def case(self, name, seed, by="library"):
        """Run one case; what came of it, in a word: "scores", "error", "done"."""
        rng = np.random.default_rng([seed, sum(map(ord, name))])
        with self.damaged(name, rng) as path, warnings.catch_warnings():
            warnings.simplefilter("error")
            if name in OTHERS:
                return self.command(self.arguments(name, path, rng), path)
            if by == "library":
                return self.score(name, path, rng)
            return self.score_by_command(name, path, rng)

    def score(self, name, path, rng):
        kind = FILES[name][1]
        method, options = pick_method(rng, kind)
        y = None if rng.random() < 0.2 or name == "Dyn-Unc" else logged("probs")[1]
        said = {"axes": "TNC"} if ".npy TNC" in name else {}
        if name in SAYS_NO_KIND:
            said["kind"] = kind
        try:
            trajectory = tdds.open_trajectory(path, labels=y, **said)
            found = tdds.score_trajectory(trajectory, method=method, **options)
        except Exception as error:
            check_error(error, self.path / "case")
            return f"error: {error}"
        self.check(name, path, trajectory, found, method, options, y)
        return "scores"

    def check(self, name, path, trajectory, found, method, options, y):
        n_epochs = options.get("T") or trajectory.n_epochs
        values, labels = read_plainly(name, path, n_epochs)
        labels = labels if y is None else y
        tolerance = TOLERANCES.get(trajectory.dtype, 1e-6)
        y = None if labels is None else np.asarray(labels).astype(float).astype(int)
        check_scores(found, method, values, y, trajectory.kind, tolerance, **options)

    def score_by_command(self, name, path, rng):
        kind = FILES[name][1]
        method, options = pick_method(rng, kind)
        command = str(rng.choice(["score", "info", "convert", "compare", "verify"]))
        arguments = [command, path]
        if command in ("score", "compare"):
            arguments += ["--method", method, "--K", str(options.get("K", 3))]
        if command in ("score", "convert"):
            arguments += ["-o", str(self.path / "case" / "out.h5")]
        if command != "verify":
            arguments += ["--axes", "TNC"] if ".npy TNC" in name else []
            if name in SAYS_NO_KIND:
                arguments += ["--kind", kind]
        outcome = self.command(arguments, path)
        if outcome == "done" and command == "score":
            said = ({"kind": kind} if name in SAYS_NO_KIND else {}) | ({"axes": "TNC"} if ".npy TNC" in name else {})
            trajectory = tdds.open_trajectory(path, **said)
            with h5py.File(self.path / "case" / "out.h5") as file:
                found = file["scores"][method][...]
            kept = {"K": options.get("K", 3)} if method in ("tdds", "dyn_unc", "dual") else {}
            if kind == trajectory.kind:
                self.check(name, path, trajectory, found, method, kept, None)
        return outcome

    def arguments(self, name, path, rng):
        """A command that reads `path`, which is no trajectory."""
        what, out = str(rng.choice(OTHERS[name][1])), str(self.path / "case" / "out")
        run, whole, y = map(self.beside, (".npy", "scores .h5", "labels .npy"))
        return {
            "info": ["info", path],
            "select": ["select", path, "--method", str(rng.choice(["tdds", "aum"])), "--keep", "5", "-o", f"{out}.csv"],
            "report": ["report", path, "-o", f"{out}.html"],
            "compare": ["compare", path],
            "combine": ["combine", path, whole, "-o", f"{out}.h5"],
            "labels": ["score", run, "--labels", path, "--method", "el2n,tdds", "--K", "3", "-o", f"{out}.h5"],
            "ids": ["score", run, "--ids", path, "--K", "3", "-o", f"{out}.h5"],
            "features": ["score", run, "--features", path, "--labels", y, "--method", "moderate", "-o", f"{out}.h5"],
            "images": ["report", whole, "--images", path, "-o", f"{out}.html"],
            "data": ["report", whole, "--data", path, "-o", f"{out}.html"],
        }[what]  # fmt: skip

    def beside(self, name):
        """The path of a whole file."""
        self.whole(name)
        return str(self.path / f"whole-{list(self._whole).index(name)}" / self._whole[name][1])

    def command(self, arguments, path):
        """Run a command in this process: it ends well, or in one line and with nothing written."""
        before = set(Path(self.path / "case").rglob("*"))
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            sys.argv = ["tdds", *arguments]
            try:
                cli.main()
                code = 0
            except SystemExit as done:
                code = done.code
        said = err.getvalue()
        if code == 0:
            return "done"
        check_failed(code, said, out.getvalue(), arguments)
        if left := set(Path(self.path / "case").rglob("*")) - before:
            raise Wrong(f"{arguments}: failed and left {left}")
        return "error"


def check_failed(code, said, out, arguments):
    verified = arguments[0] == "verify" and code == 1 and not said and out
    if not verified and (code != 1 or not said.startswith("tdds: ") or said.count("\n") != 1 or len(said) < 20):
        raise Wrong(f"{arguments}: exit status {code}: {said!r}")


# ------------------------------------------------------------------------------------------------------ the processes


def serve(pipe):
    """Run the cases that come through `pipe` until it closes; the memory that each took beyond those before."""
    with tempfile.TemporaryDirectory(prefix="tdds-fuzz-") as path:
        folder = Folder(path)
        for case in iter(pipe.recv, None):
            try:
                outcome = folder.case(*case)
            except BaseException:
                outcome = "WRONG: " + traceback.format_exc(limit=-12)
            pipe.send((outcome, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


class Worker:
    """A process that runs cases, and another where it crashed or hung."""

    def __init__(self):
        self._context = multiprocessing.get_context("spawn")
        self._process = None
        self.peak = 0

    def run(self, *case):
        if self._process is None:
            self._pipe, theirs = self._context.Pipe()
            self._process = self._context.Process(target=serve, args=(theirs,))
            self._process.start()
            theirs.close()
        try:
            self._pipe.send(case)
            if self._pipe.poll(SECONDS):
                outcome, peak = self._pipe.recv()
                self.peak = max(self.peak, peak)
                return outcome
            outcome = f"WRONG: hangs for {SECONDS} s"
        except (EOFError, ConnectionError):
            self._process.join()
            outcome = f"WRONG: crashes the process, status {self._process.exitcode}"
        self._process.kill()
        self._process.join()
        self._process = None
        return outcome

    def close(self):
        if self._process is not None:
            self._pipe.send(None)
            self._process.join()
