"""`streamguard`: the operator's command line. It needs the extra `cli`; importing this does not."""

from __future__ import annotations

import sys

from ..distribution import install_command

__all__ = ["main"]

_NEEDED = frozenset({"typer", "rich"})


def main() -> None:
    """Run the command line and exit with its status; 2 when the extra is missing."""
    try:
        from .app import invoke  # noqa: PLC0415 -- what it imports is optional
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] not in _NEEDED:
            raise
        sys.stderr.write(f"streamguard: the command line needs more packages: {install_command('cli')}\n")
        sys.exit(2)
    sys.exit(invoke())
