"""The name under which pip knows this library, and the commands that install parts of it."""

from __future__ import annotations

from typing import Final

__all__ = ["DISTRIBUTION", "install_command"]

DISTRIBUTION: Final = "streamguard-asgi"
"""On the package index the name `streamguard` belongs to another project; the import name is `streamguard`."""


def install_command(extra: str) -> str:
    """The command that installs what `extra` needs, beside a library that is installed already, from wherever it came.

    Args:
        extra: a name under `[project.optional-dependencies]` in `pyproject.toml`.
    """
    return f"pip install '{DISTRIBUTION}[{extra}]'"
