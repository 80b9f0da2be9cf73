"""The commands, put together. One module per command; this one only names them."""

from __future__ import annotations

import re
import sys
from typing import Annotated, Final, Protocol, cast

import typer

from . import doctor, outbox, ps, quota, reconcile, sessions
from .exits import ExitCode
from .version import package_version

__all__ = ["app", "invoke", "streamguard"]

app: Final[typer.Typer] = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"streamguard {package_version()}")
        raise typer.Exit


@app.callback()
def streamguard(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Look after the streams of an application that streamguard guards.

    Exit status: 0 fine, 1 there is something to look at, 2 wrong use, 3 the store cannot be reached, 4 no such session,
    stream or entry, 5 the store holds something this version cannot read.
    """


app.command()(doctor.doctor)
app.command()(ps.ps)
app.command()(sessions.show)
app.command()(sessions.stop)
app.command()(reconcile.reconcile)
app.add_typer(outbox.app, name="outbox")
app.add_typer(quota.app, name="quota")

_CREDENTIALS: Final = re.compile(r"(?<=://)\S*@")
"""All up to the last at sign: a password may hold anything that nobody encoded."""


class _UsageError(Protocol):
    """What typer raises for wrong arguments. It has no public name of its own: `BadParameter` is one kind of it."""

    message: str

    def show(self) -> None:
        """Print it, and how the command is used, on standard error."""


_USAGE_ERROR: Final = typer.BadParameter.__mro__[1]


def invoke() -> int:
    """Run what the process's arguments say; returns the exit status. Wrong arguments are told of without the
    credentials in them."""
    try:
        code: object = app(prog_name="streamguard", standalone_mode=False)
    except typer.Abort:
        sys.stderr.write("aborted\n")
        return ExitCode.PROBLEMS
    except Exception as exc:
        if not isinstance(exc, _USAGE_ERROR):
            raise
        error = cast("_UsageError", exc)
        error.message = _CREDENTIALS.sub("…@", error.message)
        error.show()
        return ExitCode.USAGE
    return code if isinstance(code, int) else ExitCode.OK
