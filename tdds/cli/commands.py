"""The commands by name, and how their mistakes are said."""

from __future__ import annotations

import sys
import warnings
from functools import partial
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from tdds._version import __version__
from tdds.cli.common import err, out, plain
from tdds.cli.comparison import compare
from tdds.cli.scores import combine, score
from tdds.cli.selection import select
from tdds.cli.show import demo, report
from tdds.cli.sources import convert, info, verify


def hide_type(params: list[Any]) -> list[Any]:
    """Leave flags without a metavar; Typer writes <bool> beside each, --help among them."""
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params


class Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return hide_type(super().get_params(ctx))


class Command(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        return hide_type(super().get_params(ctx))


app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def say_version(asked: bool) -> None:
    if asked:
        out.print(f"tdds {__version__}", highlight=False)
        raise typer.Exit


@app.callback(
    epilog="Example:\n\ntdds info logs/\n\ntdds score logs/ -o scores.h5 --T 10 --K 5\n\n"
    "tdds select scores.h5 --pruning-rate 0.9 -o kept.csv"
)
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=say_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train on less data: score training trajectories, keep the samples that matter."""


add = partial(app.command, cls=Command)
add(
    epilog="Example: tdds score logs/ -o scores.h5 --T 10 --K 5\n\n"
    "Example: tdds score logs/ -o scores.h5 --method tdds,aum --labels labels.npy",
)(score)
add(
    epilog="Example: tdds select scores.h5 --pruning-rate 0.9 -o kept.csv\n\n"
    "Example: tdds select scores.h5 --method tdds --sampler stratified --keep 5000 -o kept.npz",
)(select)
add(epilog="Example: tdds combine seed0.h5 seed1.h5 seed2.h5 -o mean.h5")(combine)
add(epilog="Example: tdds report scores.h5 --images data.npz -o report.html")(report)
add(epilog="Example: tdds compare logs/ --labels labels.npy --method tdds,el2n --K 5,10")(compare)
add(epilog="Example: tdds info logs/")(info)
add(epilog="Example: tdds verify run/")(verify)
add(epilog="Example: tdds convert logs/ -o run.h5")(convert)
add("pack", epilog="Example: tdds pack run/ -o run.h5", help="Another name of convert.")(convert)
add(epilog="Example: tdds demo -o tdds-demo")(demo)


def run() -> None:
    """Run the command line; what a user can mend is one line on the standard error, exit status 1."""
    warnings.showwarning = _show_warning
    try:
        app(prog_name="tdds")
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        _say("bold red", " ".join(str(error).split()) or type(error).__name__)
        sys.exit(1)


def _show_warning(message: Warning | str, *where: Any, **more: Any) -> None:
    _say("yellow", str(message))


def _say(style: str, text: str) -> None:
    err.print(f"[{style}]tdds:[/{style}] {escape(plain(text))}", highlight=False, soft_wrap=True)
