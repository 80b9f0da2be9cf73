"""Compares what is counted with what is on record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias, TypeVar

from .recording import Case, StreamCase

__all__ = ["Counting", "check", "tenth_more"]

GROWTH: Final = 1.1

K = TypeVar("K", Case, StreamCase)
F = TypeVar("F", bound=tuple[float, ...])


Counting: TypeAlias = Callable[[K, str, Callable[[F], bool]], Awaitable[tuple[F, str]]]
"""Counts a case at some store, again while that is not enough; with a list of what took most, for people."""


def tenth_more(before: float) -> float:
    """How much passes where so much is on record."""
    return before * GROWTH


async def check(
    case: K, url: str, recorded: F, counting: Counting[K, F], most: Callable[[float], float] = tenth_more
) -> None:
    """Count, and compare each figure with the greatest that passes.

    Raises:
        AssertionError: one of them is greater.
    """
    bounds = [most(before) for before in recorded]

    def enough(found: F) -> bool:
        return all(now <= bound for now, bound in zip(found, bounds, strict=True))

    found, listed = await counting(case, url, enough)
    assert enough(found), (
        f"{case}: found {found}, {recorded} is on record. Nothing per event that a commit could do: see "
        "docs/explanation/performance.md. If it has to be, write the new figures with "
        f"`python -m tests.hot_path.recording`, and say why in the commit.\n{listed}"
    )
