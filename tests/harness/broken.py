"""The test of a suite: for each of its clauses a store that breaks it, which this clause must notice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import pytest

__all__ = ["Breaks", "Broken", "fails"]

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Broken(Generic[S]):
    """A broken store and what must fail on it."""

    store: type[S]
    clauses: frozenset[str]
    """The clause it breaks, and others that cannot be kept then."""


class Breaks(Generic[S]):
    """A decorator of broken stores, which keeps them by the clause that is broken."""

    def __init__(self) -> None:
        self.broken: dict[str, Broken[S]] = {}

    def __call__(self, clause: str, *also: str) -> Callable[[type[S]], type[S]]:
        """Register a store that breaks `clause`; name in `also` what follows from that."""

        def register(store: type[S]) -> type[S]:
            assert clause not in self.broken, clause
            self.broken[clause] = Broken(store, frozenset({clause, *also}))
            return store

        return register


async def fails(suite: object, clause: str, store: object) -> bool:
    """Whether `store` fails a clause of `suite`."""
    check = cast("Callable[[object], Awaitable[None]]", getattr(suite, clause))
    try:
        await check(store)
    except (Exception, pytest.fail.Exception):  # noqa: BLE001 -- however it fails, it fails
        return True
    return False
