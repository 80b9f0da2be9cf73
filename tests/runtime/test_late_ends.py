"""What is told of the save of a stream whose end could not be written at first: its log is whole."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from streamguard.errors import StoreCorruptError
from streamguard.observations import Signal
from streamguard.stores.memory import MemoryStore
from streamguard.values import Persisted

from ..harness.waiting import wait_until_async
from .lines import Line
from .savers import Messages, saving_to, stored_in
from .stage import Model, closed, quick, saying, working

pytestmark = pytest.mark.anyio


async def test_a_save_that_failed_meanwhile_is_not_given_up(memory: MemoryStore) -> None:
    """The message store is away too: the save is made again, or owed, once the stream store is back."""
    line, messages = Line(memory), Messages()
    ended: asyncio.Future[Persisted] = asyncio.get_running_loop().create_future()
    async with working(line, quick(save_total_seconds=0.05), bindings=saving_to(messages)) as worker:
        model = Model("a")
        request = replace(worker.request(), on_end=lambda terminal: ended.set_result(terminal.persisted))
        stream = await worker.start(model, request)
        await stream.first(5)
        line.broken = {"seal", "ping"}
        messages.down = True
        model.end()
        await worker.watch(stream)
        assert await ended is Persisted.PENDING
        messages.down = False
        line.broken = set()
        meta = await closed(memory, stream.ref)
    assert meta.persisted is Persisted.YES
    assert len(await stored_in(messages)) == 1


@pytest.mark.parametrize("step", ["seal", "close"])
async def test_a_record_that_turns_out_to_be_damaged_changes_nothing_of_what_was_saved(
    memory: MemoryStore, step: str
) -> None:
    line, messages = Line(memory), Messages()
    async with working(line, bindings=saving_to(messages)) as worker:
        line.broken = {step, "seal_and_close", "ping"}
        stream = await worker.start(saying("a"))
        await wait_until_async(lambda: stream.finished, description="its end is there, and cannot be written")
        line.errors[step] = [StoreCorruptError("damaged", operation=step)]
        line.broken = set()
        await worker.idle()
        (ended,) = worker.signals(Signal.STREAM_ENDED)
        assert len(await stored_in(messages)) == 1
    assert ended.fields["persisted"] == Persisted.YES
