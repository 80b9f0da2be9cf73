"""The Lua scripts: the files beside this module with their includes resolved and their digests."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from importlib import resources
from typing import Final

from ..model import FORMAT_VERSION
from .redis_records import META_FIELDS

__all__ = ["Scripts"]

_INCLUDE: Final = re.compile(r"^--@include (\w+)$", re.MULTILINE)
_CONSTANTS: Final = {
    "@FORMAT_VERSION@": str(FORMAT_VERSION),
    "@META_FIELDS@": ", ".join(f"'{name}'" for name in META_FIELDS),
}


def _read() -> dict[str, str]:
    directory = resources.files(__package__) / "lua"
    includes = {
        file.name.removesuffix(".lua"): file.read_text("utf-8")
        for file in (directory / "include").iterdir()
        if file.name.endswith(".lua")
    }
    sources = {}
    for file in directory.iterdir():
        if file.name.endswith(".lua"):
            source = _INCLUDE.sub(lambda match: includes[match[1]], file.read_text("utf-8"))
            for name, value in _CONSTANTS.items():
                source = source.replace(name, value)
            sources[file.name.removesuffix(".lua")] = source
    return sources


def _digest(source: str) -> bytes:
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest().encode()


_SOURCES: Final = _read()
"""Read while importing, like the code they are part of: a store may be made on an event loop, which must not block."""


class Scripts:
    """Scripts by name. What a store runs is what it was given, so a test can hand it a changed line."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self.sources: Final = dict(sources)
        """Lua by script name, ready to load."""
        self.digests: Final = {name: _digest(source) for name, source in self.sources.items()}
        """What `EVALSHA` calls each by."""

    @classmethod
    def load(cls) -> Scripts:
        """The scripts of this version, from the package's `lua` directory."""
        return cls(_SOURCES)

    def add(self, source: str) -> str:
        """Take in a script by its text, once. Returns the name it goes by: the text itself."""
        if source not in self.sources:
            self.sources[source] = source
            self.digests[source] = _digest(source)
        return source

    def replacing(self, name: str, old: str, new: str) -> Scripts:
        """A copy in which one piece of one script reads differently, to see that a test notices.

        Raises:
            ValueError: `old` does not occur exactly once.
        """
        source = self.sources[name]
        if source.count(old) != 1:
            raise ValueError(f"{name}.lua holds {old!r} {source.count(old)} times, not once")
        return Scripts({**self.sources, name: source.replace(old, new)})
