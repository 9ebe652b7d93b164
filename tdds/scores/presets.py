"""The settings (p, T, K) that the TDDS paper publishes; beta = 0.9 throughout."""

from __future__ import annotations

import warnings

from tdds.validation import check_choice, check_real

#: T and K by data set and network, and pruning rate.
PRESETS: dict[str, dict[float, tuple[int, int]]] = {
    "cifar10-resnet18": {0.3: (70, 10), 0.5: (90, 10), 0.7: (80, 10), 0.8: (30, 10), 0.9: (10, 5)},
    "cifar100-resnet18": {0.3: (90, 10), 0.5: (70, 10), 0.7: (60, 20), 0.8: (20, 10), 0.9: (10, 5)},
    "imagenet-resnet34": {0.3: (20, 10), 0.5: (20, 10), 0.7: (30, 20)},
    "imagenet-swint": {0.25: (200, 10), 0.3: (180, 10), 0.4: (150, 10), 0.5: (100, 10)},
}


def preset(name: str, pruning_rate: float) -> tuple[int, int]:
    """T and K of `name` at `pruning_rate`; where none are published there, those of the nearest rate below, or else
    of the lowest, with a warning.

    Raises
    ------
    ValueError, TypeError
        There is no such preset, or the rate is not in [0, 1).
    """
    check_choice("name", name, tuple(PRESETS))
    rate = check_real("pruning_rate", pruning_rate, 0, 1, high_is_legal=False)
    published = PRESETS[name]
    nearest = max((p for p in published if p <= rate + 1e-9), default=min(published))
    if abs(nearest - rate) > 1e-9:
        T, K = published[nearest]
        warnings.warn(
            f"{name} publishes no T and K for pruning_rate={rate:g}, only for {', '.join(map(str, published))}; "
            f"taking T={T}, K={K} of {nearest:g}.",
            stacklevel=3,
        )
    return published[nearest]
