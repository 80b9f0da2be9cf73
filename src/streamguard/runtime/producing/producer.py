"""Runs an endpoint and emits its items, in a task that no client's disconnect touches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import AsyncGeneratorType
from typing import Final

from ...contained import passes
from ...faults import Fault, FaultCode
from ...values import Outcome, Usage
from ...wire.base import Encoder
from ..request import Ending
from .failures import fault_of, status_of_answer, told_failure
from .item_source import DivertedItems, ItemSource
from .stream import LiveStream

__all__ = ["produce"]

YIELD_EVERY: Final = 64
"""A generator that never waits gives the event loop a turn after this many items."""


async def produce(stream: LiveStream, items: Callable[[], AsyncIterator[object]]) -> Ending:
    """Run the endpoint's iterator to its end, failure or cancellation. Returns how the stream is to end.

    Never raises: a cancellation that is not the stream's own (the runtime's group being torn down) becomes
    `interrupted`, because finalisation must still happen.
    """
    backlog, activity = stream.backlog, stream.activity
    encoder: Encoder | None = None
    """Its encoder, once the first item has decided what the stream speaks."""
    lone_payload: Callable[[object], bytes] = _not_yet
    turn = 1
    take: Callable[[object], bool] | None = None
    """See `_taking`, where items are diverted and one was emitted."""
    part: AsyncIterator[object] | None
    silent = True
    try:
        activity.called_at = activity.clock()
        iterator = part = items()
        del items  # see `StreamTasks`
        try:
            while part is not None:
                # Most are generators: asking an abstract class whether it has them takes longer than to begin one.
                plain = type(part) is AsyncGeneratorType
                divert = part.divert if not plain and isinstance(part, DivertedItems) else None
                take = None if divert is None or silent else _taking(stream)
                async for item in part:
                    if stream.early_end is not None:  # the endpoint swallowed its cancellation
                        break
                    activity.items = count = activity.items + 1
                    payload = lone_payload(item)
                    if payload:  # nearly always
                        backlog.add_data(payload)
                    elif type(item) is Usage:
                        stream.usage(**item.amounts)  # clients see nothing of it
                    else:
                        if encoder is None:
                            activity.first_item_at = activity.clock()
                            encoder = stream.speaking.encoder
                        payloads = encoder.encode(item)
                        if silent and payloads:
                            stream.begin()
                        for payload in payloads:
                            backlog.add_data(payload)
                        if silent and payloads:
                            silent = False
                            lone_payload = encoder.lone_payload
                            stream.item_emitted()
                            take = None if divert is None else _taking(stream)
                    if count >= turn:
                        turn = count + YIELD_EVERY
                        await asyncio.sleep(0)
                    if backlog.full:
                        await backlog.wait_for_capacity()
                    if divert is not None and take is not None:
                        divert(take)
                part = None if plain or stream.early_end is not None else _rest_of(part)
        finally:
            close = getattr(iterator, "aclose", None)
            if close is not None:
                await close()
        if stream.early_end is None:
            stream.begin()
            for payload in stream.speaking.encoder.finish():
                backlog.add_data(payload)
            return told_failure(stream) or Ending(Outcome.COMPLETED, None)
    except asyncio.CancelledError as exc:
        cancelled = _uncancelled()
        if stream.early_end is None and cancelled:
            ending = Ending(Outcome.INTERRUPTED, Fault.about(stream, FaultCode.SHUTTING_DOWN))
            stream.produced_by(None)  # this task has been cancelled already
            stream.cancel(ending)
            return ending
        if stream.early_end is None:  # not this task: something the endpoint waited for was cancelled
            return Ending(Outcome.FAILED, fault_of(exc, stream), exc)
    except BaseException as exc:  # whatever an endpoint raises ends its stream, and only that
        if passes(exc):
            raise
        if stream.early_end is None:
            return told_failure(stream, exc) or Ending(
                Outcome.FAILED, fault_of(exc, stream), exc, status_of_answer(exc, stream)
            )
    if stream.early_end.outcome is Outcome.STOPPED:
        stream.begin()  # the endpoint ran, so the request counts as answered
    return stream.early_end


def _taking(stream: LiveStream) -> Callable[[object], bool]:
    """Takes an item that is sent while the producer waits for it. Made where items are diverted, and no part of the
    producer: a function inside it would take half a KiB of each stream that is open."""
    activity, backlog, encoder = stream.activity, stream.backlog, stream.speaking.encoder
    add, lone_payload = backlog.add_data, encoder.lone_payload

    def take(item: object) -> bool:
        if stream.early_end is not None:
            return False
        activity.items = count = activity.items + 1
        payload = lone_payload(item)
        if payload:
            add(payload)
        else:
            for payload in encoder.encode(item):
                add(payload)
        return count % YIELD_EVERY > 0 and not backlog.full

    return take


def _not_yet(_: object) -> bytes:
    """The `lone_payload` of a stream without an event: its first one begins it."""
    return b""


def _rest_of(part: AsyncIterator[object]) -> AsyncIterator[object] | None:
    """Where the items come from after this part of them; None where it was the last."""
    return part.rest if isinstance(part, ItemSource) else None


def _uncancelled() -> bool:
    """Take back every cancellation of the present task. Returns whether there was one."""
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        return False
    while task.uncancel():
        pass
    return True
