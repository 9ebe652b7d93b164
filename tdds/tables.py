"""Scores and selections as files: what `tdds score` and `tdds select` write. Nothing is ever pickled."""

from __future__ import annotations

import csv
import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tdds import store
from tdds._version import __version__
from tdds.store.hdf5 import write_names
from tdds.validation import TrajectoryError, check_ids, check_labels, file_errors

FORMAT, FORMAT_VERSION = "tdds-scores", 1


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

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an HDF5 file, whole or not at all.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        with replacing(Path(path)) as temporary, h5py.File(temporary, "w") as file:
            file.attrs.update(
                format=FORMAT, format_version=FORMAT_VERSION, created_by=self.created_by, source=json.dumps(self.source)
            )
            for name, scores in self.scores.items():
                dataset = file.create_dataset(f"scores/{name}", data=scores)
                dataset.attrs.update(keeps=self.keeps[name], parameters=json.dumps(self.parameters[name]))
            write_names(file, self.labels, self.ids)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ScoreTable:
        """Read what `save` wrote.

        Raises
        ------
        FileNotFoundError, TrajectoryError
            There is no such file, or it is damaged or no scores file.
        """
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file; write one with `tdds score SOURCE -o {path}`.")
        with store.opened(path) as file:
            if file.attrs.get("format") != FORMAT:
                raise TrajectoryError(f"{path}: is no scores file; write one with `tdds score SOURCE -o scores.h5`.")
            if (version := int(file.attrs["format_version"])) > FORMAT_VERSION:
                raise TrajectoryError(
                    f"{path}: has format version {version}, this tdds reads up to {FORMAT_VERSION}: upgrade."
                )
            held = {name: file["scores"][name] for name in file["scores"]}
            for dataset in held.values():
                store.check_local(dataset, path)
            table = cls(
                scores={name: dataset[...] for name, dataset in held.items()},
                keeps={name: str(dataset.attrs["keeps"]) for name, dataset in held.items()},
                parameters={name: json.loads(dataset.attrs["parameters"]) for name, dataset in held.items()},
                source=json.loads(file.attrs["source"]),
                created_by=str(file.attrs["created_by"]),
            )
            if "labels" in file:
                table.labels = check_labels(file["labels"][...], table.n_samples, None)
            if "ids" in file:
                table.ids = check_ids(store.read_ids(file["ids"]), table.n_samples)
        return table


def is_scores(path: Path) -> bool:
    """Whether `path` is a file that `ScoreTable.save` wrote."""
    try:
        with store.open_file(path) as file:
            return file.attrs.get("format") == FORMAT
    except OSError:
        return False


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
    path = Path(path)
    columns = {"indices": indices} | ({} if ids is None else {"ids": ids}) | {"weights": weights}
    write = selection_writer(path)
    with replacing(path) as temporary:
        write(temporary, columns)


def selection_writer(path: Path) -> Callable[[Path, dict[str, np.ndarray]], None]:
    """The function that writes a selection to a file with this extension; raises where there is none."""
    writers = {".npz": _write_npz, ".csv": _write_csv, ".txt": _write_txt, ".parquet": _write_parquet}
    if path.suffix not in writers:
        raise ValueError(
            f"{path}: selections are written as {', '.join(writers)}; got {path.suffix or 'no extension'!r}."
        )
    return writers[path.suffix]


def read_column(place: str) -> np.ndarray:
    """Labels or ids from ``x.npy``, ``x.npz::name``, ``x.h5::name``, or a text file with one value a line.

    Raises
    ------
    FileNotFoundError, TrajectoryError
        There is no such file, or it does not hold that.
    """
    file, _, name = place.partition("::")
    path = Path(file)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file.")
    with file_errors(place):
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as held:
                return held[name or "labels"]
        if path.suffix in (".h5", ".hdf5"):
            with store.open_file(path) as opened:
                dataset = opened[name or "labels"]
                store.check_local(dataset, path)
                return store.read_ids(dataset)
        lines = path.read_text(encoding="utf-8").split()
        return np.array([int(line) for line in lines]) if all(_is_integer(line) for line in lines) else np.array(lines)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place on success and leaves nothing behind on failure."""
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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


def _write_parquet(path: Path, columns: dict[str, np.ndarray]) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ImportError(f"{path}: Parquet needs pyarrow: pip install 'tdds-coreset[parquet]'") from None
    pq.write_table(pa.table(columns), path)
