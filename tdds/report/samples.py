"""What the samples are, for a reader's eye: images as small data URIs, or the rows of a text or a table."""

from __future__ import annotations

import base64
import csv
import io
import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from tdds.npz import open_npz, read_arrays
from tdds.validation import TrajectoryError, check_ids, check_labels, file_errors

SIDE = 96  # pixels of a thumbnail, at most
_LETTERS, _COLUMNS = 300, 8  # shown of a text, and of a table's row


class Samples(ABC):
    """What can be shown of each sample.

    Attributes
    ----------
    n_samples : int
    labels : (n_samples,) int64 array or None
    class_names : list of str or None
    ids : (n_samples,) array or None
    """

    n_shown: ClassVar[int] = 6  # of each end of a class, at most
    n_samples: int
    labels: np.ndarray | None = None
    class_names: list[str] | None = None
    ids: np.ndarray | None = None

    @abstractmethod
    def show(self, sample: int) -> dict[str, Any]:
        """``image``, a data URI, or ``cells``, pairs of a column's name and its text."""


class Images(Samples):
    """Images from an ``.npz``.

    Either ``images``, (n, h, w) or (n, h, w, 3) of uint8, and ``labels``; or a pack of JPEG files end to end,
    ``jpeg_train``, ``offsets_train`` and ``y_train``. In both, ``class_names`` and ``ids`` where they are there.

    Parameters
    ----------
    path : path

    Raises
    ------
    TrajectoryError
        The file is damaged, or holds no images in one of these forms.
    FileNotFoundError
        There is no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_npz(path, "images") as file:
            known = ("images", "labels", "jpeg_train", "offsets_train", "y_train", "class_names", "ids")
            wanted = [name for name in known if name in file]
            held = dict(zip(wanted, read_arrays(path, file, wanted), strict=True))
            if "images" in held:
                self._pixels, labels = held["images"], "labels"
                shape = self._pixels.shape
                if self._pixels.dtype != np.uint8 or shape[3:] not in ((), (3,)) or len(shape) < 3 or 0 in shape:
                    raise TrajectoryError(
                        f"{path}: images are {self._pixels.dtype} of shape {self._pixels.shape}; "
                        "expected uint8, (n, h, w) or (n, h, w, 3)."
                    )
                self.n_samples = len(self._pixels)
            elif "jpeg_train" in held and "offsets_train" in held:
                self._bytes, self._offsets, labels = held["jpeg_train"], held["offsets_train"], "y_train"
                bounds = self._offsets.dtype.kind in "iu" and self._offsets.ndim == 1 and len(self._offsets) > 1
                if self._bytes.dtype != np.uint8 or self._bytes.ndim != 1 or not bounds:
                    raise TrajectoryError(
                        f"{path}: jpeg_train are {self._bytes.dtype} of shape {self._bytes.shape}, offsets_train "
                        f"{self._offsets.dtype} of shape {self._offsets.shape}; expected uint8, and integers where "
                        "each file begins."
                    )
                self.n_samples = len(self._offsets) - 1
            else:
                raise TrajectoryError(
                    f"{path}: expected 'images', or 'jpeg_train' and 'offsets_train'; it holds {', '.join(file.files)}."
                )
            if labels in held:
                self.labels = check_labels(held[labels], self.n_samples, None)
            if "class_names" in held:
                self.class_names = held["class_names"].astype(str).ravel().tolist()
            if "ids" in held:
                self.ids = check_ids(held["ids"], self.n_samples)

    def show(self, sample: int) -> dict[str, Any]:
        with file_errors(self.path, "images"):
            if not hasattr(self, "_bytes"):
                return {"image": data_uri(Image.fromarray(self._pixels[sample]))}
            stored = self._bytes[self._offsets[sample] : self._offsets[sample + 1]].tobytes()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error", Image.DecompressionBombWarning)
                    image = Image.open(io.BytesIO(stored), formats=["JPEG"])
            except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
                raise TrajectoryError(f"{self.path}: the image of sample {sample} is too large: {error}") from None
            return {"image": as_uri(stored, "jpeg") if max(image.size) <= SIDE else data_uri(image)}


class Rows(Samples):
    """A ``.csv`` with a header, a row a sample; or a text file, a line a sample.

    Parameters
    ----------
    path : path

    Raises
    ------
    TrajectoryError
        The file is no text.
    FileNotFoundError
        There is no such file.
    """

    n_shown: ClassVar[int] = 3

    def __init__(self, path: Path) -> None:
        with file_errors(path, "rows"), open(path, newline="", encoding="utf-8-sig") as file:
            if path.suffix == ".csv":
                rows = csv.reader(file)
                self._names, self._rows = next(rows, []), [row for row in rows if row]  # csv's empty lines
            else:
                self._names, self._rows = ["text"], [[line.rstrip("\r\n")] for line in file]
        self.n_samples = len(self._rows)

    def show(self, sample: int) -> dict[str, Any]:
        cells = list(zip(self._names, self._rows[sample], strict=False))[:_COLUMNS]
        return {"cells": [(name, text if len(text) <= _LETTERS else text[:_LETTERS] + " ...") for name, text in cells]}


def data_uri(image: Image.Image) -> str:
    """`image`, made smaller where it is large: JPEG in colour, PNG in grey."""
    image.thumbnail((SIDE, SIDE))
    form = "png" if image.mode == "L" else "jpeg"
    held = io.BytesIO()
    (image if form == "png" else image.convert("RGB")).save(held, form, quality=85)
    return as_uri(held.getvalue(), form)


def as_uri(content: bytes, form: str) -> str:
    return f"data:image/{form};base64,{base64.b64encode(content).decode()}"
