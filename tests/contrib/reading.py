"""Reads the objects of a model library with an adapter, outside any endpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

from streamguard import Usage

__all__ = ["Stream", "kinds", "read", "read_until_failure", "spent", "without_ids"]

Json = Any
"""A part."""


class Stream:
    """A library's asynchronous stream: its objects, then an error, if there is one; and whether it was closed."""

    def __init__(self, objects: Iterable[object], error: Exception | None = None) -> None:
        self._objects = list(objects)
        self._error = error
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[object]:
        for one in self._objects:
            yield one
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        self.closed = True


async def read(items: AsyncIterator[object]) -> list[Json]:
    """All items."""
    return [item async for item in items]


async def read_until_failure(items: AsyncIterator[object]) -> tuple[list[Json], Exception]:
    """The items before a failure, and the failure."""
    found: list[Json] = []
    try:
        async for item in items:
            found.append(item)  # noqa: PERF401 -- what came before the failure is kept
    except Exception as exc:  # noqa: BLE001 -- whatever it is
        return found, exc
    raise AssertionError("nothing failed")


def kinds(items: Iterable[Json]) -> list[str]:
    """The types of the parts, without usage."""
    return [item["type"] for item in items if not isinstance(item, Usage)]


def spent(items: Iterable[object]) -> dict[str, int]:
    """The usage of all items together."""
    total = Usage()
    for item in items:
        if isinstance(item, Usage):
            total = total.plus(item.amounts)
    return dict(total.amounts)


def without_ids(items: Iterable[Json]) -> list[Json]:
    """The parts without their ids, and without usage."""
    parts = [item for item in items if not isinstance(item, Usage)]
    return [{name: part[name] for name in part if name not in ("id", "sourceId")} for part in parts]
