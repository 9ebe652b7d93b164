"""`tdds select`: from scores to a coreset."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from tdds.cli.common import (
    AsJson,
    Force,
    Scores,
    Seed,
    check_output,
    out,
    parse_keep,
    print_json,
    say,
    typed_command,
)


def select(
    scores: Scores,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="Where the kept samples go: .npz, .csv, .txt, .parquet."),
    ],
    pruning_rate: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Share to REMOVE: 0.9 keeps a tenth.", show_default=False),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(metavar="SHARE|COUNT", help="What to KEEP: 0.1 is a tenth, 5000 a count.", show_default=False),
    ] = None,
    method: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which of the file's scores.", show_default="the only one")
    ] = None,
    sampler: Annotated[
        Literal["top", "random", "class_balanced", "stratified", "beta"],
        typer.Option(
            metavar="NAME",
            help="How scores become a coreset: top, random, class_balanced; stratified, which needs aum in the file as "
            "well; beta, which needs confidence.",
        ),
    ] = "top",
    random_state: Seed = None,
    weighting: Annotated[
        Literal["none", "root", "per_sample", "batch_mean"],
        typer.Option(
            metavar="NAME", help="Importance weights: none, or root, per_sample, batch_mean (Eq. 13 of the paper)."
        ),
    ] = "none",
    all_rows: Annotated[
        bool, typer.Option("--all-rows", help="Write every sample, with its scores and whether it is kept.")
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Keep the samples with the best scores, and their training weights."""
    from tdds.samplers import SAMPLERS, count_kept, draw_coreset
    from tdds.summaries import class_counts
    from tdds.tables import ScoreTable, selection_writer, write_all_rows, write_selection

    check_output(output, force, scores)
    selection_writer(output)
    table = ScoreTable.load(scores)
    if method is None:
        if len(table.scores) > 1:
            raise ValueError(f"Say --method: {scores} holds {', '.join(table.scores)}.")
        (method,) = table.scores
    values = _column(table, scores, method, f"--method {method} is not there")
    keeps = table.keeps[method]
    chosen = SAMPLERS[sampler]()
    second = None
    if chosen.second is not None:
        name = _same_settings(table.scores, method, chosen.second)
        second = _column(table, scores, name, f"--sampler {sampler} needs {chosen.second}")
        if chosen.second == "confidence":
            _check_same_epochs(table, method, name)
    if chosen.needs_labels and table.labels is None:
        raise ValueError(f"--sampler {sampler} needs labels; {scores} holds none: score with --labels.")
    n_kept = count_kept(len(values), *parse_keep(pruning_rate, keep))
    beside: dict[str, Any] = {"second": second, "labels": table.labels, "random_state": random_state}
    coreset = draw_coreset(values, keeps, chosen, n_kept, weighting=weighting, **beside)
    indices, weights = coreset.indices, coreset.weights
    if all_rows:
        how = {"method": method, "sampler": sampler, "weighting": weighting, "random_state": random_state}
        write_all_rows(output, table, indices, weights, how | {"command": typed_command()})
    else:
        write_selection(output, indices, weights, None if table.ids is None else table.ids[indices])
    summary: dict[str, Any] = {
        "output": str(output),
        "n_samples": len(values),
        "n_kept": len(indices),
        "threshold": coreset.threshold,
        "effective_samples": float(weights.sum() ** 2 / (weights**2).sum()),
    }
    if table.labels is not None:
        n_kept_of, n_of = class_counts(table.labels, indices)
        summary["classes"] = {c: [int(n_kept_of[c]), int(n)] for c, n in enumerate(n_of) if n}
    if as_json:
        return print_json(summary)
    how_chosen = _bound(values, coreset, keeps) if sampler == "top" else f"by {sampler}"
    share = f"{len(indices) / len(values):.1%}"
    say(f"Kept {len(indices):,} of {len(values):,} samples ({share}), {how_chosen} -> {output}")
    if weighting != "none":
        say(f"Their weights ({weighting}) do the work of {summary['effective_samples']:,.0f} samples that weigh alike.")
    if table.labels is not None:
        _print_classes(summary["classes"])
    return None


def _bound(scores: Any, coreset: Any, keeps: str) -> str:
    """Which scores the sampler "top" keeps, in words; where there are more at the threshold, which of them too."""
    if keeps == "median":
        return "those nearest the median of their class"
    threshold = coreset.threshold
    bound = f"those with a score of {threshold:.4g} or {'more' if keeps == 'largest' else 'less'}"
    if (scores == threshold).sum() > (scores[coreset.indices] == threshold).sum():
        bound += f" (of those at {threshold:.4g}, the lower indices)"
    return bound


def _column(table: Any, path: Path, method: str, why: str) -> Any:
    """The scores of `method` in a table that was read from `path`."""
    if method not in table.scores:
        raise ValueError(f"{why}: {path} holds {', '.join(table.scores)}.")
    return table.scores[method]


def _same_settings(scores: Iterable[str], method: str, wanted: str) -> str:
    """The name in a file of the score `wanted` that was made with the settings of `method`, else `wanted` itself."""
    settings = {*method.partition(":")[2].split(","), ""}
    named = ((name, *name.partition(":")[::2]) for name in scores)
    return next((name for name, base, own in named if base == wanted and settings.issuperset(own.split(","))), wanted)


def _check_same_epochs(table: Any, method: str, beside: str) -> None:
    """Raise where two scores of a file are known to be of other epochs, as dual, of 30, and confidence, of all."""
    from tdds.scores import METHODS, make_score

    if {name.partition(":")[0] for name in (method, beside)} - METHODS.keys() or "n_epochs" not in table.source:
        return
    n_epochs, other = (
        make_score(name.partition(":")[0], **table.parameters[name]).check(table.source["n_epochs"])
        for name in (method, beside)
    )
    if n_epochs != other:
        raise ValueError(
            f"{method} is of {n_epochs} epochs and {beside} of {other}; the sampler needs both of the same: score them "
            f"with --T {n_epochs}."
        )


def _print_classes(counts: dict[int, list[int]], most: int = 20) -> None:
    """The classes by share kept; of very many, the two ends."""
    ranked = sorted(counts.items(), key=lambda item: item[1][0] / item[1][1], reverse=True)
    table = Table("class", "kept", "of", "share", box=None, pad_edge=False, header_style="dim")
    for column in table.columns:
        column.justify = "right"
    shown = ranked if len(ranked) <= most else [*ranked[: most // 2], None, *ranked[-most // 2 :]]
    for row in shown:
        if row is None:
            table.add_row("...", "", "", "")
        else:
            c, (kept, n) = row
            table.add_row(str(c), f"{kept:,}", f"{n:,}", f"{kept / n:.1%}")
    out.print(table)
