"""Scores and selections as files: what `tdds score`, `combine` and `select` write. Nothing is ever pickled.

Scores are kept whole in ``.h5`` and in ``.parquet``; there the schema's metadata hold, as JSON under the key ``tdds``,
what the columns do not. A ``.csv`` is for other programs: it holds the columns alone, neither parameters nor
fingerprint nor which end of a score is kept, and is not read back.
"""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tdds import store
from tdds._version import __version__
from tdds.npz import open_npz, read_arrays
from tdds.store.hdf5 import write_names
from tdds.validation import (
    TrajectoryError,
    check_choice,
    check_fits_memory,
    check_ids,
    check_labels,
    check_no_pipe,
    file_errors,
)

FORMAT, FORMAT_VERSION = "tdds-scores", 1
KEEPS = ("largest", "smallest", "median")


@dataclass
class ScoreTable:
    """Scores of one trajectory, by method, and all that is needed to know where they come from.

    Attributes
    ----------
    scores : dict of (n_samples,) float64 arrays
    keeps : dict of str
        Which end of each score is kept.
    parameters : dict of dict
        Of each method.
    source : dict
        Name, shape, kind, dtype and fingerprint of the trajectory.
    labels : (n_samples,) int64 array or None
    ids : (n_samples,) array or None
    created_by : str
        Library and version.
    """

    scores: dict[str, np.ndarray]
    keeps: dict[str, str]
    parameters: dict[str, dict[str, Any]]
    source: dict[str, Any]
    labels: np.ndarray | None = None
    ids: np.ndarray | None = None
    created_by: str = field(default=f"tdds {__version__}")

    @property
    def n_samples(self) -> int:
        return len(next(iter(self.scores.values())))

    def columns(self) -> dict[str, np.ndarray]:
        """One row a sample: ``index``, ``id`` and ``label`` where known, and the score of each method."""
        names = {"id": self.ids, "label": self.labels}
        known = {name: values for name, values in names.items() if values is not None}
        return {"index": np.arange(self.n_samples)} | known | self.scores

    def to_pandas(self) -> Any:
        """The columns as a DataFrame, a row a sample; ``attrs["tdds"]`` says where they come from.

        Raises
        ------
        ImportError
            pandas is not installed.

        Examples
        --------
        >>> import numpy as np
        >>> from tdds.tables import ScoreTable
        >>> scores = {"tdds": np.array([0.5, 0.25])}
        >>> table = ScoreTable(scores, {"tdds": "largest"}, {"tdds": {"K": 10}}, {}, labels=np.array([3, 1]))
        >>> list(table.to_pandas().columns)
        ['label', 'tdds']
        """
        try:
            import pandas as pd
        except ImportError:
            raise ImportError("to_pandas needs pandas: pip install 'tdds-coreset[pandas]'") from None
        frame = pd.DataFrame(self.columns()).set_index("index")
        frame.attrs["tdds"] = self._origin()
        return frame

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file, whole or not at all; its form, .h5, .parquet or .csv, is chosen by the extension.

        Raises
        ------
        ValueError
            The extension is none of these.
        ImportError
            pyarrow is not installed (.parquet).
        OSError
            The file cannot be written.
        """
        path = Path(path)
        check_scores_output(path)
        with replacing(path) as temporary:
            if path.suffix == ".csv":
                _write_csv(temporary, self.columns())
            elif path.suffix == ".parquet":
                _write_parquet(temporary, self.columns(), {"tdds": json.dumps(self._origin())})
            else:
                self._write_hdf5(temporary)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ScoreTable:
        """Read what `save` wrote, .h5 or .parquet.

        Raises
        ------
        FileNotFoundError, TrajectoryError
            There is no such file, or it is damaged or no scores file.
        ImportError
            pyarrow is not installed (.parquet).
        """
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file; write one with `tdds score SOURCE -o {path}`.")
        if path.suffix == ".csv":
            raise TrajectoryError(f"{path}: does not say which end of a score is kept; pass the .h5 or .parquet file.")
        return cls._read_parquet(path) if path.suffix == ".parquet" else cls._read_hdf5(path)

    def _origin(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "created_by": self.created_by,
            "source": self.source,
            "keeps": self.keeps,
            "parameters": self.parameters,
        }

    def _write_hdf5(self, path: Path) -> None:
        with h5py.File(path, "w") as file:
            file.attrs.update(
                format=FORMAT, format_version=FORMAT_VERSION, created_by=self.created_by, source=json.dumps(self.source)
            )
            for name, scores in self.scores.items():
                dataset = file.create_dataset(f"scores/{name}", data=scores)
                dataset.attrs.update(keeps=self.keeps[name], parameters=json.dumps(self.parameters[name]))
            write_names(file, self.labels, self.ids)

    @classmethod
    def _read_hdf5(cls, path: Path) -> ScoreTable:
        with store.opened(path) as file:
            _check_format(path, file.attrs)
            if not isinstance(file.get("scores"), h5py.Group):
                raise TrajectoryError(f"{path}: holds no group 'scores'.")
            held = {name: store.own_dataset(file, f"scores/{name}", "<f8") for name in file["scores"]}
            n_samples = next((dataset.size for dataset in held.values()), 0)
            beside = {name: store.own_dataset(file, name) for name in ("labels", "ids") if name in file.keys()}  # noqa: SIM118
            return _checked(
                path,
                scores={name: store.read_column(dataset, n_samples) for name, dataset in held.items()},
                keeps={name: store.said(dataset, "keeps") for name, dataset in held.items()},
                parameters={name: json.loads(dataset.attrs["parameters"]) for name, dataset in held.items()},
                source=json.loads(file.attrs["source"]),
                created_by=str(file.attrs["created_by"]),
                **{name: store.read_column(dataset, n_samples) for name, dataset in beside.items()},
            )

    @classmethod
    def _read_parquet(cls, path: Path) -> ScoreTable:
        pyarrow = _pyarrow(path)
        with file_errors(path, "scores"), _arrow_errors(path, pyarrow):
            with pyarrow.parquet.ParquetFile(path) as file:
                origin = json.loads((file.schema_arrow.metadata or {}).get(b"tdds", "{}"))
                _check_format(path, origin)
                # A run of one value takes no room in the file, whatever its length.
                check_fits_memory(path, file.metadata.num_rows * file.metadata.num_columns * 8)
                rows = file.read()
            columns = {name: rows[name].to_numpy() for name in rows.column_names}
            if not np.array_equal(columns["index"], np.arange(len(rows))):
                raise TrajectoryError(f"{path}: its rows are not all samples in their order; pass the file as written.")
            return _checked(
                path,
                scores={name: values for name, values in columns.items() if name in origin["keeps"]},
                keeps=origin["keeps"],
                parameters=origin["parameters"],
                source=origin["source"],
                labels=columns.get("label"),
                ids=columns.get("id"),
                created_by=origin["created_by"],
            )


def _checked(path: Path, scores: Any, labels: Any = None, ids: Any = None, **said: Any) -> ScoreTable:
    """The table that a file holds, once all that it says fits together."""
    if not scores or set(scores) != set(said["keeps"]):
        raise TrajectoryError(f"{path}: holds the scores {list(scores)}, and says what is kept of {said['keeps']}.")
    n_samples = len(next(iter(scores.values())))
    for name, values in scores.items():
        if not name.isprintable():
            raise TrajectoryError(f"{path}: holds scores called {name!r}; expected a name that can be printed.")
        if values.dtype != np.float64 or values.shape != (n_samples,) or not (n_samples and np.isfinite(values).all()):
            raise TrajectoryError(
                f"{path}: the scores {name!r} are {values.dtype} of shape {values.shape}; expected finite float64, one "
                f"a sample, ({n_samples},)."
            )
        if said["keeps"].get(name) not in KEEPS or not isinstance(said["parameters"].get(name), dict):
            raise TrajectoryError(f"{path}: does not say which end of {name!r} is kept, or what its parameters were.")
    if not isinstance(said["source"], dict):
        raise TrajectoryError(f"{path}: says {said['source']!r} of what was scored; expected names and values.")
    return ScoreTable(
        scores,
        labels=None if labels is None else check_labels(labels, n_samples, None),
        ids=None if ids is None else check_ids(ids, n_samples),
        **said,
    )


def check_scores_output(path: Path) -> None:
    """Raise where scores cannot be written to a file with this extension, or pyarrow is not there for it."""
    if path.suffix not in (".h5", ".hdf5", ".parquet", ".csv"):
        raise ValueError(f"{path}: scores are written as .h5, .parquet, .csv; got {path.suffix or 'no extension'!r}.")
    if path.suffix == ".parquet":
        _pyarrow(path)


def is_scores(path: Path) -> bool:
    """Whether `path` is a file that `ScoreTable.save` wrote, and `load` reads."""
    if path.suffix == ".parquet":
        return path.is_file()  # no trajectory is one: what is wrong with it is for `load` to say
    try:
        with store.opened(path) as file:
            return file.attrs.get("format") == FORMAT
    except (OSError, ValueError):
        return False


def combine_tables(
    tables: Sequence[ScoreTable], how: str = "mean", names: Sequence[str | os.PathLike[str]] | None = None
) -> ScoreTable:
    """One table of several runs over the same data, such as one a seed.

    Parameters
    ----------
    tables : sequence of ScoreTable
        At least two, of the same samples, methods and parameters.
    how : {"mean", "rank"}, default "mean"
        The mean of the scores; or of their ranks, in (0, 1], ties sharing theirs, which no run's scale dominates.
    names : sequence of str or path, optional
        What errors call the tables; their numbers where left out.

    Returns
    -------
    ScoreTable
        Its source lists the runs.

    Raises
    ------
    ValueError
        The tables are of different data (number of samples, labels or ids), hold other methods or parameters, are of
        other numbers of epochs, or two are of the same run.
    """
    from scipy.stats import rankdata

    check_choice("how", how, ("mean", "rank"))
    if len(tables) < 2:
        raise ValueError(f"{len(tables)} file(s) of scores: expected at least two runs to combine.")
    first = tables[0]
    called = [f"Run {i}" for i in range(len(tables))] if names is None else [str(name) for name in names]
    for name, other in zip(called[1:], tables[1:], strict=True):
        pair = f"{called[0]} and {name}"
        for what in ("labels", "ids"):
            if (getattr(first, what) is None) != (getattr(other, what) is None):
                raise ValueError(
                    f"{pair}: one has {what}, the other none; whether their data are the same is not known."
                )
        if set(first.scores) != set(other.scores):
            raise ValueError(f"{pair} hold other scores: {', '.join(first.scores)}; {', '.join(other.scores)}.")
        check_same_samples(pair, first, other)
    fingerprints = [table.source.get("fingerprint") for table in tables]
    for i, fingerprint in enumerate(fingerprints):
        if fingerprint is not None and fingerprint in fingerprints[:i]:
            pair = f"{called[fingerprints.index(fingerprint)]} and {called[i]}"
            raise ValueError(f"{pair} are of the same trajectory, {fingerprint}; expected one file a run.")
    scores = {name: np.stack([table.scores[name] for table in tables]) for name in first.scores}
    if how == "rank":
        scores = {name: rankdata(runs, axis=1) / first.n_samples for name, runs in scores.items()}
    return ScoreTable(
        scores={name: runs.mean(axis=0) for name, runs in scores.items()},
        keeps=first.keeps,
        parameters=first.parameters,
        source={"combined": how, "runs": [table.source for table in tables]},
        labels=first.labels,
        ids=first.ids,
    )


def check_same_samples(pair: str, first: ScoreTable, other: ScoreTable) -> None:
    """Raise where two tables, called `pair`, are of other samples, or scores that both hold were made otherwise."""
    if first.n_samples != other.n_samples:
        raise ValueError(f"{pair} are of different data: {first.n_samples} and {other.n_samples} samples.")
    for what in ("labels", "ids"):
        ours, theirs = getattr(first, what), getattr(other, what)
        if ours is not None and theirs is not None and not np.array_equal(ours, theirs):
            sample = int(np.argmax(ours != theirs))
            raise ValueError(f"{pair} are of different data: their {what} differ, first those of sample {sample}.")
    for name in first.scores.keys() & other.scores.keys():
        made = [{"keeps": table.keeps[name], **table.parameters[name]} for table in (first, other)]
        if made[0] != made[1]:
            raise ValueError(f"{pair} are scored otherwise: {name} with {made[0]} and {made[1]}.")
        epochs = [table.source.get("n_epochs_read") for table in (first, other)]
        if None not in epochs and epochs[0] != epochs[1]:
            raise ValueError(f"{pair} are of {epochs[0]} and {epochs[1]} epochs; score both with the same --T.")


def _check_format(path: Path, said: Any) -> None:
    if said.get("format") != FORMAT:
        raise TrajectoryError(f"{path}: is no scores file; write one with `tdds score SOURCE -o scores.h5`.")
    if (version := int(said["format_version"])) > FORMAT_VERSION:
        raise TrajectoryError(f"{path}: has format version {version}, this tdds reads up to {FORMAT_VERSION}: upgrade.")


def write_selection(
    path: str | os.PathLike[str], indices: np.ndarray, weights: np.ndarray, ids: np.ndarray | None
) -> None:
    """Write the kept samples: ``indices``, ``ids`` where known, and ``weights``; the form is chosen by the extension.

    Parameters
    ----------
    path : path ending in .npz, .csv, .parquet, or .txt (indices alone, one a line)
    indices : (n_kept,) integer array
    weights : (n_kept,) float64 array
    ids : (n_kept,) array or None

    Raises
    ------
    ValueError
        The extension is none of these.
    ImportError
        pyarrow is not installed (.parquet).
    OSError
        The file cannot be written.
    """
    _write_columns(Path(path), {"indices": indices} | ({} if ids is None else {"ids": ids}) | {"weights": weights})


def write_all_rows(
    path: str | os.PathLike[str],
    table: ScoreTable,
    indices: np.ndarray,
    weights: np.ndarray,
    selection: Mapping[str, Any] | None = None,
) -> None:
    """Write one row a sample: the columns of `table`, ``kept``, and ``weight``, 0 of a sample that is not kept.

    A .parquet also says where the scores come from, as `ScoreTable.save` does, and is read back by `ScoreTable.load`.

    Parameters
    ----------
    path : path ending in .npz, .csv or .parquet
    table : ScoreTable
    indices : (n_kept,) integer array
    weights : (n_kept,) float64 array
    selection : mapping, optional
        How they were chosen: under ``selection`` of a .parquet's metadata.

    Raises
    ------
    ValueError
        The extension is none of these.
    ImportError
        pyarrow is not installed (.parquet).
    OSError
        The file cannot be written.
    """
    if Path(path).suffix == ".txt":
        raise ValueError(f"{path}: all rows are written as .npz, .csv, .parquet; a .txt holds the kept indices alone.")
    kept, weight = np.zeros(table.n_samples, dtype=bool), np.zeros(table.n_samples)
    kept[indices], weight[indices] = True, weights
    origin = table._origin() | {"selection": dict(selection or {})}
    about = {"metadata": {"tdds": json.dumps(origin)}} if Path(path).suffix == ".parquet" else {}
    _write_columns(Path(path), table.columns() | {"kept": kept, "weight": weight}, **about)


def _write_columns(path: Path, columns: dict[str, np.ndarray], **about: Any) -> None:
    write = selection_writer(path)
    with replacing(path) as temporary:
        write(temporary, columns, **about)


def selection_writer(path: Path) -> Callable[..., None]:
    """The function that writes a selection to a file with this extension; raises where there is none."""
    writers = {".npz": _write_npz, ".csv": _write_csv, ".txt": _write_txt, ".parquet": _write_parquet}
    if path.suffix not in writers:
        raise ValueError(
            f"{path}: selections are written as {', '.join(writers)}; got {path.suffix or 'no extension'!r}."
        )
    return writers[path.suffix]


def read_column(place: str, what: str = "labels") -> np.ndarray:
    """Labels, ids or names from ``x.npy``, ``x.npz::name``, ``x.h5::name``, or a text file with one value a line.

    Parameters
    ----------
    place : str
    what : {"labels", "ids", "features", "class_names"}, default "labels"
        What it holds, and the array's name where `place` gives none.

    Returns
    -------
    array

    Raises
    ------
    FileNotFoundError, TrajectoryError
        There is no such file, or it does not hold that.
    """
    file, _, name = place.partition("::")
    path = Path(file)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file.")
    held_by_name = path.suffix in (".npz", ".h5", ".hdf5")
    if name and not held_by_name:
        raise TrajectoryError(f"{place}: only arrays in .npz and HDF5 files have names; leave ::{name} out.")
    name = name or what
    with file_errors(path, f"a file of {what}"):
        if path.suffix == ".npy":
            return np.array(np.load(path, mmap_mode="r", allow_pickle=False))  # a map is as long as the file
        if path.suffix == ".npz":
            with open_npz(path, f"a file of {what}") as held:
                if name not in held:
                    raise TrajectoryError(
                        f"{path}: holds no {name!r}, but {', '.join(held.files) or 'nothing'}; say which, as "
                        f"{path}::NAME."
                    )
                return read_arrays(path, held, [name])[0]
        if held_by_name:
            with store.open_file(path) as opened:
                dataset = store.own_dataset(opened, name)
                check_fits_memory(path, dataset.nbytes)
                return store.read_ids(dataset)
        lines = [line for line in map(str.strip, path.read_text(encoding="utf-8-sig").split("\n")) if line]
        return np.array([int(line) for line in lines]) if all(_is_integer(line) for line in lines) else np.array(lines)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write, in a private folder beside `path`, that takes its place on success and leaves nothing otherwise.

    Nobody else can look into the folder, or put a link where the file will be; where `path` itself is a link, the file
    takes the link's place, and what the link points to stays as it is.
    """
    check_no_pipe(path)
    try:
        private = tempfile.TemporaryDirectory(prefix=f".{path.stem}-", dir=path.parent)
    except OSError as error:  # the name that the user knows
        raise OSError(error.errno, error.strerror, str(path)) from None
    with private as folder:
        temporary = Path(folder, path.name)
        yield temporary
        os.replace(temporary, path)


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdigit() and str(int(text)) == text  # "000123" is a name


def _write_npz(path: Path, columns: dict[str, np.ndarray]) -> None:
    plain = {name: values.astype(str) if values.dtype == object else values for name, values in columns.items()}
    np.savez(path, **plain)  # type: ignore[arg-type]


def _write_csv(path: Path, columns: dict[str, np.ndarray]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*(values.tolist() for values in columns.values()), strict=True))


def _write_txt(path: Path, columns: dict[str, np.ndarray]) -> None:
    np.savetxt(path, columns["indices"], fmt="%d")


def _write_parquet(path: Path, columns: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    pyarrow = _pyarrow(path)
    pyarrow.parquet.write_table(pyarrow.table(columns, metadata=metadata), path)


@contextmanager
def _arrow_errors(path: Path, pyarrow: Any) -> Iterator[None]:
    try:
        yield
    except pyarrow.ArrowException as error:
        raise TrajectoryError(f"{path}: cannot be read as scores: {' '.join(str(error).split())}") from error


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise ImportError(f"{path}: Parquet needs pyarrow: pip install 'tdds-coreset[parquet]'") from None
    return pyarrow
