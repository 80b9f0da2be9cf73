"""A stream that says numbers, and cursors into it."""

from __future__ import annotations

from streamguard.cursor import Cursor
from streamguard.runtime import LiveStream

from ..harness.waiting import wait_until_async
from .stage import Model, Worker

__all__ = ["at", "numbered"]


def at(stream: LiveStream, seq: int) -> Cursor:
    return Cursor(stream.ref.stream_id, stream.epoch, seq)


async def numbered(worker: Worker, count: int) -> tuple[Model, LiveStream]:
    """A stream that said its first `count` numbers and goes on."""
    model = Model(*(f"{n};" for n in range(1, count + 1)))
    stream = await worker.start(model)
    await wait_until_async(lambda: stream.acked == count, description="all of it is logged")
    return model, stream
