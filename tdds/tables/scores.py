"""Scores as files, of one trajectory and of one or more methods.

Scores are kept whole in ``.h5`` and in ``.parquet``; there the schema's metadata hold, as JSON under the key ``tdds``,
what the columns do not. A ``.csv`` is for other programs: it holds the columns alone, neither parameters nor
fingerprint nor which end of a score is kept, and is not read back.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tdds import store
from tdds._version import __version__
from tdds.samplers import KEEPS
from tdds.store.hdf5 import write_names
from tdds.tables.files import import_pyarrow, replacing, write_csv, write_parquet
from tdds.validation import (
    TrajectoryError,
    check_fits_memory,
    check_ids,
    check_labels,
    file_errors,
)

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
        frame.attrs["tdds"] = self.origin()
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
                write_csv(temporary, self.columns())
            elif path.suffix == ".parquet":
                write_parquet(temporary, self.columns(), {"tdds": json.dumps(self.origin())})
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

    def origin(self) -> dict[str, Any]:
        """What the columns do not say, as JSON can hold it: form, library, source, and how each score was made."""
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
        pyarrow = import_pyarrow(path)
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
        import_pyarrow(path)


def is_scores(path: Path) -> bool:
    """Whether `path` is a file that `ScoreTable.save` wrote, and `load` reads."""
    if path.suffix == ".parquet":
        return path.is_file()  # no trajectory is one: what is wrong with it is for `load` to say
    try:
        with store.opened(path) as file:
            return file.attrs.get("format") == FORMAT
    except (OSError, ValueError):
        return False


def _check_format(path: Path, said: Any) -> None:
    if said.get("format") != FORMAT:
        raise TrajectoryError(f"{path}: is no scores file; write one with `tdds score SOURCE -o scores.h5`.")
    if (version := int(said["format_version"])) > FORMAT_VERSION:
        raise TrajectoryError(f"{path}: has format version {version}, this tdds reads up to {FORMAT_VERSION}: upgrade.")


@contextmanager
def _arrow_errors(path: Path, pyarrow: Any) -> Iterator[None]:
    try:
        yield
    except pyarrow.ArrowException as error:
        raise TrajectoryError(f"{path}: cannot be read as scores: {' '.join(str(error).split())}") from error
