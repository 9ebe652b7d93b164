"""Image data sets: every form they come in gives the same arrays, and no pickle runs code."""

import importlib.util
import io
import pickle
import re
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

spec = importlib.util.spec_from_file_location("images", Path(__file__).parents[1] / "data_tools" / "images.py")
images = importlib.util.module_from_spec(spec)
spec.loader.exec_module(images)


class OldPickler(pickle._Pickler):
    """As Python 2 and an old NumPy pickled the archives: bytes and text alike are `str`."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012

    def save_text(self, value):
        data = value if isinstance(value, bytes) else value.encode()
        self.write(b"T" + struct.pack("<i", len(data)) + data)

    dispatch[bytes] = dispatch[str] = save_text


def pickled(value):
    file = io.BytesIO()
    OldPickler(file, protocol=2).dump(value)
    return file.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def write_archive(folder, archive):
    """Three random images a file; returns them and their labels, in order, the test part last."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    X, y = rng.integers(256, size=(3 * len(archive.train) + 3, 32, 32, 3), dtype=np.uint8), []
    for i, name in enumerate([*archive.train, archive.test]):
        labels = rng.integers(10, size=3).tolist()
        batch = {"data": X[3 * i : 3 * i + 3].transpose(0, 3, 1, 2).reshape(3, -1).copy(), "batch_label": "some"}
        (folder / name).write_bytes(pickled({**batch, archive.label_key.decode(): labels}))
        y += labels
    (folder / archive.names).write_bytes(pickled({archive.names_key.decode(): ["cat", "dog"]}))
    return X, y


@pytest.mark.parametrize("archive", images.ARCHIVES, ids=lambda archive: archive.folder)
def test_python_archive(archive, tmp_path):
    folder = tmp_path / archive.folder
    X, y = write_archive(folder, archive)
    with tarfile.open(tmp_path / "archive.tar.gz", "w:gz") as tar:
        tar.add(folder, arcname=archive.folder)
    for path in (folder, tmp_path, tmp_path / "archive.tar.gz"):
        loaded = images.load_cifar(path)
        np.testing.assert_array_equal(np.concatenate([loaded.X_train, loaded.X_test]), X)
        np.testing.assert_array_equal(np.concatenate([loaded.y_train, loaded.y_test]), y)
        assert (len(loaded.y_test), loaded.class_names) == (3, ["cat", "dog"])
    part = images.load_cifar(folder, n_train=2)
    rows = [int(np.flatnonzero((image == X).all(axis=(1, 2, 3)))[0]) for image in part.X_train]
    assert [y[row] for row in rows] == part.y_train.tolist()
    with pytest.raises(ValueError, match=rf"n_train=99, but there are {len(y) - 3} training images\."):
        images.load_cifar(folder, n_train=99)
    (folder / archive.test).unlink()
    with pytest.raises(FileNotFoundError, match=f"lacks {archive.test}. Download https://www.cs.toronto.edu"):
        images.load_cifar(folder)


class Evil:
    def __reduce__(self):
        return print, ("owned",)


@pytest.mark.parametrize("data", [pickle.dumps({"data": Evil()}), b"", b"\x80\x02}q", b"not a pickle", b"]e."])
def test_a_pickle_runs_no_code(data, tmp_path, capsys):
    write_archive(tmp_path / "cifar-100-python", images.ARCHIVES[1])
    (tmp_path / "cifar-100-python" / "train").write_bytes(data)
    with pytest.raises(ValueError, match=r"^train was not loaded: ") as caught:
        images.load_cifar(tmp_path)
    if b"Evil" in data:
        assert "it names builtins.print; only tensors and arrays are read." in str(caught.value)
    assert capsys.readouterr().out == ""


def test_jpeg_pack(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    colours = np.random.default_rng(0).integers(256, size=(7, 3), dtype=np.uint8)
    files = []
    for colour in colours:
        file = io.BytesIO()
        Image.fromarray(np.broadcast_to(colour, (32, 32, 3)).copy()).save(file, "JPEG", quality=95)
        files.append(file.getvalue())
    pack = {"y_train": np.arange(4, dtype=np.uint8), "y_test": np.arange(3, dtype=np.uint8)}
    for part, chosen in (("train", files[:4]), ("test", files[4:])):
        pack[f"jpeg_{part}"] = np.frombuffer(b"".join(chosen), np.uint8)
        pack[f"offsets_{part}"] = np.cumsum([0, *map(len, chosen)]).astype(np.uint32)
    np.savez(tmp_path / "pack.npz", **pack)
    loaded = images.load_cifar(tmp_path / "pack.npz")
    found = np.concatenate([loaded.X_train, loaded.X_test])
    assert np.abs(found.astype(int) - colours[:, None, None]).max() < 6
    assert (loaded.y_train.tolist(), loaded.y_test.tolist()) == ([0, 1, 2, 3], [0, 1, 2])
    assert loaded.class_names[:2] == ["airplane", "automobile"]
    np.savez(tmp_path / "named.npz", **pack, class_names=["a", "b"])
    few = images.load_cifar(tmp_path / "named.npz", n_train=2)
    assert few.class_names == ["a", "b"]
    np.testing.assert_array_equal(few.X_train, loaded.X_train[few.y_train])


def test_what_is_no_data_set_is_said_with_what_to_download(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for path, what in [
        (tmp_path / "absent", "does not exist."),
        (tmp_path, "holds no CIFAR-10 or CIFAR-100."),
        (tmp_path / "notes.txt", "holds no CIFAR-10 or CIFAR-100."),
    ]:
        with pytest.raises(FileNotFoundError, match=re.escape(f"{path} {what} Download https://www.cs.toronto.edu")):
            images.load_cifar(path)


def test_digits_have_the_shape_of_cifar():
    digits = images.load_digits_images()
    assert (digits.X_train.shape, digits.X_test.shape) == ((1437, 32, 32, 3), (360, 32, 32, 3))
    assert np.bincount(digits.y_test).min() >= 34
    assert (digits.X_train.dtype, digits.X_train.max()) == (np.uint8, 255)
    corners = digits.X_train[:, ::4, ::4, :1]
    np.testing.assert_array_equal(digits.X_train, np.repeat(corners, 3, 3).repeat(4, 1).repeat(4, 2))
