"""Selections as files: the kept samples, or all of them and whether each is kept."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tdds.tables.files import replacing, write_csv, write_npz, write_parquet, write_txt
from tdds.tables.scores import ScoreTable


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
    origin = table.origin() | {"selection": dict(selection or {})}
    about = {"metadata": {"tdds": json.dumps(origin)}} if Path(path).suffix == ".parquet" else {}
    _write_columns(Path(path), table.columns() | {"kept": kept, "weight": weight}, **about)


def _write_columns(path: Path, columns: dict[str, np.ndarray], **about: Any) -> None:
    write = selection_writer(path)
    with replacing(path) as temporary:
        write(temporary, columns, **about)


def selection_writer(path: Path) -> Callable[..., None]:
    """The function that writes a selection to a file with this extension; raises where there is none."""
    writers = {".npz": write_npz, ".csv": write_csv, ".txt": write_txt, ".parquet": write_parquet}
    if path.suffix not in writers:
        raise ValueError(
            f"{path}: selections are written as {', '.join(writers)}; got {path.suffix or 'no extension'!r}."
        )
    return writers[path.suffix]
