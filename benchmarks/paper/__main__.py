"""The experiments of the TDDS paper, on real images. From the root of the repository:

    python -m benchmarks.paper run table1 --scale quick
    python -m benchmarks.paper run table1 fig4 --scale cpu --data cifar100=cifar-100-python.tar.gz --jobs 2
    python -m benchmarks.paper tables --scale cpu
    python -m benchmarks.paper rebuild 17 -o coreset.npy

Every training run adds a line to the results file; what has one is not run again.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.paper.data import VARIANTS
from benchmarks.paper.experiments import EXPERIMENTS
from benchmarks.paper.results import Results
from benchmarks.paper.run import Workplace, rebuild, run
from benchmarks.paper.settings import SCALES, Scale

ROOT = Path(__file__).parents[2]


def main(arguments: list[str] | None = None) -> None:
    asked = parser().parse_args(arguments)
    try:
        asked.command(asked)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


def parser() -> argparse.ArgumentParser:
    results = argparse.ArgumentParser(add_help=False)
    results.add_argument("--results", type=Path, default=ROOT / "docs" / "results" / "results.jsonl")

    scale = argparse.ArgumentParser(add_help=False)
    scale.add_argument("--scale", choices=SCALES, default="quick")
    scale.add_argument("--datasets", nargs="+", metavar="NAME", help="digits, cifar10, cifar100")
    scale.add_argument("--rates", nargs="+", type=float, metavar="P", help="pruning rates, the share removed")
    scale.add_argument("--seeds", nargs="+", type=int, metavar="SEED")
    scale.add_argument(
        "--recordings", nargs="+", type=int, metavar="SEED", help="of the trajectories whose differences are measured"
    )
    scale.add_argument("--epochs", type=int, help="of training on a coreset")
    scale.add_argument("--lr", type=float, help="of training on a coreset")

    work = argparse.ArgumentParser(add_help=False)
    work.add_argument(
        "--runs", type=Path, default=ROOT / "runs", help="where recordings lie: 10 MB an epoch of CIFAR-100"
    )
    work.add_argument("--data", nargs="+", default=[], metavar="NAME=PATH", help="e.g. cifar10=cifar-10-python.tar.gz")
    work.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")

    whole = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = whole.add_subparsers(required=True)
    of_run = commands.add_parser("run", parents=[results, scale, work], help="run experiments, but not what is done")
    of_run.add_argument(
        "experiments", nargs="+", choices=EXPERIMENTS, metavar="EXPERIMENT", help=", ".join(EXPERIMENTS)
    )
    of_run.add_argument("--only", nargs="+", metavar="LABEL", help="as a run prints them: random 'tdds, T=6, K=5'")
    of_run.add_argument("--variants", nargs="+", choices=VARIANTS, help="of the training data; all that are compared")
    of_run.add_argument("--jobs", type=int, default=1, help="training runs side by side")
    of_run.add_argument("--threads", type=int, default=1, help="of each of them, on a CPU")
    of_run.add_argument("--compile", action="store_true", help="torch.compile with CUDA graphs")
    of_run.set_defaults(command=run_command)
    of_tables = commands.add_parser("tables", parents=[results, scale], help="write the tables and pictures of a scale")
    of_tables.add_argument("-o", "--output", type=Path, metavar="PAGE.md", help="pictures go to images/ beside it")
    of_tables.set_defaults(command=tables_command)
    of_rebuild = commands.add_parser("rebuild", parents=[results, work], help="the coreset of a line of the results")
    of_rebuild.add_argument("line", type=int, help="from 1")
    of_rebuild.add_argument("-o", "--output", type=Path, required=True, help=".npy of indices")
    of_rebuild.set_defaults(command=rebuild_command)
    return whole


def run_command(asked: argparse.Namespace) -> None:
    scale = asked_scale(asked)
    cells = [cell for name in asked.experiments for cell in EXPERIMENTS[name].cells(scale)]
    if asked.only:
        labels = {cell.label() for cell in cells}
        if unknown := set(asked.only) - labels:
            raise ValueError(f"--only {sorted(unknown)}; expected of {sorted(labels)}.")
        cells = [cell for cell in cells if cell.label() in asked.only]
    if asked.variants:
        cells = [cell for cell in cells if cell.variant in asked.variants]
    more = {"compiled": asked.compile, "n_jobs": asked.jobs, "n_threads": asked.threads}
    run(cells, workplace(asked, scale, **more), Results(asked.results))


def tables_command(asked: argparse.Namespace) -> None:
    from benchmarks.paper.tables import write

    page = asked.output or ROOT / "docs" / "results" / f"{asked.scale}.md"
    write(asked_scale(asked), Results(asked.results), page)
    print(page)


def rebuild_command(asked: argparse.Namespace) -> None:
    lines = asked.results.read_text().splitlines()
    if not 1 <= asked.line <= len(lines):
        raise ValueError(f"Line {asked.line} is not there: {asked.results} has {len(lines)}.")
    row = json.loads(lines[asked.line - 1])
    indices = rebuild(row, workplace(asked, SCALES[row["scale"]]))
    np.save(asked.output, indices)
    print(f"{len(indices):,} indices, sha256 {row['coreset_sha256']} -> {asked.output}")


def asked_scale(asked: argparse.Namespace) -> Scale:
    """The scale with what the command line changes of it."""
    scale = SCALES[asked.scale]
    changes = {
        name: tuple(value) for name in ("datasets", "rates", "seeds", "recordings") if (value := getattr(asked, name))
    }
    schedule = {name: value for name in ("epochs", "lr") if (value := getattr(asked, name))}
    changed = replace(scale, training=replace(scale.training, **schedule), **changes)
    for dataset in changed.datasets:
        windows = scale.windows.get(dataset, {})
        if missing := set(changed.rates) - set(windows):
            known = ", ".join(map(str, windows)) or "none"
            raise ValueError(f"--scale {asked.scale} has no T and K of {dataset} at {min(missing)}; expected {known}.")
    return changed


def workplace(asked: argparse.Namespace, scale: Scale, **more: Any) -> Workplace:
    paths = dict(item.split("=", 1) for item in asked.data)
    return Workplace(scale, asked.runs, {name: Path(path) for name, path in paths.items()}, asked.device, **more)


if __name__ == "__main__":
    main()
