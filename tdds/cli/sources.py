"""`tdds info`, `verify` and `convert`: what is in a trajectory, whether it is whole, one file of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from tdds.cli.common import (
    AsJson,
    Axes,
    Force,
    Ids,
    KindOption,
    Labels,
    MissingOption,
    SkipDamaged,
    Source,
    check_output,
    describe,
    err,
    open_source,
    out,
    plain,
    print_json,
    say,
    say_cost,
)


def info(
    source: Source,
    axes: Axes = None,
    kind: KindOption = None,
    missing: MissingOption = "error",
    as_json: AsJson = False,
) -> None:
    """Say what is in a trajectory, or in a scores file."""
    from tdds.tables import ScoreTable, is_scores

    if is_scores(Path(source)):
        table = ScoreTable.load(source)
        if as_json:
            return print_json({"n_samples": table.n_samples, "scores": list(table.scores)} | table.origin())
        what = {"scores": ", ".join(table.scores), "n_samples": table.n_samples, "created_by": table.created_by}
        what |= {f"{name} {key}": value for name, p in table.parameters.items() for key, value in p.items()}
        what |= {f"source {key}": value for key, value in table.source.items()}
    else:
        trajectory = open_source(source, axes, kind, missing)
        what = describe(trajectory) | _parts_apart(source) | {"scoring": _cost_of_scoring(trajectory)}
    if as_json:
        return print_json(what)
    width = max(map(len, what))
    for key, value in what.items():
        shown = f"{value:,}" if type(value) is int else str(value)
        out.print(f"[dim]{escape(plain(key)):{width}}[/dim]  {escape(plain(shown))}", highlight=False)
    return None


def _parts_apart(source: str | Path) -> dict[str, list[int]]:
    """How far each part of a store came, where they are more than an epoch apart: a process may have died for good."""
    from tdds.store import is_store, part_epochs

    n_epochs = part_epochs(source) if is_store(source) else [0]
    return {"part_epochs": n_epochs} if max(n_epochs) - min(n_epochs) > 1 else {}


def _cost_of_scoring(trajectory: Any) -> str:
    """What TDDS would take here, in words, or why it cannot be scored."""
    from tdds.estimate import estimate_cost
    from tdds.scores import TDDS, default_K

    try:
        return say_cost(estimate_cost(trajectory, {"tdds": TDDS(K=default_K(trajectory.n_epochs))}, n_jobs=-1))
    except ValueError as error:
        return str(error)


def verify(
    path: Annotated[Path, typer.Argument(metavar="STORE", help="A store, or a packed .h5.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Hold every value against its checksum.

    The exit status is 1 where an epoch is damaged.
    """
    from tdds import store
    from tdds.validation import name_epochs

    path = Path(str(path).removesuffix("::values"))
    report, apart = store.verify(path), _parts_apart(path)
    if as_json:
        print_json({"path": str(path), "n_epochs": len(report.epochs), "problems": report.problems} | apart)
    else:
        for problem in report.problems:
            say(problem)
        incomplete: dict[int, list[int]] = {}
        for epoch in report.epochs:
            if epoch.n_missing and not epoch.problems:
                incomplete.setdefault(epoch.n_missing, []).append(epoch.epoch)
        for n_missing, epochs in incomplete.items():
            lack = "lacks" if len(epochs) == 1 else "each lack"
            samples = f"sample{'s' * (n_missing > 1)}"
            say(f"{name_epochs(epochs).capitalize()} {lack} {n_missing:,} {samples}: score with --missing carry.")
        n_damaged = sum(bool(epoch.problems) for epoch in report.epochs)
        state = f"{n_damaged} of them damaged" if n_damaged else "all whole"
        state += f", and {len(report.strangers)} that are not of this store" if report.strangers else ""
        say(f"{path}: {len(report.epochs)} epochs, {state}.")
        for n_epochs in apart.values():
            say(f"Its parts came to {', '.join(map(str, n_epochs))} epochs; one counts when every part has it.")
    if report.problems:
        raise typer.Exit(1)


def convert(
    logs: Source,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The packed HDF5 trajectory.")],
    labels: Labels = None,
    ids: Ids = None,
    axes: Axes = None,
    kind: KindOption = None,
    missing: MissingOption = "error",
    skip_damaged: SkipDamaged = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Turn logs of any known form into one HDF5 file, samples first.

    A store is held against its checksums first, since the file gets new ones.
    """
    from tdds.engine import progress_bar
    from tdds.store import is_packed, is_store, pack

    check_output(output, force, logs, labels, ids)
    has_checksums = is_store(logs) or is_packed(logs.removesuffix("::values"))
    damaged = "skip" if skip_damaged else "error" if has_checksums else "unchecked"
    trajectory = open_source(logs, axes, kind, missing, labels, ids, damaged)
    with progress_bar("Converting", trajectory.n_samples, err.is_terminal) as advance:
        pack(trajectory, output, overwrite=force, progress=advance)
    what = describe(trajectory) | {"output": str(output), "bytes": output.stat().st_size}
    if as_json:
        return print_json(what)
    say(f"{trajectory!r} -> {output} ({what['bytes'] / 2**20:,.1f} MiB)")
    return None
