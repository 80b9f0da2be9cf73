"""The commands, put together. One module per command; this one only names them."""

from __future__ import annotations

from typing import Annotated

import typer

from . import doctor, outbox, ps, quota, reconcile, sessions
from .version import package_version

__all__ = ["app"]

app = typer.Typer(
    help="Look after the streams of an application that streamguard guards.",
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
