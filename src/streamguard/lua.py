"""Lua for rooms that keep their things in Redis: the text of their scripts, the client they are handed, and how what
comes of a call is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import Final, Protocol

from .decoding import decoding
from .errors import MessageStoreError, QuotaError, StoreCorruptError, StoreError

__all__ = ["ScriptClient", "ScriptErrors", "as_bytes", "as_int", "as_items", "read_scripts"]

_INCLUDE: Final = re.compile(r"^--@include (\w+)$", re.MULTILINE)


def read_scripts(package: str, constants: Mapping[str, object]) -> dict[str, str]:
    """The scripts in a package's `lua` directory, by name: includes resolved, constants put in.

    To be called while importing: a store may be made on an event loop, which must not block.
    """
    directory = resources.files(package) / "lua"
    included = {file.name.removesuffix(".lua"): file.read_text("utf-8") for file in (directory / "include").iterdir()}

    def whole(source: str) -> str:
        return _INCLUDE.sub(lambda match: whole(included[match[1]]), source)

    sources = {}
    for file in directory.iterdir():
        if file.name.endswith(".lua"):
            source = whole(file.read_text("utf-8"))
            for name, value in constants.items():
                source = source.replace(name, str(value))
            sources[file.name.removesuffix(".lua")] = source
    return sources


class ScriptClient(Protocol):
    """What a store needs of Redis: `streamguard.stores.RedisClient` has it."""

    async def start(self) -> list[str]:
        """Connect; warnings for the operator. Does not raise for an unreachable server."""
        ...

    async def call(
        self, operation: str, script: str, keys: Sequence[bytes], args: Sequence[str | bytes | int] = ()
    ) -> object:
        """What the Lua text `script` answers: bytes, int, None, or a list of such.

        Raises:
            StoreError: it could not be run, or no answer came; its cause is a `TimeoutError` if none came in time.
        """
        ...


@dataclass(frozen=True, slots=True)
class ScriptErrors:
    """What a room raises when a script of its fails."""

    invalid: type[MessageStoreError | QuotaError]
    timeout: type[MessageStoreError | QuotaError]
    unavailable: type[MessageStoreError | QuotaError]

    @contextmanager
    def calling(self, operation: str) -> Iterator[None]:
        """Around a call of the client."""
        try:
            yield
        except StoreCorruptError as exc:
            raise self.invalid(str(exc), operation=operation) from exc
        except StoreError as exc:
            error = self.timeout if isinstance(exc.__cause__, TimeoutError) else self.unavailable
            raise error(str(exc), operation=operation) from exc

    @contextmanager
    def reading(self, operation: str) -> Iterator[None]:
        """Around the reading of a reply."""
        with decoding(lambda: self.invalid(f"{operation}: what Redis holds there is damaged", operation=operation)):
            yield


def as_items(reply: object) -> list[object]:
    """A reply that is a list."""
    if not isinstance(reply, list):
        raise TypeError("not a list")
    return reply


def as_bytes(reply: object) -> bytes:
    """A reply that is a text."""
    if not isinstance(reply, bytes):
        raise TypeError("not bytes")
    return reply


def as_int(reply: object) -> int:
    """A reply that is a number."""
    if not isinstance(reply, int):
        raise TypeError("not a number")
    return reply
