"""Load small images: CIFAR-10 and CIFAR-100 in the forms they come in, and scikit-learn's digits in the same shape.

    from data_tools.images import load_cifar

    cifar = load_cifar("cifar-10-python.tar.gz")

The python version of a data set is read from the archive or from the directory unpacked from it, without running the
code that a pickle may hold. The other form is a pack of JPEG images: an ``.npz`` with `jpeg_train` (the files end to
end, uint8), `offsets_train` (where each begins, and the end of the last) and `y_train`, the same for test, and
`class_names` where they are not those of CIFAR-10. Decoding it needs pillow.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tdds.npz import open_npz
from tdds.sources.pickles import TensorUnpickler

WHERE = (
    "Download https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz (or cifar-100-python.tar.gz) and pass the path "
    "of the archive, or of the directory unpacked from it; a .npz pack of JPEG images will do as well."
)
CIFAR10_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


class Images(NamedTuple):
    """A data set: images (n, 32, 32, 3) uint8, labels (n,) int64, and the name of each class."""

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    class_names: list[str]


class _Archive(NamedTuple):
    """How a python archive is laid out: its directory, files, and keys."""

    folder: str
    train: list[str]
    test: str
    names: str
    label_key: bytes
    names_key: bytes


ARCHIVES = (
    _Archive(
        "cifar-10-batches-py",
        [f"data_batch_{i}" for i in range(1, 6)],
        "test_batch",
        "batches.meta",
        b"labels",
        b"label_names",
    ),
    _Archive("cifar-100-python", ["train"], "test", "meta", b"fine_labels", b"fine_label_names"),
)


def load_cifar(path: str | Path, n_train: int | None = None) -> Images:
    """CIFAR-10 or CIFAR-100 from its python archive, packed or unpacked, or from a pack of JPEG images.

    With `n_train` only that many training images, always the same, drawn at random: packs may be sorted by class.

    Raises
    ------
    FileNotFoundError
        The data set, or a file of it, is not there; says what to download.
    ValueError
        A file holds something else than images and labels.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist. {WHERE}")
    if path.suffix == ".npz":
        return _read_jpeg_pack(path, n_train)
    for archive in ARCHIVES:
        files = _files_of(archive, path)
        if archive.names in files:
            missing = [name for name in (*archive.train, archive.test) if name not in files]
            if missing:
                raise FileNotFoundError(f"{path} lacks {', '.join(missing)}. {WHERE}")
            return _read_archive(archive, files, n_train)
    raise FileNotFoundError(f"{path} holds no CIFAR-10 or CIFAR-100. {WHERE}")


def load_digits_images() -> Images:
    """The 1,797 digits that ship with scikit-learn, enlarged to CIFAR's shape; a fifth of them is the test part."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8)
    images = np.repeat(grey.repeat(4, axis=1).repeat(4, axis=2)[..., None], 3, axis=3)
    X_train, X_test, y_train, y_test = train_test_split(
        images, digits.target, test_size=0.2, stratify=digits.target, random_state=0
    )
    return Images(X_train, y_train, X_test, y_test, [str(name) for name in digits.target_names])


def _files_of(archive: _Archive, path: Path) -> dict[str, bytes]:
    """The files of the data set that a directory or a tar file has, by name."""
    names = [*archive.train, archive.test, archive.names]
    if path.is_dir():
        folder = path / archive.folder if (path / archive.folder).is_dir() else path
        return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}
    if not tarfile.is_tarfile(path):
        return {}
    with tarfile.open(path) as tar:
        inside = {f"{archive.folder}/{name}": name for name in names}
        return {inside[member.name]: tar.extractfile(member).read() for member in tar if member.name in inside}


def _read_archive(archive: _Archive, files: dict[str, bytes], n_train: int | None) -> Images:
    def part(names: list[str]) -> tuple[np.ndarray, np.ndarray]:
        batches = [_unpickle(name, files[name]) for name in names]
        pixels = np.concatenate([batch[b"data"] for batch in batches])
        labels = np.concatenate([batch[archive.label_key] for batch in batches])
        return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels.astype(np.int64)

    X, y = part(archive.train)
    chosen = _choose(len(y), n_train)
    names = _unpickle(archive.names, files[archive.names])[archive.names_key]
    return Images(X[chosen].copy(), y[chosen], *part([archive.test]), [name.decode() for name in names])


def _unpickle(name: str, data: bytes) -> dict[bytes, Any]:
    try:
        return TensorUnpickler(io.BytesIO(data), encoding="bytes").load()
    except Exception as error:  # a damaged pickle raises whatever it likes
        raise ValueError(f"{name} was not loaded: {error}. {WHERE}") from error


def _read_jpeg_pack(path: Path, n_train: int | None) -> Images:
    with open_npz(path, "images") as pack:
        chosen = _choose(len(pack["y_train"]), n_train)
        train = _decode(pack["jpeg_train"], pack["offsets_train"], chosen), pack["y_train"][chosen].astype(np.int64)
        y_test = pack["y_test"].astype(np.int64)
        test = _decode(pack["jpeg_test"], pack["offsets_test"], range(len(y_test))), y_test
        return Images(*train, *test, pack["class_names"].tolist() if "class_names" in pack else CIFAR10_CLASSES)


def _decode(data: np.ndarray, offsets: np.ndarray, chosen: Iterable[int]) -> np.ndarray:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("Decoding JPEG images needs pillow: pip install pillow") from error
    return np.stack(
        [
            np.asarray(Image.open(io.BytesIO(data[offsets[i] : offsets[i + 1]]), formats=["JPEG"]).convert("RGB"))
            for i in chosen
        ]
    )


def _choose(n_available: int, n: int | None) -> np.ndarray:
    if n is None:
        return np.arange(n_available)
    if not 0 < n <= n_available:
        raise ValueError(f"n_train={n}, but there are {n_available} training images.")
    return np.sort(np.random.default_rng(0).permutation(n_available)[:n])
