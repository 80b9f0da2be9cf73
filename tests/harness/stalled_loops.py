"""The loops that tests of deadlines run on, and how they are made to stand still."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial

import uvloop

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


def run(factory: Callable[[], asyncio.AbstractEventLoop], step: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await step()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


@contextmanager
def answer_in_a_stall(*, after_seconds: float, for_seconds: float) -> Iterator[Callable[[], Awaitable[bytes]]]:
    """Have the running loop stand still for a while, soon. `answer` comes as that begins; reading it is the value."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)

        def stall() -> None:
            theirs.send(b"answer")
            time.sleep(for_seconds)  # the fault itself: nobody waits for anything by it

        loop.call_later(after_seconds, stall)
        yield partial(loop.sock_recv, ours, 16)
