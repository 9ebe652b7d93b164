"""The five image corruptions that the TDDS paper tests: Gaussian noise, random occlusion, resolution, fog, motion blur.

    python data_tools/corruptions.py images.npy corrupted.npz --share 0.04 --random-state 0

Each corrupts its share of the images, none twice. The file that is written holds `images` and `kinds`, the place of
each image's corruption in `KINDS`, -1 for none. The paper names the five and not their strengths; those here leave most
images recognisable, and grow with the image.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import correlate, gaussian_filter, uniform_filter

from tdds.validation import check_real, random_generator


class Corrupted(NamedTuple):
    """Images, and for each the place of its corruption in `KINDS`, -1 for none."""

    images: np.ndarray
    kinds: np.ndarray


def gaussian_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A fifth of the range of noise."""
    return image + rng.normal(scale=0.2, size=image.shape)


def occlusion(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A black rectangle of half of each side, anywhere."""
    height, width, _ = image.shape
    top, left = rng.integers(height - height // 2 + 1), rng.integers(width - width // 2 + 1)
    out = image.copy()
    out[top : top + height // 2, left : left + width // 2] = 0
    return out


def resolution(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Squares of 4 x 4 pixels of 32 x 32, each of one colour."""
    side = max(1, min(image.shape[:2]) // 8)
    rows, columns = (np.minimum(np.arange(size) // side * side + side // 2, size - 1) for size in image.shape[:2])
    return uniform_filter(image, (side, side, 1))[rows][:, columns]


def fog(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A smooth white veil that hides 40 to 80 %."""
    veil = gaussian_filter(rng.normal(size=image.shape[:2]), max(image.shape) / 8, mode="wrap")
    veil = 0.4 + 0.4 * (veil - veil.min()) / np.ptp(veil)
    return image + veil[..., None] * (1 - image)


def motion_blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mean along a line of a quarter of the side, in any direction."""
    reach = max(1, min(image.shape[:2]) // 8)
    angle = rng.uniform(0, np.pi)
    along = np.linspace(-reach, reach, 4 * reach + 1)
    line = np.zeros((2 * reach + 1, 2 * reach + 1))
    np.add.at(line, tuple(np.rint(reach + along * f(angle)).astype(int) for f in (np.sin, np.cos)), 1 / len(along))
    return correlate(image, line[..., None], mode="nearest")


#: The corruptions: float images (height, width, channels) in [0, 1] in and out; what leaves the range is clipped.
KINDS: tuple[Callable[[np.ndarray, np.random.Generator], np.ndarray], ...] = (
    gaussian_noise,
    occlusion,
    resolution,
    fog,
    motion_blur,
)


def corrupt(images: Any, share: float = 0.04, *, random_state: Any = None) -> Corrupted:
    """Corrupt a share of the images by each of `KINDS`.

    Parameters
    ----------
    images : (n_samples, height, width, channels) uint8
        Left as they are.
    share : float in [0, 0.2], default 0.04
        Of each corruption: exactly round(share * n_samples) images, as far as there are any left.
    random_state : int, Generator, RandomState or None, default None

    Returns
    -------
    Corrupted
        uint8 images of that shape, and (n_samples,) int64.

    Raises
    ------
    ValueError, TypeError
        `share` is out of range, or these are no uint8 images.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(
            f"images must be uint8 of shape (n_samples, height, width, channels); got {images.dtype} {images.shape}."
        )
    n_each = round(check_real("share", share, 0, 1 / len(KINDS)) * len(images))
    rng = random_generator(random_state)
    order = rng.permutation(len(images))
    out, kinds = images.copy(), np.full(len(images), -1)
    for kind, spoil in enumerate(KINDS):
        for sample in order[kind * n_each : (kind + 1) * n_each]:
            spoiled = spoil(images[sample] / 255, rng)
            out[sample] = np.rint(255 * np.clip(spoiled, 0, 1))
            kinds[sample] = kind
    return Corrupted(out, kinds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help=".npy of uint8, (n_samples, height, width, channels)")
    parser.add_argument("output", type=Path, help=".npz to write")
    parser.add_argument("--share", type=float, default=0.04, help="of each corruption")
    parser.add_argument("--random-state", type=int, default=0)
    asked = parser.parse_args()
    corrupted = corrupt(np.load(asked.images), asked.share, random_state=asked.random_state)
    np.savez(asked.output, **corrupted._asdict())
    n_corrupted = int((corrupted.kinds >= 0).sum())
    print(f"{n_corrupted:,} of {len(corrupted.images):,} images corrupted -> {asked.output}")


if __name__ == "__main__":
    main()
