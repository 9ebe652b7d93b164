"""`tdds score`, `select`, `combine` and `compare`: from trajectories to scores, from scores to coresets."""

from __future__ import annotations

import dataclasses
import itertools
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from tdds.cli.common import (
    AsJson,
    Axes,
    Features,
    Force,
    Ids,
    KindOption,
    Labels,
    MissingOption,
    NJobs,
    Scores,
    Seed,
    SkipDamaged,
    Source,
    check_output,
    describe,
    err,
    of_source,
    open_source,
    out,
    parse_keep,
    parse_list,
    print_json,
    say,
    say_cost,
    typed_command,
)


def score(
    source: Source,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where the scores go: .h5, .parquet, .csv.")
    ],
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="What a sample is worth, several in one reading: tdds, entropy, margin, least_confidence, loss, "
            "forgetting, el2n, aum, confidence, variability, dyn_unc, dual, eva, moderate, random.",
        ),
    ] = "tdds",
    T: Annotated[
        str | None,
        typer.Option("--T", metavar="T,...", help="Only the first T epochs count.", show_default="all"),
    ] = None,
    K: Annotated[str, typer.Option("--K", metavar="K,...", help="Width of a window, in epochs.")] = "10",
    beta: Annotated[
        str, typer.Option(metavar="B,...", help="Weight of the newest window; 0 is the simple average.")
    ] = "0.9",
    formulation: Annotated[
        str, typer.Option(metavar="NAME,...", help="Whose computation of tdds: paper, reference, datacull.")
    ] = "paper",
    loss: Annotated[
        Literal["kl", "ce", "el2n"],
        typer.Option(
            metavar="NAME",
            help="What tdds follows: kl, the change of the distribution; ce, that of the label's probability; el2n, "
            "the distance from the label.",
        ),
    ] = "kl",
    signed: Annotated[bool, typer.Option("--signed", help="Signed differences instead of magnitudes.")] = False,
    margin_of: Annotated[
        Literal["probs", "logits"], typer.Option(metavar="NAME", help="What aum takes the margin of: probs, logits.")
    ] = "probs",
    random_state: Seed = None,
    labels: Labels = None,
    features: Features = None,
    ids: Ids = None,
    axes: Axes = None,
    kind: KindOption = None,
    missing: MissingOption = "error",
    verify: Annotated[
        bool, of_source("--verify", help="First hold every value of a store or a packed .h5 against its checksum.")
    ] = False,
    skip_damaged: SkipDamaged = False,
    memory_limit: Annotated[float, typer.Option(metavar="MIB", help="Bound of the buffers, in MiB.")] = 256,
    n_jobs: NJobs = -1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would take, and score nothing.")] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Score every sample of a trajectory.

    A long run on files keeps what is scored beside its output: stopped, the same command goes on from there.
    """
    import numpy as np

    from tdds.engine import compute_scores
    from tdds.partial import PartialScores
    from tdds.scores import make_scores
    from tdds.tables import ScoreTable, check_scores_output, read_column

    check_output(output, force, source, labels, features, ids)
    check_scores_output(output)
    damaged = "skip" if skip_damaged else "error" if verify else "unchecked"
    trajectory = open_source(source, axes, kind, missing, labels, ids, damaged)
    given: dict[str, Any] = {
        "T": parse_list("T", T, int),
        "K": parse_list("K", K, int),
        "beta": parse_list("beta", beta, float),
        "formulation": parse_list("formulation", formulation, str),
        "loss": loss,
        "magnitude": not signed,
        "margin_of": margin_of,
        "random_state": random_state,
    }
    chosen: dict[str, Any] = make_scores(parse_list("method", method, str), **given)
    if dry_run:
        from tdds.estimate import estimate_cost

        cost = estimate_cost(trajectory, chosen, memory_limit=memory_limit, n_jobs=n_jobs)
        if as_json:
            return print_json(dataclasses.asdict(cost))
        say(say_cost(cost))
        return None

    def going_on(n_done: int, folder: Path) -> None:
        err.print(f"Going on from {n_done:,} of {trajectory.n_samples:,} samples in {folder}", highlight=False)

    partial = PartialScores(output, trajectory, chosen, going_on) if trajectory.paths_read() else None
    scores = compute_scores(
        trajectory,
        chosen,
        features=None if features is None else read_column(features, "features"),
        memory_limit=memory_limit,
        n_jobs=n_jobs,
        verbose=err.is_terminal,
        partial=partial,
    )
    n_read = max(one.check(trajectory.n_epochs) or 1 for one in chosen.values())
    table = ScoreTable(
        scores=scores,
        keeps={name: one.keeps for name, one in chosen.items()},
        parameters={name: dataclasses.asdict(one) for name, one in chosen.items()},
        source=describe(trajectory)
        | {"fingerprint": trajectory.fingerprint(n_read), "n_epochs_read": n_read, "command": typed_command()}
        | ({"skipped_epochs": trajectory.skipped} if trajectory.skipped else {}),
        labels=trajectory.labels,
        ids=trajectory.ids,
    )
    table.save(output)
    if partial:
        partial.remove()
    summaries = [
        {
            "output": str(output),
            "n_samples": len(values),
            "method": name,
            "parameters": table.parameters[name],
            "median": float(np.median(values)),
            "largest": float(values.max()),
        }
        for name, values in scores.items()
    ]
    if as_json:
        return print_json(summaries[0] | ({"methods": summaries} if len(summaries) > 1 else {}))
    say(f"Scored {table.n_samples:,} samples of {trajectory.name} -> {output}")
    for summary in summaries:
        title = f"{summary['method']}: " if len(summaries) > 1 else ""
        say(f"{title}median {summary['median']:.4g}, largest {summary['largest']:.4g}")
    if output.suffix == ".csv":
        say("A .csv holds the scores alone; tdds select reads .h5 and .parquet.", style="dim")
        return None
    which = f" --method {summaries[0]['method']}" if len(summaries) > 1 else ""
    say(f"Next: tdds select {shlex.quote(str(output))}{which} --pruning-rate 0.9 -o kept.csv", style="dim")
    return None


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
    method = next(iter(table.scores)) if method is None and len(table.scores) == 1 else method
    values = _column(table, scores, method, f"--method {method} is not there" if method else "Say --method")
    keeps = table.keeps[method]  # type: ignore[index]
    chosen = SAMPLERS[sampler]()
    second = chosen.second and _column(
        table,
        scores,
        _same_settings(table.scores, str(method), chosen.second),
        f"--sampler {sampler} needs {chosen.second}",
    )
    if chosen.needs_labels and table.labels is None:
        raise ValueError(f"--sampler {sampler} needs labels; {scores} holds none: score with --labels.")
    n_kept = count_kept(len(values), *parse_keep(pruning_rate, keep))
    beside = {"second": second, "labels": table.labels, "random_state": random_state}
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
    bound = {
        "largest": f"those with a score of {coreset.threshold:.4g} or more",
        "smallest": f"those with a score of {coreset.threshold:.4g} or less",
        "median": "those nearest the median of their class",
    }[keeps]
    if (
        sampler == "top"
        and keeps != "median"
        and (values == coreset.threshold).sum() > (values[indices] == coreset.threshold).sum()
    ):
        bound += f" (of those at {coreset.threshold:.4g}, the lower indices)"
    say(
        f"Kept {len(indices):,} of {len(values):,} samples ({len(indices) / len(values):.1%}), "
        f"{bound if sampler == 'top' else f'by {sampler}'} -> {output}",
    )
    if weighting != "none":
        say(f"Their weights ({weighting}) do the work of {summary['effective_samples']:,.0f} samples that weigh alike.")
    if table.labels is not None:
        _print_classes(summary["classes"])
    return None


def combine(
    scores: Annotated[
        list[Path], typer.Argument(metavar="SCORES", help="Runs over the same data, one a seed.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where the scores go: .h5, .parquet, .csv.")
    ],
    how: Annotated[Literal["mean", "rank"], typer.Option(help="The mean of the scores, or of their ranks.")] = "mean",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Make one file of scores of several runs."""
    from tdds.tables import ScoreTable, check_scores_output, combine_tables

    check_output(output, force, *scores)
    check_scores_output(output)
    table = combine_tables([ScoreTable.load(path) for path in scores], how, names=scores)
    table.source["command"] = typed_command()
    table.save(output)
    if as_json:
        return print_json({"output": str(output), "n_samples": table.n_samples, "n_runs": len(scores), "how": how})
    say(f"Combined {len(scores)} runs of {table.n_samples:,} samples by {how} -> {output}")
    return None


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

    y = None if labels is None else read_column(labels)
    asked = parse_list("method", method, str)
    tables = {source: ScoreTable.load(source) for source in sources if is_scores(Path(source))}
    for (one, first), (another, other) in itertools.combinations(tables.items(), 2):
        check_same_samples(f"{one} and {another}", first, other)
    if len(tables) == len(sources):
        _refuse_given(ctx, sources)
    runs: dict[str, Any] = {source: source for source in sources}
    for source, table in tables.items():
        runs[source] = table.scores if asked is None else _of_methods(table, source, asked)
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


def _column(table: Any, path: Path, method: str | None, why: str) -> Any:
    """The scores of `method` in a table that was read from `path`."""
    if method not in table.scores:
        raise ValueError(f"{why}: {path} holds {', '.join(table.scores)}.")
    return table.scores[method]


def _same_settings(scores: Iterable[str], method: str, wanted: str) -> str:
    """The name in a file of the score `wanted` that was made with the settings of `method`, else `wanted` itself."""
    settings = {*method.partition(":")[2].split(","), ""}
    named = ((name, *name.partition(":")[::2]) for name in scores)
    return next((name for name, base, own in named if base == wanted and settings.issuperset(own.split(","))), wanted)


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
