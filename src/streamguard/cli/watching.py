"""`streamguard ps --watch`: looks again and again, in place on a terminal, until it is told to end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from ..errors import StoreUnavailableError
from .exits import CommandError, ExitCode
from .fitting import fitted
from .interrupting import told_to_end
from .output import Output, count, duration, safe
from .overview import WORKER_COLUMNS, WORKER_RIGHT, WORKER_SPARE, overview_lines, worker_rows
from .seen import COLUMNS, RIGHT, SPARE, Seen, summary

__all__ = ["picture", "watched"]

LEAST_ROWS: Final = 3
"""Rows of each table, however low the terminal is."""

T = TypeVar("T")


async def watched(
    output: Output,
    look: Callable[[], Awaitable[Seen]],
    show: Callable[[Seen], None],
    failure_of: Callable[[StoreUnavailableError], CommandError],
    interval: float,
) -> ExitCode:
    """Look every `interval` seconds until Ctrl-C or SIGTERM, which do not wait for a look that hangs. A store that
    fails is told of, and asked again, once it has answered at all. Where nothing can be shown in place, `show` prints
    each look.

    Raises:
        StoreError: the first look failed, or a later one, for another reason than that nobody answered.
    """
    console = output.console
    with told_to_end() as told:
        seen = await _unless_told(told, look)
        if seen is None:
            return ExitCode.OK
        if output.as_json or not console.is_terminal or console.is_dumb_terminal:
            show(seen)
            while not await _paused(told, interval):
                try:
                    if (seen := await _unless_told(told, look)) is not None:
                        show(seen)
                except StoreUnavailableError as exc:
                    output.failure(failure_of(exc))
            return ExitCode.OK
        at, problem = time.monotonic(), ""
        with Live(_picture(output, seen, ""), console=console, screen=True, auto_refresh=False) as live:
            while not await _paused(told, interval):
                try:
                    if (new := await _unless_told(told, look)) is not None:
                        seen, at, problem = new, time.monotonic(), ""
                except StoreUnavailableError as exc:
                    ago = duration(time.monotonic() - at)
                    problem = f"below is what was seen {ago} ago; {safe(failure_of(exc).message)}"  # may be cut
                live.update(_picture(output, seen, problem), refresh=True)
    return ExitCode.OK


async def _unless_told(told: asyncio.Event, call: Callable[[], Awaitable[T]]) -> T | None:
    """What the call gives; None, and the call is cancelled, as soon as the command is told to end."""
    working, telling = asyncio.ensure_future(call()), asyncio.ensure_future(told.wait())
    try:
        await asyncio.wait({working, telling}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        telling.cancel()
        if not working.done():
            working.cancel()
            with suppress(asyncio.CancelledError, StoreUnavailableError):
                await working


async def _paused(told: asyncio.Event, seconds: float) -> bool:
    """Wait; True as soon as the command is told to end."""
    telling = asyncio.ensure_future(told.wait())
    try:
        return bool((await asyncio.wait({telling}, timeout=seconds))[0])
    finally:
        telling.cancel()


def _picture(output: Output, seen: Seen, problem: str) -> Group:
    return picture(seen, problem, width=output.console.width, height=output.console.height)


def picture(seen: Seen, problem: str, *, width: int, height: int) -> Group:
    """One look as a screen of that size: what matters most on top, and rows as far as there is room."""
    lines = [summary(seen), *overview_lines(seen.overview, seen.states)]
    parts: list[RenderableType] = [_line(problem, "red")] if problem else []
    parts += [_line(line) for line in lines]
    workers = worker_rows(seen.overview)
    room = height - len(parts) - 6  # two titles, two blank lines, two lines that say how much is left out
    for_workers = min(len(workers), max(LEAST_ROWS, room // 3))
    for_streams = max(LEAST_ROWS, room - for_workers)
    if workers:
        shown = fitted(WORKER_COLUMNS, workers[:for_workers], right=WORKER_RIGHT, spare=WORKER_SPARE, width=width)
        parts += [_line(""), shown, *_left_out(workers, for_workers, "worker")]
    if seen.rows:
        streams = fitted(COLUMNS, seen.rows[:for_streams], right=RIGHT, spare=SPARE, width=width)
        parts += [_line(""), streams, *_left_out(seen.rows, for_streams, "stream")]
    return Group(*parts)


def _left_out(rows: Sequence[Sequence[str]], shown: int, what: str) -> list[RenderableType]:
    more = len(rows) - shown
    return [_line(f"and {count(more, what)} more", "dim")] if more > 0 else []


def _line(text: str, style: str = "") -> Text:
    """One line, cut where the screen ends."""
    return Text(safe(text), style=style, no_wrap=True, overflow="ellipsis")
