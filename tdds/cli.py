"""The command line: `tdds score run -o scores.h5`, `tdds select scores.h5 --pruning-rate 0.9 -o kept.csv`."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

app = typer.Typer(
    help="Train on less data: score training trajectories, keep the samples that matter.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

out = Console(soft_wrap=True)
err = Console(stderr=True)


Kind = Literal["probs", "logits", "log_probs", "losses"]
Missing = Literal["error", "carry"]
Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A store, a packed .h5, file.h5::dataset, .npy, .npz, zarr, a directory of {t}_Output.npy and "
        "{t}_Index.npy, or the logs of another tool (docs/logs.md).",
        show_default=False,
    ),
]
Axes = Annotated[
    str | None,
    typer.Option(metavar="NTC|TNC", help="Axes of an array: N samples, T epochs, C classes.", show_default=False),
]
KindOption = Annotated[Kind | None, typer.Option(help="What the values are.", show_default="what the source says")]
MissingOption = Annotated[
    Missing, typer.Option(help="A sample that an epoch lacks: raise, or repeat the epoch before.")
]
Labels = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="Labels: .npy, file.npz::name, file.h5::name, or text, one a line.", show_default=False
    ),
]
Ids = Annotated[
    str | None, typer.Option(metavar="FILE", help="Names of the samples, as for --labels.", show_default=False)
]
Features = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="What a trained model makes of each sample, for moderate; as --labels.", show_default=False
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the output file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


@app.command(epilog="Example: tdds score logs/ -o scores.h5 --T 10 --K 5")
def score(
    source: Source,
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the scores go, an HDF5 file.")],
    method: Annotated[
        str, typer.Option(metavar="NAME[,NAME...]", help="What a sample is worth; several are read at once.")
    ] = "tdds",
    T: Annotated[
        str | None,
        typer.Option("--T", metavar="T[,T...]", help="Only the first T epochs count.", show_default="all"),
    ] = None,
    K: Annotated[str, typer.Option("--K", metavar="K[,K...]", help="Width of a window, in epochs.")] = "10",
    beta: Annotated[
        str, typer.Option(metavar="B[,B...]", help="Weight of the newest window; 0 is the simple average.")
    ] = "0.9",
    formulation: Annotated[
        str, typer.Option(metavar="NAME[,NAME...]", help="Whose computation: paper, reference, datacull.")
    ] = "paper",
    loss: Annotated[
        Literal["kl", "ce", "el2n"],
        typer.Option(help="Change of the distribution, or of the label's probability, or the distance from the label."),
    ] = "kl",
    signed: Annotated[bool, typer.Option("--signed", help="Signed differences instead of magnitudes.")] = False,
    margin_of: Annotated[
        Literal["probs", "logits"], typer.Option(help="What the margin of aum is taken of.")
    ] = "probs",
    random_state: Annotated[int | None, typer.Option(help="Seed of the method random.", show_default=False)] = None,
    labels: Labels = None,
    features: Features = None,
    ids: Ids = None,
    axes: Axes = None,
    kind: KindOption = None,
    missing: MissingOption = "error",
    memory_limit: Annotated[float, typer.Option(help="Bound of the buffers, in MiB.")] = 256,
    n_jobs: Annotated[int, typer.Option(help="Threads; -1 is one a core.")] = -1,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Score every sample of a trajectory."""
    import numpy as np

    from tdds.engine import compute_scores
    from tdds.scores import make_scores
    from tdds.tables import ScoreTable, read_column

    check_output(output, force)
    trajectory = _open(source, axes, kind, missing, labels, ids)
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
    scores = compute_scores(
        trajectory,
        chosen,
        features=None if features is None else read_column(features),
        memory_limit=memory_limit,
        n_jobs=n_jobs,
        verbose=err.is_terminal,
    )
    n_read = max(one.check(trajectory.n_epochs) or 1 for one in chosen.values())
    table = ScoreTable(
        scores=scores,
        keeps={name: one.keeps for name, one in chosen.items()},
        parameters={name: dataclasses.asdict(one) for name, one in chosen.items()},
        source=describe(trajectory) | {"fingerprint": trajectory.fingerprint(n_read)},
        labels=trajectory.labels,
        ids=trajectory.ids,
    )
    table.save(output)
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
        return _print_json(summaries[0] | ({"methods": summaries} if len(summaries) > 1 else {}))
    out.print(f"Scored {table.n_samples:,} samples of {trajectory.name} -> {output}", highlight=False)
    for summary in summaries:
        title = f"{summary['method']}: " if len(summaries) > 1 else ""
        out.print(f"{title}median {summary['median']:.4g}, largest {summary['largest']:.4g}", highlight=False)
    which = f" --method {summaries[0]['method']}" if len(summaries) > 1 else ""
    out.print(f"Next: tdds select {output}{which} --pruning-rate 0.9 -o kept.csv", style="dim", highlight=False)
    return None


