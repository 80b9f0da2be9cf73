"""The project's own source files, whatever else lies, comes or goes in its folders meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["python_files", "source_files"]

NOT_OURS: Final = frozenset({"node_modules", "__pycache__", ".venv"})
"""Folders that others fill and empty. Other tests may do so at this moment: a walk must not enter them."""
SCRATCH: Final = "streamguard-"
"""How the names of folders begin that tests make beside the packages that they need: likewise."""


def python_files(folder: Path) -> Iterator[Path]:
    """Every `.py` file below `folder`, in the order of their paths."""
    return source_files(folder, ".py")


def source_files(folder: Path, *endings: str) -> Iterator[Path]:
    """Every file below `folder` whose name ends so, in the order of their paths."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if one not in NOT_OURS and not one.startswith(SCRATCH))
        for name in sorted(files):
            if name.endswith(endings):
                yield Path(place, name)
