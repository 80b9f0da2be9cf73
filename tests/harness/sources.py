"""The project's own source files, whatever else lies, comes or goes in its folders meanwhile."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

__all__ = ["modules_with", "python_files", "source_files"]

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


def modules_with(words: Iterable[str], folder: Path) -> Iterator[tuple[Path, ast.Module]]:
    """Every module below `folder` in whose text one of the words stands, parsed, in the order of their paths.

    To parse all of the package takes seconds, to look for words in its text next to nothing.
    """
    said = re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b")
    for path in python_files(folder):
        if said.search(text := path.read_text("utf-8")):
            yield path, ast.parse(text)