@app.command(epilog="Example: tdds select scores.h5 --pruning-rate 0.9 -o kept.csv")
def select(
    scores: Annotated[
        Path, typer.Argument(metavar="SCORES", help="A file that `tdds score` wrote.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Where the kept samples go: .npz, .csv, .txt, .parquet.")
    ],
    pruning_rate: Annotated[
        float | None, typer.Option(help="Share to REMOVE: 0.9 keeps a tenth.", show_default=False)
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(metavar="SHARE|COUNT", help="What to KEEP: 0.1 is a tenth, 5000 a count.", show_default=False),
    ] = None,
    method: Annotated[str | None, typer.Option(help="Which of the file's scores.", show_default="the only one")] = None,
    sampler: Annotated[
        Literal["top", "random", "class_balanced", "stratified", "beta"],
        typer.Option(help="How scores become a coreset; stratified needs aum in the file as well, beta confidence."),
    ] = "top",
    random_state: Annotated[int | None, typer.Option(help="Seed of samplers that draw.", show_default=False)] = None,
    weighting: Annotated[
        Literal["per_sample", "root", "batch_mean", "none"], typer.Option(help="Importance weights (Eq. 13).")
    ] = "per_sample",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Keep the samples with the best scores, with the weights to train them with."""
    from tdds.samplers import SAMPLERS, count_kept, draw_coreset
    from tdds.tables import ScoreTable, selection_writer, write_selection

    check_output(output, force)
    selection_writer(output)
    table = ScoreTable.load(scores)
    method = next(iter(table.scores)) if method is None and len(table.scores) == 1 else method
    values = _column(table, scores, method, f"--method {method} is not there" if method else "Say --method")
    keeps = table.keeps[method]  # type: ignore[index]
    chosen = SAMPLERS[sampler]()
    second = chosen.second and _column(table, scores, chosen.second, f"--sampler {sampler} needs {chosen.second}")
    if chosen.needs_labels and table.labels is None:
        raise ValueError(f"--sampler {sampler} needs labels; {scores} holds none: score with --labels.")
    n_kept = count_kept(len(values), *parse_keep(pruning_rate, keep))
    beside = {"second": second, "labels": table.labels, "random_state": random_state}
    coreset = draw_coreset(values, keeps, chosen, n_kept, weighting=weighting, **beside)
    indices, weights = coreset.indices, coreset.weights
    write_selection(output, indices, weights, None if table.ids is None else table.ids[indices])
    summary: dict[str, Any] = {
        "output": str(output),
        "n_samples": len(values),
        "n_kept": len(indices),
        "threshold": coreset.threshold,
        "effective_samples": float(weights.sum() ** 2 / (weights**2).sum()),
    }
    if table.labels is not None:
        summary["classes"] = _class_counts(table.labels, indices)
    if as_json:
        return _print_json(summary)
    bound = {
        "largest": f"those with a score of {coreset.threshold:.4g} or more",
        "smallest": f"those with a score of {coreset.threshold:.4g} or less",
        "median": "those nearest the median of their class",
    }[keeps]
    out.print(
        f"Kept {len(indices):,} of {len(values):,} samples ({len(indices) / len(values):.1%}), "
        f"{bound if sampler == 'top' else f'by {sampler}'} -> {output}",
        highlight=False,
    )
    out.print(f"Their {weighting} weights are worth {summary['effective_samples']:,.0f} samples.", highlight=False)
    if table.labels is not None:
        _print_classes(summary["classes"])
    return None


@app.command(epilog="Example: tdds compare logs/ --labels labels.npy --method tdds,el2n --K 5,10")
def compare(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Trajectories, or files that `tdds score` wrote: what one holds, or several runs of the same samples.",
            show_default=False,
        ),
    ],
    method: Annotated[
        str | None,
        typer.Option(metavar="NAME[,NAME...]", help="Methods, of a trajectory.", show_default="all that it allows"),
    ] = None,
    pruning_rate: Annotated[
        str, typer.Option(metavar="P[,P...]", help="Shares to REMOVE at which coresets are compared.")
    ] = "0.5,0.9",
    T: Annotated[str | None, typer.Option("--T", metavar="T[,T...]", help="First epochs.", show_default="all")] = None,
    K: Annotated[str, typer.Option("--K", metavar="K[,K...]", help="Width of a window, in epochs.")] = "10",
    beta: Annotated[str, typer.Option(metavar="B[,B...]", help="Weight of the newest window.")] = "0.9",
    formulation: Annotated[str, typer.Option(metavar="NAME[,NAME...]", help="Whose computation of tdds.")] = "paper",
    loss: Annotated[str, typer.Option(metavar="NAME[,NAME...]", help="Of tdds: kl, ce, el2n.")] = "kl",
    margin_of: Annotated[str, typer.Option(metavar="NAME[,NAME...]", help="Of aum: probs, logits.")] = "probs",
    random_state: Annotated[int | None, typer.Option(help="Seed of the method random.", show_default=False)] = None,
    labels: Labels = None,
    features: Features = None,
    axes: Axes = None,
    kind: KindOption = None,
    missing: MissingOption = "error",
    n_jobs: Annotated[int, typer.Option(help="Threads; -1 is one a core.")] = -1,
    as_json: AsJson = False,
) -> None:
    """Say how far methods, parameters and runs agree: rank correlations, and shares of the coreset."""
    from tdds.comparison import compare_scores
    from tdds.tables import ScoreTable, is_scores, read_column

    y = None if labels is None else read_column(labels)
    runs: dict[str, Any] = {}
    for source in sources:
        table = ScoreTable.load(source) if is_scores(Path(source)) else None
        runs[source] = source if table is None else table.scores
        y = table.labels if y is None and table is not None else y
    comparison = compare_scores(
        runs,
        y,
        method=parse_list("method", method, str),
        pruning_rate=parse_list("pruning-rate", pruning_rate, float),
        T=parse_list("T", T, int),
        K=parse_list("K", K, int),
        beta=parse_list("beta", beta, float),
        formulation=parse_list("formulation", formulation, str),
        loss=parse_list("loss", loss, str),
        margin_of=parse_list("margin-of", margin_of, str),
        random_state=random_state,
        features=None if features is None else read_column(features),
        axes=axes,
        kind=kind,
        missing=missing,
        n_jobs=n_jobs,
        verbose=err.is_terminal,
    )
    if as_json:
        return _print_json(comparison.to_dict())
    out.print(comparison, highlight=False)
    return None


@app.command()
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
        what = {"scores": ", ".join(table.scores), "n_samples": table.n_samples, "created_by": table.created_by}
        what |= {f"{name} {key}": value for name, p in table.parameters.items() for key, value in p.items()}
        what |= {f"source {key}": value for key, value in table.source.items()}
    else:
        what = describe(_open(source, axes, kind, missing, None, None))
    if as_json:
        return _print_json(what)
    grid = Table(show_header=False, box=None, pad_edge=False)
    for key, value in what.items():
        grid.add_row(f"[dim]{key}[/dim]", f"{value:,}" if type(value) is int else str(value))
    out.print(grid)
    return None


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(metavar="STORE", help="A store, or a packed .h5.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Hold every value against its checksum; exit status 1 where an epoch is damaged."""
    from tdds import store

    report = store.verify(path)
    if as_json:
        _print_json({"path": str(path), "n_epochs": len(report.epochs), "problems": report.problems})
    else:
        for problem in report.problems:
            out.print(problem, markup=False, highlight=False)
        incomplete = [epoch for epoch in report.epochs if epoch.n_missing and not epoch.problems]
        for epoch in incomplete:
            out.print(
                f"Epoch {epoch.epoch} lacks {epoch.n_missing:,} samples: score with --missing carry.", highlight=False
            )
        n_damaged = sum(bool(epoch.problems) for epoch in report.epochs)
        state = f"{n_damaged} of them damaged" if n_damaged else "all whole"
        out.print(f"{path}: {len(report.epochs)} epochs, {state}.", markup=False, highlight=False)
    if report.problems:
        raise typer.Exit(1)


@app.command(epilog="Example: tdds convert logs/ -o run.h5")
def convert(
    logs: Source,
    output: Annotated[Path, typer.Option("-o", "--output", help="The packed HDF5 trajectory.")],
    axes: Axes = None,
    kind: KindOption = None,
    missing: MissingOption = "error",
    labels: Labels = None,
    ids: Ids = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Turn logs of any known form into one HDF5 trajectory, samples first."""
    from tdds.engine import progress_bar
    from tdds.store import pack

    check_output(output, force)
    trajectory = _open(logs, axes, kind, missing, labels, ids)
    with progress_bar("Converting", trajectory.n_samples, err.is_terminal) as advance:
        pack(trajectory, output, overwrite=force, progress=advance)
    what = describe(trajectory) | {"output": str(output), "bytes": output.stat().st_size}
    if as_json:
        return _print_json(what)
    out.print(f"{trajectory!r} -> {output} ({what['bytes'] / 2**20:,.1f} MiB)", highlight=False, markup=False)
    return None


app.command("pack", epilog="Example: tdds pack run/ -o run.h5", help="Another name of convert.")(convert)


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the trajectory, the scores and the picture.")
    ] = Path("tdds-demo"),
    as_json: AsJson = False,
) -> None:
    """The whole story on data that ships with scikit-learn: train, record, score, prune, train again."""
    from tdds.demo import run_demo

    results = run_demo(folder, Console(quiet=True) if as_json else out)
    if as_json:
        _print_json(results)


def main() -> None:
    """Run the command line; what a user can mend is one line on the standard error, exit status 1."""
    try:
        app()
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        err.print(f"[bold red]tdds:[/bold red] {escape(reason)}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        err.print("tdds: interrupted", highlight=False)
        sys.exit(130)


def parse_keep(pruning_rate: float | None, keep: str | None) -> tuple[float, int | None]:
    """`pruning_rate` and `n_select` from ``--pruning-rate`` or ``--keep``, a share with a point or a count without."""
    if (pruning_rate is None) == (keep is None):
        raise ValueError(
            "Say --pruning-rate, the share to remove, or --keep, the share or count to keep; one of the two."
        )
    if keep is None:
        return pruning_rate, None  # type: ignore[return-value]
    try:
        if "." not in keep:
            return 0.0, int(keep)
        share = float(keep)
    except ValueError:
        raise ValueError(f"--keep {keep}: expected a share such as 0.1, or a count such as 5000.") from None
    if not 0 < share <= 1:
        raise ValueError(f"--keep {keep}: a share lies in (0, 1]; write a count without a point.")
    return 1 - share, None


def parse_list(option: str, text: str | None, parse: type) -> Any:
    """The value of ``--option``, or the list of them where `text` has commas."""
    if text is None:
        return None
    try:
        values = [parse(part.strip()) for part in text.split(",")]
    except ValueError:
        expected = "integers" if parse is int else "numbers"
        raise ValueError(f"--{option} {text}: expected {expected}, with commas between.") from None
    return values if len(values) > 1 else values[0]


def check_output(path: Path, force: bool) -> None:
    """Raise before any work is done where the output could not be written."""
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists; pass --force to overwrite it.")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder.")


def describe(trajectory: Any) -> dict[str, Any]:
    """What a trajectory is, for people and for JSON."""
    sizes = [trajectory.n_samples, trajectory.n_epochs, trajectory.n_classes or 1]
    return {
        "source": trajectory.name,
        "form": type(trajectory).__name__,
        "n_samples": trajectory.n_samples,
        "n_epochs": trajectory.n_epochs,
        "n_classes": trajectory.n_classes,
        "kind": trajectory.kind,
        "dtype": trajectory.dtype,
        "labels": trajectory.labels is not None,
        "ids": trajectory.ids is not None,
        "bytes": sizes[0] * sizes[1] * sizes[2] * trajectory.buffer_dtype.itemsize,
    }


def _column(table: Any, path: Path, method: str | None, why: str) -> Any:
    """The scores of `method` in a table that was read from `path`."""
    if method not in table.scores:
        raise ValueError(f"{why}: {path} holds {', '.join(table.scores)}.")
    return table.scores[method]


def _print_json(what: dict[str, Any]) -> None:
    print(json.dumps(what))


def _class_counts(labels: Any, indices: Any) -> dict[int, list[int]]:
    """Kept and all samples of each class."""
    import numpy as np

    everything = np.bincount(labels)
    kept = np.bincount(labels[indices], minlength=len(everything))
    return {c: [int(kept[c]), int(n)] for c, n in enumerate(everything) if n}


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


def _open(
    source: str, axes: str | None, kind: Kind | None, missing: Missing, labels: str | None, ids: str | None
) -> Any:
    from tdds.sources import open_trajectory
    from tdds.tables import read_column

    return open_trajectory(
        source,
        axes=axes,
        kind=kind,
        missing=missing,
        labels=None if labels is None else read_column(labels),
        ids=None if ids is None else read_column(ids),
    )


if __name__ == "__main__":
    main()
