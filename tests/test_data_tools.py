"""The scripts that change data: label noise, image corruptions."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1] / "data_tools"


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


noise, corruptions = load("noise"), load("corruptions")


# ----------------------------------------------------------------------------------------------------- label noise


@pytest.mark.parametrize("share", [0, 0.2, 0.333, 1])
def test_exactly_a_share_of_the_labels_is_replaced_by_another_class(share):
    labels = np.random.default_rng(0).integers(5, size=1001).astype(np.uint8)
    before = labels.copy()
    noisy = noise.symmetric_noise(labels, share, random_state=0)
    assert len(noisy.indices) == round(share * 1001)
    np.testing.assert_array_equal(noisy.indices, np.flatnonzero(noisy.labels != labels))
    np.testing.assert_array_equal(labels, before)
    assert set(noisy.labels) <= set(range(5))
    again, other = (noise.symmetric_noise(labels, share, random_state=seed) for seed in (0, 1))
    np.testing.assert_array_equal(again.labels, noisy.labels)
    assert share in (0, 1) or not np.array_equal(other.indices, noisy.indices)


def test_every_other_class_is_as_likely():
    noisy = noise.symmetric_noise(np.full(40_000, 2), 0.5, n_classes=5, random_state=0)
    counts = np.bincount(noisy.labels[noisy.indices], minlength=5)
    assert counts[2] == 0
    np.testing.assert_allclose(counts[[0, 1, 3, 4]], 5000, rtol=0.06)


@pytest.mark.parametrize(
    ("labels", "share", "text"),
    [
        ([0, 1], 1.5, r"^share=1\.5 is out of range"),
        ([0, 0], 0.5, r"^n_classes=1: there is no other class to replace a label by"),
        ([0, -1], 0.5, r"^Label of sample 1 is -1"),
    ],
)
def test_noise_refuses(labels, share, text):
    with pytest.raises(ValueError, match=text):
        noise.symmetric_noise(labels, share)


# ----------------------------------------------------------------------------------------------- image corruptions


@pytest.fixture(scope="module")
def images():
    rows, columns = np.mgrid[:32, :32]
    ramp = np.stack([4 * rows, 4 * columns, 2 * (rows + columns)], axis=-1)
    return np.stack([np.clip(ramp + 100 * (i % 2) + i % 7, 0, 255) for i in range(101)]).astype(np.uint8)


def test_each_corruption_spoils_its_share_and_nothing_else(images):
    before = images.copy()
    corrupted = corruptions.corrupt(images, 0.04, random_state=0)
    assert corrupted.images.dtype == np.uint8
    assert np.bincount(corrupted.kinds + 1).tolist() == [81, 4, 4, 4, 4, 4]
    changed = (corrupted.images != images).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(changed, corrupted.kinds >= 0)
    np.testing.assert_array_equal(images, before)
    again, other = (corruptions.corrupt(images, 0.04, random_state=seed) for seed in (0, 1))
    np.testing.assert_array_equal(again.images, corrupted.images)
    assert not np.array_equal(other.kinds, corrupted.kinds)
    assert (corruptions.corrupt(images, 0).kinds == -1).all()


def spoil(kind, image, seed=0):
    spoiled = getattr(corruptions, kind)(image / 255, np.random.default_rng(seed))
    assert spoiled.shape == image.shape
    return spoiled


def test_what_each_corruption_does(images):
    image = images[0]
    noise = spoil("gaussian_noise", image) - image / 255
    assert noise.std() == pytest.approx(0.2, rel=0.05)
    assert abs(noise.mean()) < 0.02
    hidden = (spoil("occlusion", images[1]) == 0).all(axis=2)
    assert hidden.sum() == 16 * 16
    coarse = spoil("resolution", image)
    assert len(np.unique(coarse.reshape(-1, 3), axis=0)) <= 64
    np.testing.assert_allclose(coarse.mean(axis=(0, 1)), image.mean(axis=(0, 1)) / 255, atol=0.03)
    veiled = (spoil("fog", image) - image / 255) / (1 - image / 255)
    assert veiled.min() == pytest.approx(0.4)
    assert veiled.max() == pytest.approx(0.8)
    point = np.zeros((32, 32, 3), dtype=np.uint8)
    point[16, 16] = 255
    for seed in range(8):
        line = spoil("motion_blur", point, seed)
        np.testing.assert_allclose(line.sum(axis=(0, 1)), 1)
        assert 5 <= (line[..., 0] > 0).sum() <= 17


@pytest.mark.parametrize("shape", [(20, 2, 3, 3), (20, 7, 5, 1), (20, 64, 48, 3)])
def test_images_of_any_size(shape):
    images = np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)
    corrupted = corruptions.corrupt(images, 0.2, random_state=0)
    assert corrupted.images.shape == shape
    assert (corrupted.kinds >= 0).all()


@pytest.mark.parametrize(
    ("images", "share", "text"),
    [
        (np.zeros((5, 4, 4, 3)), 0.1, r"^images must be uint8 of shape .*; got float64 \(5, 4, 4, 3\)\.$"),
        (np.zeros((4, 4, 3), dtype=np.uint8), 0.1, r"^images must be uint8"),
        (np.zeros((5, 4, 4, 3), dtype=np.uint8), 0.21, r"^share=0\.21 is out of range"),
    ],
)
def test_corrupt_refuses(images, share, text):
    with pytest.raises(ValueError, match=text):
        corruptions.corrupt(images, share)


# -------------------------------------------------------------------------------------------------------- commands


def test_commands(images, tmp_path):
    np.save(tmp_path / "y.npy", np.arange(50) % 3)
    np.save(tmp_path / "x.npy", images[:50])
    for script, source in (("noise.py", "y.npy"), ("corruptions.py", "x.npy")):
        command = [sys.executable, ROOT / script, source, "out.npz", "--share", "0.1"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout.endswith("-> out.npz\n")
        with np.load(tmp_path / "out.npz") as held:
            assert set(held) in ({"labels", "indices"}, {"images", "kinds"})
            assert len(held["labels"] if script == "noise.py" else held["images"]) == 50
