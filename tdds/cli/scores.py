"""`tdds score` and `combine`: from trajectories to scores, and from those of several runs to one."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

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
    Seed,
    SkipDamaged,
    Source,
    check_output,
    describe,
    err,
    of_source,
    open_source,
    parse_list,
    plain,
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
    from tdds.engine import compute_scores
    from tdds.partial import PartialScores
    from tdds.scores import make_scores
    from tdds.tables import check_scores_output, read_column

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
        text = f"Going on from {n_done:,} of {trajectory.n_samples:,} samples in {folder}"
        err.print(plain(text), highlight=False, markup=False)

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
    table = _table(trajectory, chosen, scores)
    table.save(output)
    if partial:
        partial.remove()
    return _say_scores(table, output, as_json)


def _table(trajectory: Any, chosen: Mapping[str, Any], scores: dict[str, Any]) -> Any:
    """The scores, and where they come from."""
    from tdds.planning import count_epochs
    from tdds.tables import ScoreTable

    n_read = count_epochs(trajectory, chosen) or 1
    return ScoreTable(
        scores=scores,
        keeps={name: one.keeps for name, one in chosen.items()},
        parameters={name: dataclasses.asdict(one) for name, one in chosen.items()},
        source=describe(trajectory)
        | {"fingerprint": trajectory.fingerprint(n_read), "n_epochs_read": n_read, "command": typed_command()}
        | ({"skipped_epochs": trajectory.skipped} if trajectory.skipped else {}),
        labels=trajectory.labels,
        ids=trajectory.ids,
    )


def _say_scores(table: Any, output: Path, as_json: bool) -> None:
    """What was scored, and what comes next."""
    import numpy as np

    summaries = [
        {
            "output": str(output),
            "n_samples": len(values),
            "method": name,
            "parameters": table.parameters[name],
            "median": float(np.median(values)),
            "largest": float(values.max()),
        }
        for name, values in table.scores.items()
    ]
    if as_json:
        return print_json(summaries[0] | ({"methods": summaries} if len(summaries) > 1 else {}))
    say(f"Scored {table.n_samples:,} samples of {table.source['source']} -> {output}")
    for summary in summaries:
        title = f"{summary['method']}: " if len(summaries) > 1 else ""
        say(f"{title}median {summary['median']:.4g}, largest {summary['largest']:.4g}")
    if output.suffix == ".csv":
        say("A .csv holds the scores alone; tdds select reads .h5 and .parquet.", style="dim")
        return None
    which = f" --method {summaries[0]['method']}" if len(summaries) > 1 else ""
    say(f"Next: tdds select {shlex.quote(str(output))}{which} --pruning-rate 0.9 -o kept.csv", style="dim")
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
