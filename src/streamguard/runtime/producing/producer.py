"""Drives an endpoint's items into a stream, in a task that no client's disconnect touches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from ...faults import Fault, FaultCode
from ...values import Outcome
from ..request import Ending
from .failures import fault_of
from .stream import LiveStream

__all__ = ["produce"]

YIELD_EVERY: Final = 64
"""A generator that never waits gives the event loop a turn after this many items."""


async def produce(stream: LiveStream, items: Callable[[], AsyncIterator[object]]) -> Ending:
    """Run the endpoint's iterator to its end, failure or cancellation, and say which it was.

    Never raises: a cancellation that is not the stream's own (the runtime's group being torn down) becomes
    `interrupted`, because finalisation must still happen.
    """
    encoder = stream.encoder
    encode, emit = encoder.encode, stream.emit_data
    count, turn = 0, 1
    try:
        iterator = items()
        try:
            async for item in iterator:
                if stream.cancelling is not None:  # the endpoint swallowed its cancellation
                    break
                stream.items = count = count + 1
                payloads = encode(item)
                if payloads:
                    if not stream.began:
                        stream.begin()
                    for payload in payloads:
                        emit(payload)
                    stream.said = True
                if count == turn:
                    turn += YIELD_EVERY
                    await asyncio.sleep(0)
                if stream.full:
                    await stream.room()
        finally:
            close = getattr(iterator, "aclose", None)
            if close is not None:
                await close()
        if stream.cancelling is None:
            stream.begin()
            for payload in encoder.finish():
                emit(payload)
            return Ending(Outcome.COMPLETED, None)
    except asyncio.CancelledError as exc:
        cancelled = _uncancelled()
        if stream.cancelling is None and cancelled:
            return Ending(Outcome.INTERRUPTED, Fault.about(stream, FaultCode.SHUTTING_DOWN))
        if stream.cancelling is None:  # not this task: something the endpoint waited for was cancelled
            return Ending(Outcome.FAILED, fault_of(exc, stream), exc)
    except Exception as exc:  # noqa: BLE001 -- whatever an endpoint raises ends its stream, and only that
        if stream.cancelling is None:
            return Ending(Outcome.FAILED, fault_of(exc, stream), exc)
    if stream.cancelling.outcome is Outcome.STOPPED:
        stream.begin()  # its endpoint ran, so that the request counts
    return stream.cancelling


def _uncancelled() -> bool:
    """Take back every cancellation of the present task. Returns whether there was one."""
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        return False
    while task.uncancel():
        pass
    return True
