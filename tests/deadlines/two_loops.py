"""The loops that tests of deadlines run on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import uvloop

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


def run(factory: Callable[[], asyncio.AbstractEventLoop], step: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await step()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
