"""Drives an endpoint's items into a stream, in a task that no client's disconnect touches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from ..errors import EventTooLargeError, FaultError, StreamLimitError
from ..faults import Fault, FaultCode, Phase
from ..model import Outcome
from .request import Ending
from .stream import LiveStream

__all__ = ["fault_of", "produce"]

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
    return stream.cancelling


def _uncancelled() -> bool:
    """Take back every cancellation of the present task. Returns whether there was one."""
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        return False
    while task.uncancel():
        pass
    return True


def fault_of(error: BaseException, stream: LiveStream) -> Fault:
    """What an endpoint's exception means to a client, without its text.

    Provider SDKs are recognised by shape, not by import: `status_code` (openai, anthropic; httpx.HTTPStatusError
    through its `response`), and class names of timeouts and broken connections.
    """
    if isinstance(error, FaultError):
        return error.fault
    if isinstance(error, EventTooLargeError):
        return Fault.about(stream, FaultCode.EVENT_TOO_LARGE)
    if isinstance(error, StreamLimitError):
        return Fault.about(stream, FaultCode(error.code), reason=error.limit)
    status = _status_of(error)
    if status is not None and hasattr(error, "detail"):  # the host's own HTTPException: not the provider's doing
        if status >= 500:
            return Fault.about(stream, FaultCode.INTERNAL, status=status)
        return Fault.about(stream, FaultCode.REQUEST_INVALID, status=status)
    if status == 429:
        return Fault.about(stream, FaultCode.PROVIDER_RATE_LIMITED, retry_after_seconds=_retry_after(error))
    names = {cls.__name__ for cls in type(error).__mro__}
    if isinstance(error, TimeoutError) or any("Timeout" in name for name in names) or status in (408, 504):
        return Fault.about(stream, FaultCode.PROVIDER_TIMEOUT)
    if isinstance(error, ConnectionError) or names & _BROKEN:
        return Fault.about(stream, FaultCode.PROVIDER_ABORTED)
    if type(error).__module__.partition(".")[0] == "streamguard":
        return Fault.about(stream, FaultCode.INTERNAL)
    if status is not None and 400 <= status < 500:
        return Fault.about(stream, FaultCode.PROVIDER_ERROR, retryable=False)
    return Fault.about(stream, FaultCode.PROVIDER_ERROR, phase=Phase.PROVIDER)


_BROKEN: Final = frozenset({"APIConnectionError", "TransportError", "ClientConnectionError", "ClientPayloadError"})


def _status_of(error: BaseException) -> int | None:
    status = getattr(error, "status_code", None)
    if status is None:
        status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _retry_after(error: BaseException) -> int:
    """The provider's `Retry-After` in whole seconds, bounded to an hour; 5 when it named none."""
    headers = getattr(getattr(error, "response", None), "headers", None)
    value = headers.get("retry-after") if headers is not None else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 7:
        return min(max(int(value), 1), 3600)
    return 5
