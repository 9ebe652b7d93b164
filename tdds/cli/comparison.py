"""`tdds compare`: how far methods, parameters and runs agree."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any

import typer

from tdds.cli.common import (
    AsJson,
    Axes,
    Features,
    KindOption,
    Labels,
    MissingOption,
    NJobs,
    Seed,
    err,
    out,
    parse_list,
    print_json,
)


def compare(
    ctx: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Trajectories, or files that `tdds score` wrote: what one holds, or several runs of the same samples.",
            show_default=False,
        ),
    ],
    method: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="Methods.", show_default="all that a trajectory allows, or a file holds"),
    ] = None,
    pruning_rate: Annotated[
        str, typer.Option(metavar="P,...", help="Shares to REMOVE at which coresets are compared.")
    ] = "0.5,0.9",
    T: Annotated[
        str | None, typer.Option("--T", metavar="T,...", help="Only the first T epochs count.", show_default="all")
    ] = None,
    K: Annotated[
        str | None,
        typer.Option("--K", metavar="K,...", help="Width of a window, in epochs.", show_default="10, or all of fewer"),
    ] = None,
    beta: Annotated[str, typer.Option(metavar="B,...", help="Weight of the newest window.")] = "0.9",
    formulation: Annotated[
        str, typer.Option(metavar="NAME,...", help="Whose computation of tdds: paper, reference, datacull.")
    ] = "paper",
    loss: Annotated[str, typer.Option(metavar="NAME,...", help="What tdds follows: kl, ce, el2n.")] = "kl",
    margin_of: Annotated[
        str, typer.Option(metavar="NAME,...", help="What aum takes the margin of: probs, logits.")
    ] = "probs",
    random_state: Seed = None,
    labels: Labels = None,
    features: Features = None,
    axes: Axes = None,
    kind: KindOption = None,
    missing: MissingOption = "error",
    n_jobs: NJobs = -1,
    as_json: AsJson = False,
) -> None:
    """Say how far methods, parameters and runs agree.

    Spearman's rank correlations of the scores, and the shares of the coresets that both keep.
    """
    from tdds.comparison import compare_scores
    from tdds.tables import ScoreTable, check_same_samples, is_scores, read_column

    if again := [source for i, source in enumerate(sources) if source in sources[:i]]:
        raise ValueError(f"{again[0]} is named twice; expected another run.")
    y = None if labels is None else read_column(labels)
    asked = parse_list("method", method, str)
    tables = {source: ScoreTable.load(source) for source in sources if is_scores(Path(source))}
    for (one, first), (another, other) in itertools.combinations(tables.items(), 2):
        check_same_samples(f"{one} and {another}", first, other)
    if len(tables) == len(sources):
        _refuse_given(ctx, sources)
    runs: dict[str, Any] = {source: source for source in sources}
    keeps: dict[str, str] = {}
    for source, table in tables.items():
        runs[source] = table.scores if asked is None else _of_methods(table, source, asked)
        keeps |= {name: table.keeps[name] for name in runs[source]}
        y = table.labels if y is None else y
    comparison = compare_scores(
        runs,
        y,
        method=asked,
        pruning_rate=parse_list("pruning-rate", pruning_rate, float),
        T=parse_list("T", T, int),
        K=parse_list("K", K, int),
        beta=parse_list("beta", beta, float),
        formulation=parse_list("formulation", formulation, str),
        loss=parse_list("loss", loss, str),
        margin_of=parse_list("margin-of", margin_of, str),
        random_state=random_state,
        features=None if features is None else read_column(features, "features"),
        keeps=keeps,
        axes=axes,
        kind=kind,
        missing=missing,
        n_jobs=n_jobs,
        verbose=err.is_terminal,
    )
    if as_json:
        return print_json(comparison.to_dict())
    if out.is_terminal:
        out.print(comparison, highlight=False)
    else:
        print(comparison)  # whole lines
    return None


def _of_methods(table: Any, path: str, methods: str | list[str]) -> dict[str, Any]:
    """The scores of `methods`, with any settings, in a table that was read from `path`."""
    methods = [methods] if isinstance(methods, str) else methods
    for method in methods:
        if method not in {name.partition(":")[0] for name in table.scores}:
            raise ValueError(f"--method {method} is not there: {path} holds {', '.join(table.scores)}.")
    return {name: values for name, values in table.scores.items() if name.partition(":")[0] in methods}


_OF_SCORES = {"sources", "method", "pruning_rate", "labels", "n_jobs", "as_json"}


def _refuse_given(ctx: typer.Context, files: list[str]) -> None:
    """Raise where an option that only a trajectory has a use for was typed."""
    for param in ctx.command.params:
        source = ctx.get_parameter_source(param.name or "")
        if param.name not in _OF_SCORES and source is not None and source.name == "COMMANDLINE":
            held = f"{', '.join(files)} {'hold' if len(files) > 1 else 'holds'} scores"
            raise ValueError(f"{param.opts[0]} is for trajectories, and {held}: leave it out, or pass what was scored.")
