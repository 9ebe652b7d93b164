"""Files that are written whole or not at all, and columns as .npz, .csv, .txt and .parquet."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tdds.validation import check_no_pipe


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


def write_npz(path: Path, columns: dict[str, np.ndarray]) -> None:
    plain = {name: values.astype(str) if values.dtype == object else values for name, values in columns.items()}
    np.savez(path, **plain)  # type: ignore[arg-type]


def write_csv(path: Path, columns: dict[str, np.ndarray]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*(values.tolist() for values in columns.values()), strict=True))


def write_txt(path: Path, columns: dict[str, np.ndarray]) -> None:
    np.savetxt(path, columns["indices"], fmt="%d")


def write_parquet(path: Path, columns: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    pyarrow = import_pyarrow(path)
    pyarrow.parquet.write_table(pyarrow.table(columns, metadata=metadata), path)


def import_pyarrow(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise ImportError(f"{path}: Parquet needs pyarrow: pip install 'tdds-coreset[parquet]'") from None
    return pyarrow
