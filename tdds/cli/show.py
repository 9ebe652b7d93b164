"""`tdds report` and `demo`: what people look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tdds.cli.common import (
    AsJson,
    Axes,
    Force,
    KindOption,
    MissingOption,
    Scores,
    check_output,
    open_source,
    out,
    print_json,
    say,
    typed_command,
)


def report(
    scores: Scores,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Where the page goes.")],
    images: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The samples: .npz with images, or a JPEG pack.", show_default=False),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The samples: .csv, or text with one a line.", show_default=False),
    ] = None,
    class_names: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Names of the classes, in the order of the labels: text, one a line, or .npy, file.npz::name.",
            show_default="those of --images",
        ),
    ] = None,
    trajectory: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="What was scored, for other T and K.", show_default=False)
    ] = None,
    axes: Axes = None,
    kind: KindOption = None,
    missing: MissingOption = "error",
    method: Annotated[
        str | None, typer.Option(metavar="NAME", help="The score shown first.", show_default="tdds")
    ] = None,
    pruning_rate: Annotated[
        float, typer.Option(metavar="SHARE", help="Share to REMOVE at first; the page has a slider.")
    ] = 0.5,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Show scores and their coresets: one HTML page, without network."""
    from tdds.report import Images, Rows, write_report
    from tdds.tables import ScoreTable, read_column

    check_output(output, force, scores, images, data, class_names, trajectory)
    if images and data:
        raise ValueError("Say --images or --data, one of the two.")
    table = ScoreTable.load(scores)
    opened = None if trajectory is None else open_source(trajectory, axes, kind, missing)
    if opened is not None:
        opened.name_samples(table.labels)
    write_report(
        table,
        output,
        name=str(scores),
        samples=Images(images) if images else Rows(data) if data else None,
        trajectory=opened,
        class_names=None if class_names is None else read_column(class_names, "class_names").astype(str).tolist(),
        method=method,
        pruning_rate=pruning_rate,
        command=typed_command(),
    )
    if as_json:
        return print_json({"output": str(output), "bytes": output.stat().st_size})
    say(f"{output} ({output.stat().st_size / 2**20:.1f} MiB)")
    return None


def demo(
    folder: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FOLDER", help="Folder for the trajectory and the picture."),
    ] = Path("tdds-demo"),
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Show the whole story on data that ships with scikit-learn.

    Train, record, score, prune, train again.
    """
    from tdds.demo import run_demo

    for made in (folder / "run", folder / "digits.png"):
        if made.exists() and not force:
            raise FileExistsError(f"{made} exists; pass --force to overwrite it, or another folder.")
    results = run_demo(folder, Console(quiet=True) if as_json else out)
    if as_json:
        print_json(results)
