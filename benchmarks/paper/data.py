"""The images that the experiments train on: loaded once, spoiled where asked, kept on the device, cropped there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data_tools.corruptions import KINDS, corrupt
from data_tools.images import Images, load_cifar, load_digits_images
from data_tools.noise import symmetric_noise

PAD = 4
SPOILED_SHARE = 0.2
#: What is done to a fifth of the training data, the test data left alone (Tables 9 and 10).
VARIANTS = ("clean", "corrupted", "label_noise")


@dataclass(frozen=True)
class Dataset:
    """A data set on its device."""

    name: str
    variant: str
    sha256: str  # of training and test data as they are trained on
    images: Tensor  # (n, 32 + 2 PAD, 32 + 2 PAD, 3) uint8
    labels: Tensor
    test_images: Tensor  # (n_test, 32, 32, 3) uint8
    test_labels: Tensor
    mean: Tensor  # of each channel
    std: Tensor
    n_classes: int
    spoiled: np.ndarray  # which training samples are corrupted or mislabelled

    def __len__(self) -> int:
        return len(self.labels)

    def crops(self, samples: Tensor, generator: torch.Generator) -> Tensor:
        """Random crops of the padded images, half of them mirrored unless they are digits."""
        n, size, device = len(samples), self.test_images.shape[1], samples.device
        row, column = torch.randint(2 * PAD + 1, (2, n, 1), generator=generator, device=device)
        pixels = torch.arange(size, device=device)
        columns = column + pixels
        if self.name != "digits":
            mirrored = torch.rand((n, 1), generator=generator, device=device) < 0.5
            columns = torch.where(mirrored, columns.flip(1), columns)
        return self.normalise(self.images[samples[:, None, None], (row + pixels)[:, :, None], columns[:, None]])

    def normalise(self, images: Tensor) -> Tensor:
        """(n, 3, height, width) float32, channels last in memory."""
        return ((images.float() - self.mean) / self.std).permute(0, 3, 1, 2)


@lru_cache(maxsize=2)
def _read(path: Path | None, n_train: int | None) -> Images:
    return load_digits_images() if path is None else load_cifar(path, n_train)


@lru_cache(maxsize=2)
def load_dataset(
    name: str, path: Path | None, n_train: int | None = None, variant: str = "clean", device: str = "cpu"
) -> Dataset:
    """CIFAR at `path`, or scikit-learn's digits where that is None; `n_train`: at most so many training images.

    Raises
    ------
    ValueError
        What lies at the path is another data set.
    FileNotFoundError
        There is nothing at the path; says what to download.
    """
    X_train, y_train, X_test, y_test, class_names = _read(path, n_train)
    if path is not None and name != f"cifar{len(class_names)}":
        raise ValueError(f"{path} holds {len(class_names)} classes; expected {name}.")
    spoiled = np.array([], dtype=np.int64)
    if variant == "corrupted":
        X_train, kinds = corrupt(X_train, SPOILED_SHARE / len(KINDS), random_state=0)
        spoiled = np.flatnonzero(kinds >= 0)
    elif variant == "label_noise":
        y_train, spoiled = symmetric_noise(y_train, SPOILED_SHARE, n_classes=len(class_names), random_state=0)
    some = X_train[:: -(-len(X_train) // 5000)].reshape(-1, 3).astype(np.float32)
    arrays = np.pad(X_train, ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0))), y_train, X_test, y_test
    tensors = (torch.as_tensor(array, device=device) for array in (*arrays, some.mean(axis=0), some.std(axis=0)))
    return Dataset(name, variant, _sha256(X_train, y_train, X_test, y_test), *tensors, len(class_names), spoiled)


def _sha256(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
