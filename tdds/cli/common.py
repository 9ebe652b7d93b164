"""What the commands share: options, consoles, how arguments are read and results are printed."""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

out = Console(soft_wrap=True)
err = Console(stderr=True)

of_source = partial(typer.Option, show_default=False, rich_help_panel="The source")
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
    of_source(metavar="AXES", help="Order of an array's axes, NTC or TNC: N samples, T epochs, C classes."),
]
KindOption = Annotated[
    Kind | None,
    of_source(
        metavar="KIND",
        help="What the values are: probs, logits, log_probs, losses.",
        show_default="what the source says",
    ),
]
MissingOption = Annotated[
    Missing,
    of_source(
        help="Where an epoch lacks a sample: error, or carry, which repeats its value of the epoch before.",
        show_default=True,
    ),
]
Labels = Annotated[
    str | None,
    of_source(metavar="FILE", help="Labels: .npy, file.npz::name, file.h5::name, or text, one a line."),
]
Ids = Annotated[str | None, of_source(metavar="FILE", help="Names of the samples, in a file as for --labels.")]
Scores = Annotated[
    Path, typer.Argument(metavar="SCORES", help="A .h5 or .parquet that `tdds score` wrote.", show_default=False)
]
Features = Annotated[
    str | None,
    of_source(
        metavar="FILE",
        help="What the last layer of a trained model sees of each sample, for moderate; a file as for --labels.",
    ),
]
SkipDamaged = Annotated[
    bool, of_source("--skip-damaged", help="Check a store first, and leave its damaged epochs out.")
]
Seed = Annotated[int | None, typer.Option(metavar="SEED", help="Seed of what is drawn at random.", show_default=False)]
NJobs = Annotated[int, typer.Option(metavar="N", help="Threads; -1 is one a core.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the output.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def plain(text: str) -> str:
    """`text` with what is no letter, sign or space written out: a name from a file must not move the cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(text: str, **style: Any) -> None:
    """Print a line in which nothing is markup."""
    out.print(plain(text), highlight=False, markup=False, **style)


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
            if int(keep) < 1:
                raise ValueError
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


def check_output(path: Path, force: bool, *read: Any) -> None:
    """Raise before any work is done where the output could not be written, or is one of the files that are read."""
    from tdds.validation import check_no_pipe

    check_no_pipe(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; expected the name of a file.")
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists; pass --force to overwrite it.")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder.")
    for source in (Path(str(place).partition("::")[0]) for place in read if place is not None):
        if path.exists() and source.exists() and path.samefile(source):
            raise ValueError(f"{path}: is read, and would be overwritten; give the output another name.")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:  # the name that the user knows
        raise OSError(error.errno, error.strerror, str(path)) from None


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


def open_source(
    source: str,
    axes: str | None,
    kind: Kind | None,
    missing: Missing,
    labels: str | None = None,
    ids: str | None = None,
    damaged: str = "unchecked",
) -> Any:
    from tdds.sources import open_trajectory
    from tdds.tables import read_column

    return open_trajectory(
        source,
        axes=axes,
        kind=kind,
        missing=missing,
        damaged=damaged,
        labels=None if labels is None else read_column(labels),
        ids=None if ids is None else read_column(ids, "ids"),
    )


def say_cost(cost: Any) -> str:
    """A `tdds.estimate.Cost` in words."""
    files = f"temporary files of {cost.temporary_files / 1e9:,.3g} GB, " if cost.temporary_files else ""
    return (
        f"Reads {cost.bytes_to_read / 1e9:,.3g} GB, peak memory about {cost.peak_memory / 2**20:,.0f} MiB, {files}"
        f"about {cost.seconds:,.2g} s."
    )


def typed_command() -> str:
    """What was typed."""
    return shlex.join(["tdds", *sys.argv[1:]])


def print_json(what: dict[str, Any]) -> None:
    print(json.dumps(what))
