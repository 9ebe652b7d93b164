"""Corrupt a share of the images of a data set, seeded: Gaussian noise, occlusion, low resolution, fog, motion blur.

from data_tools.corruption import corrupt_images

X_train, indices = corrupt_images(X_train, 0.2, random_state=0)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter1d, zoom

from tdds.validation import check_real, random_generator


class CorruptedImages(NamedTuple):
    """All images, and the ascending indices of those that were corrupted."""

    images: np.ndarray
    indices: np.ndarray


def gaussian_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise of a fifth of the range."""
    return image + rng.normal(scale=51, size=image.shape)


def occlusion(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A black square over a quarter of the image."""
    height, width, _ = image.shape
    top, left = rng.integers(height // 2 + 1), rng.integers(width // 2 + 1)
    out = image.copy()
    out[top : top + height // 2, left : left + width // 2] = 0
    return out


def low_resolution(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every fourth pixel, enlarged."""
    return image[::4, ::4].repeat(4, axis=0).repeat(4, axis=1)[: image.shape[0], : image.shape[1]]


def fog(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A smooth white veil that lets 30 to 70 % through."""
    height, width, _ = image.shape
    veil = zoom(rng.uniform(0.3, 0.7, size=(4, 4)), (height / 4, width / 4), order=1)[..., None]
    return image * (1 - veil) + 255 * veil


def motion_blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mean of nine pixels along rows or columns."""
    return uniform_filter1d(image, 9, axis=int(rng.integers(2)), mode="nearest")


KINDS: tuple[Callable[[np.ndarray, np.random.Generator], np.ndarray], ...] = (
    gaussian_noise,
    occlusion,
    low_resolution,
    fog,
    motion_blur,
)


def corrupt_images(images: np.ndarray, share: float, *, random_state: Any = None) -> CorruptedImages:
    """Corrupt exactly round(share * n) images, equally many by each of `KINDS` as far as that divides.

    Parameters
    ----------
    images : (n, height, width, channels) uint8
        Left as it is.
    share : float in [0, 1]
    random_state : int, Generator, RandomState or None, default None

    Returns
    -------
    CorruptedImages

    Raises
    ------
    ValueError, TypeError
        `share` is out of range.
    """
    rng = random_generator(random_state)
    chosen = rng.permutation(len(images))[: round(check_real("share", share, 0, 1) * len(images))]
    out = images.copy()
    for i, sample in enumerate(chosen):
        spoiled = KINDS[i % len(KINDS)](images[sample].astype(np.float64), rng)
        out[sample] = np.clip(np.rint(spoiled), 0, 255)
    return CorruptedImages(out, np.sort(chosen))
