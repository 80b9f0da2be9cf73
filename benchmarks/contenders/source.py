"""The model that every contender serves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from starlette.requests import Request

__all__ = ["source"]

T = TypeVar("T")

_HOLD_SECONDS = 90.0


def source(form: Callable[[int, int], T]) -> Callable[[Request], AsyncIterator[T]]:
    """The generator that all contenders serve. They differ only in `form`, the form in which each event is yielded.

    It gives up the loop after each event, as reading an upstream does.
    Query of the request: `stream` (the stream's number, which each event contains), `events` (their count), `gap`
    (seconds between two events, 0: no pause), `hold` (1: stay silent after the last event).
    """

    async def chat(request: Request) -> AsyncIterator[T]:
        query = request.query_params
        stream, events, gap = int(query["stream"]), int(query["events"]), float(query["gap"])
        due = time.monotonic()
        for seq in range(1, events + 1):
            yield form(stream, seq)
            if gap and seq < events:
                due += gap  # on a grid from the stream's beginning: a late event does not delay the next
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            else:
                await asyncio.sleep(0)
        if query["hold"] == "1":
            await asyncio.sleep(_HOLD_SECONDS)

    return chat
