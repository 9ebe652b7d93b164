"""The paper's experiments, as data: each is a list of training runs and the table that they fill."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from benchmarks.paper.cells import Cell
from benchmarks.paper.data import VARIANTS
from benchmarks.paper.settings import SCALES, Scale
from tdds.samplers import SAMPLERS, WEIGHTINGS
from tdds.scores import METHODS, TDDS

Cells = Callable[[Scale], Iterator[Cell]]


@dataclass(frozen=True)
class Experiment:
    """A table: its cells, what its rows and columns are, what of a result it shows.

    A `paired` table sets beside each other what differs by less than seeds do: of each place it takes the seeds that
    all of its places have.
    """

    title: str
    cells: Cells
    rows: str = "label"
    columns: str = "pruning_rate"
    shows: str = "accuracy"
    paired: bool = False

    def place(self, cell: Cell, scale: Scale) -> tuple[Any, Any]:
        """The row and the column of the table that a cell belongs to."""
        return _value(cell, self.rows, scale), _value(cell, self.columns, scale)


def _value(cell: Cell, axis: str, scale: Scale) -> Any:
    if axis == "label":
        return cell.label(usual_windows(scale, cell.method, cell.dataset, cell.pruning_rate))
    if axis == "networks":
        return f"{cell.recorded_network} -> {cell.network}"
    if axis == "recordings":
        return ", ".join(map(str, cell.recordings))
    for holder in (cell, cell.training):
        if hasattr(holder, axis):
            return getattr(holder, axis)
    return cell.parameters.get(axis, getattr(METHODS[cell.method], axis))


#: Cells to compare, as changes of a `Cell`, for a scale, a data set and a pruning rate.
Contenders = Callable[[Scale, str, float], list[dict[str, Any]]]
Changes = Callable[[Scale], list[dict[str, Any]]]


def usual_windows(scale: Scale, method: str, dataset: str, rate: float) -> dict[str, int]:
    """T and K of a method that has windows."""
    if method == "tdds":
        return dict(zip("TK", scale.windows[dataset][rate], strict=True))
    return {"K": scale.width} if method in ("dyn_unc", "dual") else {}


def tdds(scale: Scale, dataset: str, rate: float, **changes: Any) -> dict[str, Any]:
    """TDDS with the T and K of that data set and pruning rate, but for `changes`."""
    changes = {name: value for name, value in changes.items() if name == "K" or value != getattr(TDDS, name)}
    return {"method": "tdds", "parameters": usual_windows(scale, "tdds", dataset, rate) | changes}


def other(scale: Scale, method: str, **more: str) -> dict[str, Any]:
    return {"method": method, "parameters": usual_windows(scale, method, "", 0), **more}


def leading(scale: Scale, dataset: str, rate: float) -> list[dict[str, Any]]:
    """What is compared wherever everything would be too much."""
    own = tdds(scale, dataset, rate)
    return [
        other(scale, "random"),
        own,
        tdds(scale, dataset, rate, formulation="reference"),
        own | {"sampler": "beta"},
        other(scale, "dyn_unc"),
        other(scale, "dual", sampler="beta"),
        other(scale, "aum", sampler="stratified"),
    ]


def everything(scale: Scale, dataset: str, rate: float) -> list[dict[str, Any]]:
    """TDDS by every sampler, every other method, and the opposite end of each that has one."""
    own = tdds(scale, dataset, rate)
    plain = [own, *(other(scale, method) for method in METHODS if method not in ("tdds", "random"))]
    turned = [one | {"end": "opposite"} for one in plain if METHODS[one["method"]].keeps in ("largest", "smallest")]
    sampled = [own | {"sampler": sampler} for sampler in SAMPLERS if sampler != "random"]
    return [*leading(scale, dataset, rate), *plain, *sampled, *turned]


def everything_at_highest(scale: Scale, dataset: str, rate: float) -> list[dict[str, Any]]:
    return (everything if rate == max(SCALES[scale.name].rates) else leading)(scale, dataset, rate)


def grid(scale: Scale, dataset: str, rate: float) -> list[dict[str, Any]]:
    return [{"method": "tdds", "parameters": {"T": T, "K": K}} for T, K in product(*scale.grid) if K <= T]


def betas(scale: Scale, dataset: str, rate: float) -> list[dict[str, Any]]:
    return [tdds(scale, dataset, rate, beta=beta) for beta in (0, 0.1, 0.3, 0.5, 0.7, 0.9, 1)]


def ablations(scale: Scale, dataset: str, rate: float) -> list[dict[str, Any]]:
    """What is taken the variance of, with or without its sign, in one window or in many."""
    T, _ = scale.windows[dataset][rate]
    return [
        tdds(scale, dataset, rate),
        tdds(scale, dataset, rate, loss="ce"),
        tdds(scale, dataset, rate, loss="ce", magnitude=False),
        tdds(scale, dataset, rate, loss="el2n"),
        tdds(scale, dataset, rate, beta=0),
        tdds(scale, dataset, rate, K=T),
        other(scale, "random"),
    ]


def weightings(scale: Scale, dataset: str, rate: float) -> list[dict[str, Any]]:
    """Eq. 13 in every form, beside training without weights."""
    both = [tdds(scale, dataset, rate, formulation=formulation) for formulation in ("paper", "reference")]
    return [other(scale, "random")] + [one | {"weighting": weighting} for one in both for weighting in WEIGHTINGS]


def formulations(scale: Scale, dataset: str, rate: float) -> list[dict[str, Any]]:
    """What might stand behind the published numbers at the highest rate."""
    both = [tdds(scale, dataset, rate, formulation=formulation) for formulation in ("paper", "reference")]
    return [one | {"weighting": weighting} for one in both for weighting in ("none", "batch_mean")]


def cell(scale: Scale, dataset: str, rate: float, seed: int, contender: Mapping[str, Any]) -> Cell:
    """A training run of that scale; `contender` holds what it changes of the cell or of its schedule."""
    schedule = replace(scale.training, batch=scale.batches.get(rate, scale.training.batch))
    budget = contender.get("budget", "epochs")
    epochs = {"epochs": schedule.epochs, "steps": round(schedule.epochs / (1 - rate)), "none": 0}[budget]
    of_schedule = contender.keys() & {"batch", "lr", "weight_decay"}
    schedule = replace(schedule, epochs=epochs, **{name: contender[name] for name in of_schedule})
    usual = {"network": scale.network, "recorded_network": scale.network, "recording": scale.recording}
    own = usual | {name: value for name, value in contender.items() if name not in of_schedule}
    return Cell(dataset=dataset, pruning_rate=rate, seed=seed, training=schedule, **own)


def unchanged(scale: Scale) -> list[dict[str, Any]]:
    return [{}]


def compare(contenders: Contenders, changes: Changes = unchanged, *, highest: bool = False) -> Cells:
    """Every contender with each of `changes` and every seed, at every pruning rate or the `highest` alone."""

    def cells(scale: Scale) -> Iterator[Cell]:
        for dataset, rate in product(scale.datasets, [max(scale.rates)] if highest else scale.rates):
            for contender, more in product(contenders(scale, dataset, rate), changes(scale)):
                changed = contender | more
                for seed in scale.seeds if changed.get("budget") != "none" else scale.seeds[:1]:
                    yield cell(scale, dataset, rate, seed, changed)

    return cells


def learning_rates(scale: Scale) -> list[dict[str, Any]]:
    return [{"lr": scale.training.lr * factor} for factor in (1, 0.5, 0.25)]


def across(scale: Scale) -> list[dict[str, Any]]:
    """Selected with one network, trained with another."""
    pairs = [(scale.network, other) for other in scale.other_networks]
    pairs = [(scale.network, scale.network), *pairs, *(pair[::-1] for pair in pairs)]
    return [{"recorded_network": recorded, "network": trained} for recorded, trained in pairs]


def averages(scale: Scale) -> list[dict[str, Any]]:
    """Each recording alone, the first two, all of them."""
    alone = [(seed,) for seed in scale.recordings]
    return [{"recordings": seeds} for seeds in (*alone, scale.recordings[:2], scale.recordings)]


EXPERIMENTS = {
    "table1": Experiment("Table 1: all methods, as many epochs at every pruning rate", compare(everything_at_highest)),
    "table2": Experiment(
        "Table 2: epochs divided by 1 - p, as many images seen at every pruning rate",
        compare(leading, lambda scale: [{"budget": "steps"}]),
    ),
    "fig4": Experiment("Figures 4 and 7: T and K", compare(grid, highest=True), rows="T", columns="K"),
    "fig5": Experiment("Figure 5: beta", compare(betas, highest=True), rows="beta", paired=True),
    "table5": Experiment(
        "Figure 6 and Table 5: ablations", compare(ablations, learning_rates, highest=True), columns="lr", paired=True
    ),
    "table6": Experiment(
        "Table 6: batch size",
        compare(leading, lambda scale: [{"batch": batch} for batch in (16, 32, 64, 128)], highest=True),
        columns="batch",
    ),
    "table7": Experiment(
        "Tables 7 and 8: selected with one network, trained with another",
        compare(leading, across, highest=True),
        columns="networks",
    ),
    "table9": Experiment(
        "Tables 9 and 10: a fifth of the images corrupted, of the labels replaced",
        compare(leading, lambda scale: [{"variant": variant} for variant in VARIANTS], highest=True),
        columns="variant",
        paired=True,
    ),
    "corrupted": Experiment(
        "Of the samples kept, the share that was corrupted",
        compare(everything, lambda scale: [{"variant": "corrupted", "budget": "none"}]),
        shows="spoiled_share",
    ),
    "mislabelled": Experiment(
        "Of the samples kept, the share that was mislabelled",
        compare(everything, lambda scale: [{"variant": "label_noise", "budget": "none"}]),
        shows="spoiled_share",
    ),
    "weights": Experiment(
        "Importance weights against the learning rate",
        compare(weightings, learning_rates, highest=True),
        columns="lr",
        paired=True,
    ),
    "rates": Experiment(
        "The leading methods at three learning rates",
        compare(leading, learning_rates, highest=True),
        columns="lr",
        paired=True,
    ),
    "decay": Experiment(
        "The highest rate: formulation, weights and weight decay",
        compare(formulations, lambda scale: [{"weight_decay": decay} for decay in (5e-4, 7e-4)], highest=True),
        columns="weight_decay",
    ),
    "noise_floor": Experiment(
        "Noise floor: recordings that differ only in seed, and the averages of their scores",
        compare(leading, averages, highest=True),
        columns="recordings",
        paired=True,
    ),
    "overlap": Experiment(
        "Of a coreset, the share that the recording of seed 0 chooses too",
        compare(everything, lambda scale: [{"recordings": (seed,), "budget": "none"} for seed in scale.recordings[1:]]),
        shows="shared",
    ),
}
