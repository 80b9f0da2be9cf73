"""The name under which pip knows this library, and the commands that install parts of it."""

from __future__ import annotations

from typing import Final

__all__ = ["DISTRIBUTION", "install_command"]

DISTRIBUTION: Final = "streamguard-asgi"
"""The import name is `streamguard`; on the package index that name belongs to another project."""


def install_command(extra: str) -> str:
    """The command that installs what `extra` needs. It works however the library itself was installed.

    Args:
        extra: a name under `[project.optional-dependencies]` in `pyproject.toml`.
    """
    return f"pip install '{DISTRIBUTION}[{extra}]'"
