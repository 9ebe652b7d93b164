"""Every setting of the three scales, in one place.

`quick` is for a first try and for CI, `cpu` for two cores and some hours, `paper` for a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.paper.training import Schedule

#: T and K by pruning rate, of the paper's 200 epochs.
PAPER_WINDOWS = {
    "cifar10": {0.3: (70, 10), 0.5: (90, 10), 0.7: (80, 10), 0.8: (30, 10), 0.9: (10, 5)},
    "cifar100": {0.3: (90, 10), 0.5: (70, 10), 0.7: (60, 20), 0.8: (20, 10), 0.9: (10, 5)},
}


@dataclass(frozen=True)
class Scale:
    """What is trained, on what, for how long."""

    name: str
    datasets: tuple[str, ...]
    n_train: int | None  # at most so many training images
    network: str
    other_networks: tuple[str, ...]  # of Tables 7 and 8
    recording: Schedule  # of the run on all data whose trajectory is recorded
    training: Schedule  # on a coreset, where the pruning rate says nothing else
    batches: Mapping[float, int]  # by pruning rate, in the place of that of `training`
    windows: Mapping[str, Mapping[float, tuple[int, int]]]  # T and K of TDDS, by data set and pruning rate
    width: int  # K of the other methods that have windows
    grid: tuple[tuple[int, ...], tuple[int, ...]]  # T and K of Figures 4 and 7
    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    recordings: tuple[int, ...] = (0, 1, 2)  # the seeds of those whose differences are measured


QUICK = Scale(
    name="quick",
    datasets=("digits",),
    n_train=10_000,
    network="tiny",
    other_networks=("tiny_plain",),
    recording=Schedule(epochs=8, batch=32, lr=0.2, shape="one_cycle"),
    training=Schedule(epochs=40, batch=32, lr=0.1),
    batches={0.9: 16},
    windows=dict.fromkeys(("digits", "cifar10", "cifar100"), dict.fromkeys((0.5, 0.7, 0.9), (6, 4))),
    width=4,
    grid=((4, 6, 8), (3, 4)),
    rates=(0.5, 0.7, 0.9),
    seeds=(0, 1, 2),
)

CPU = Scale(
    name="cpu",
    datasets=("cifar10", "cifar100"),
    n_train=None,
    network="small",
    other_networks=("small_wide", "small_plain"),
    recording=Schedule(epochs=24, batch=128, lr=0.2, shape="one_cycle"),
    training=Schedule(epochs=50, batch=128, lr=0.05),
    batches={0.9: 32},
    windows={
        "cifar10": {0.5: (12, 10), 0.7: (12, 10), 0.9: (4, 3)},
        "cifar100": {0.5: (12, 10), 0.7: (12, 10), 0.9: (6, 5)},
    },
    width=10,
    grid=((4, 6, 8, 10, 14, 24), (3, 5, 10)),
    rates=(0.9, 0.7, 0.5),
    seeds=(0, 1, 2),
)

PAPER = Scale(
    name="paper",
    datasets=("cifar10", "cifar100"),
    n_train=None,
    network="resnet18",
    other_networks=("resnet34", "plain18"),
    recording=Schedule(epochs=200, batch=128, lr=0.1),
    training=Schedule(epochs=200, batch=128, lr=0.1),
    batches={0.8: 64, 0.9: 32},
    windows=PAPER_WINDOWS,
    width=10,
    grid=((10, 20, 30, 50, 70, 90, 150, 200), (5, 10, 20)),
    rates=(0.9, 0.8, 0.7, 0.5, 0.3),
    seeds=(0, 1, 2, 3, 4),
)

SCALES = {scale.name: scale for scale in (QUICK, CPU, PAPER)}
