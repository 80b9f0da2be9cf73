"""The Lua scripts beside this module, how they are called, and how their replies are read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from types import MappingProxyType
from typing import Final, Protocol

from ..errors import (
    QuotaInvalidError,
    QuotaTimeoutError,
    QuotaUnavailableError,
    StoreCorruptError,
    StoreError,
)
from ..model import FORMAT_VERSION
from .ledger import SWEEP
from .limits import ANCHOR_MS, MAX_AMOUNT

__all__ = ["ScriptClient", "as_bytes", "as_int", "as_items", "called", "undamaged"]

_INCLUDE: Final = re.compile(r"^--@include (\w+)$", re.MULTILINE)
_CONSTANTS: Final = {
    "@ANCHOR_MS@": str(ANCHOR_MS),
    "@FORMAT_VERSION@": str(FORMAT_VERSION),
    "@MAX_AMOUNT@": str(MAX_AMOUNT),
    "@SWEEP@": str(SWEEP),
}


def _read() -> dict[str, str]:
    directory = resources.files(__package__) / "lua"
    included = {file.name.removesuffix(".lua"): file.read_text("utf-8") for file in (directory / "include").iterdir()}

    def whole(source: str) -> str:
        return _INCLUDE.sub(lambda match: whole(included[match[1]]), source)

    sources = {}
    for file in directory.iterdir():
        if file.name.endswith(".lua"):
            source = whole(file.read_text("utf-8"))
            for name, value in _CONSTANTS.items():
                source = source.replace(name, value)
            sources[file.name.removesuffix(".lua")] = source
    return sources


_SCRIPTS: Final = MappingProxyType(_read())
"""Lua by step. Read while importing: a store may be made on an event loop, which must not block."""


class ScriptClient(Protocol):
    """What the store needs of Redis: `streamguard.stores.RedisClient` has it."""

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


async def called(
    client: ScriptClient, operation: str, script: str, keys: Sequence[bytes], args: Sequence[str | bytes | int]
) -> object:
    """What a script of ours answers.

    Raises:
        QuotaError: the client's error, as the quota's contract says it.
    """
    try:
        return await client.call(operation, _SCRIPTS[script], keys, args)
    except StoreCorruptError as exc:
        raise QuotaInvalidError(str(exc), operation=operation) from exc
    except StoreError as exc:
        error = QuotaTimeoutError if isinstance(exc.__cause__, TimeoutError) else QuotaUnavailableError
        raise error(str(exc), operation=operation) from exc


@contextmanager
def undamaged(operation: str) -> Iterator[None]:
    """Around the reading of a reply."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as exc:
        raise QuotaInvalidError(f"{operation}: what Redis holds there is damaged", operation=operation) from exc


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
