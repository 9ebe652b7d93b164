"""Run experiments: record what is not recorded, choose the coresets, train on each, add a row for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed

from benchmarks.paper.cells import Cell
from benchmarks.paper.data import Dataset, load_dataset
from benchmarks.paper.results import Results, machine, sha256_of
from benchmarks.paper.selection import Recording, choose, has_features, recordings_of
from benchmarks.paper.settings import Scale
from benchmarks.paper.training import Training, precision, record
from tdds.samplers import Coreset


@dataclass(frozen=True)
class Workplace:
    """Where the data and the recordings lie, and what trains."""

    scale: Scale
    runs: Path
    data: Mapping[str, Path] = field(default_factory=dict)
    device: str = "cpu"
    compiled: bool = False
    n_jobs: int = 1  # training runs side by side
    n_threads: int = 1  # of each, on a CPU: with a second one, small networks mostly wait for the slower of the two

    def load(self, cell: Cell) -> Dataset:
        path = self.data.get(cell.dataset)
        if path is None and cell.dataset != "digits":
            raise ValueError(f"No path of {cell.dataset}: pass --data {cell.dataset}=PATH, an archive or a JPEG pack.")
        return load_dataset(cell.dataset, path, self.scale.n_train, cell.variant, self.device)

    def folders(self, cells: Iterable[Cell], dataset: Dataset) -> dict[Recording, Path]:
        """Where each recording that the cells need lies, or will."""
        data = self.runs / f"{dataset.name}-{dataset.variant}-{dataset.sha256[:8]}"
        return {
            (network, schedule, seed): data / f"{network}-{schedule}-seed{seed}"
            for cell in cells
            for network, schedule, seed in recordings_of(cell)
        }


def run(cells: Iterable[Cell], work: Workplace, results: Results) -> None:
    """Add the rows that `results` lacks, `work.n_jobs` training runs at a time."""
    torch.set_num_threads(work.n_threads)
    ordered = sorted({cell.key: cell for cell in cells}.values(), key=lambda cell: (cell.dataset, cell.variant))
    for _, group in groupby(ordered, key=lambda cell: (cell.dataset, cell.variant)):
        asked = list(group)
        dataset = work.load(asked[0])
        pending = [cell for cell in asked if results.get(cell, dataset.sha256) is None]
        if not pending:
            print(f"{dataset.name} ({dataset.variant}): all {len(asked)} are in {results.path}; nothing is run")
        folders = work.folders(_with_seed_0(pending), dataset)
        for recording, folder in folders.items():
            row = _record(recording, folder, dataset, work)
            if results.get(Cell.of(row), dataset.sha256) is None:
                results.append(row)
        possible = [cell for cell in pending if has_features(_with_seed_0([cell]), folders)]
        if len(possible) < len(pending):
            print(f"{len(pending) - len(possible)} of moderate left out: {dataset.name} was recorded without features")
        coresets = choose(_with_seed_0(possible), dataset, folders)
        rows = Parallel(work.n_jobs, return_as="generator_unordered")(
            delayed(_train)(cell, work, coresets[cell.key], coresets[_of_seed_0(cell).key]) for cell in possible
        )
        for n_done, row in enumerate(rows, len(asked) - len(possible) + 1):
            results.append(row)
            print(f"{n_done}/{len(asked)} {_sentence(row)}", flush=True)


def rebuild(row: Mapping[str, Any], work: Workplace) -> np.ndarray:
    """The indices of the coreset that a row was trained on.

    Raises
    ------
    ValueError
        The data are others than the row's, or the recording is.
    """
    cell = Cell.of(row)
    dataset = work.load(cell)
    if dataset.sha256 != row["dataset_sha256"]:
        raise ValueError(f"{cell.dataset} has sha256 {dataset.sha256}; the row was made on {row['dataset_sha256']}.")
    indices = choose([cell], dataset, work.folders([cell], dataset))[cell.key].indices
    if sha256_of(indices) != row["coreset_sha256"]:
        raise ValueError(
            "The coreset is another than the row's: its trajectory was recorded anew, or it is one of TDDS from before "
            "Eq. 10 was taken less rounding; docs/results/README.md says how to rebuild those."
        )
    return indices


def _with_seed_0(cells: Iterable[Cell]) -> list[Cell]:
    """The cells, and what each would be if it were of the recording of seed 0 alone."""
    return [one for cell in cells for one in (cell, _of_seed_0(cell))]


def _of_seed_0(cell: Cell) -> Cell:
    """What the recording of seed 0 alone would choose."""
    return replace(cell, recordings=(0,))


def _record(recording: Recording, folder: Path, dataset: Dataset, work: Workplace) -> dict[str, Any]:
    """Record unless that is done: a training run on all data, and a row like any other."""
    network, schedule, seed = recording
    history = record(folder, network, dataset, schedule, seed, work.compiled)
    cell = Cell(dataset.name, "full", 0.0, seed, network, schedule, network, schedule, variant=dataset.variant)
    return _row(cell, dataset, work, np.arange(len(dataset))) | history | {"accuracy": history["accuracies"][-1]}


def _train(cell: Cell, work: Workplace, coreset: Coreset, of_seed_0: Coreset) -> dict[str, Any]:
    torch.set_num_threads(work.n_threads)
    dataset = work.load(cell)
    row = _row(cell, dataset, work, coreset.indices)
    if cell.budget != "none":
        chosen = coreset.indices, coreset.weights, cell.weighting
        training = Training(cell.network, dataset, cell.training, cell.seed, *chosen, compiled=work.compiled)
        for _ in range(cell.training.epochs):
            training.epoch()
        row |= {"accuracy": training.test(), "seconds": training.seconds}
    if cell.recordings != (0,):
        shared = np.isin(coreset.indices, of_seed_0.indices).mean()
        # a random choice does not hang on the recording; what two of them share is chance
        row["shared"] = len(coreset.indices) / len(dataset) if cell.method == "random" else float(shared)
    if len(dataset.spoiled):
        row["spoiled_share"] = float(np.isin(coreset.indices, dataset.spoiled).mean())
    return row


def _row(cell: Cell, dataset: Dataset, work: Workplace, indices: np.ndarray) -> dict[str, Any]:
    """A row but for its outcome."""
    return asdict(cell) | {
        "scale": work.scale.name,
        "dataset_sha256": dataset.sha256,
        "n_train": len(dataset),
        "n_kept": len(indices),
        "coreset_sha256": sha256_of(indices),
        "steps": cell.training.steps(len(indices)),
        "device": work.device,
        "precision": precision(work.device),
        "compiled": work.compiled,
        "n_threads": work.n_threads,
        "date": date.today().isoformat(),
        **machine(work.device),
    }


def _sentence(row: Mapping[str, Any]) -> str:
    outcome = f"{row['accuracy']:.1%} in {row['seconds']:.0f} s" if "accuracy" in row else "chosen"
    how = f"p={row['pruning_rate']}, lr {row['training']['lr']:g}, seed {row['seed']}"
    return f"{row['dataset']} ({row['variant']}), {how}, {Cell.of(row).label()}: {outcome}"
