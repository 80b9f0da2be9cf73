"""What Hypercorn does to a response over HTTP/2 that is cut short, and what can be done about it.

Over HTTP/1.1 a server breaks the connection when the application returns without a final body message. Over HTTP/2 a
connection carries many responses, so a server resets the one stream. Granian and gunicorn do. Hypercorn forgets the
stream and tells the client nothing, which then waits for as long as the connection lasts (measured with 0.18: five
seconds if nothing else is open on it, otherwise without a limit). ASGI has no message for a reset.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

from starlette.types import Send

__all__ = ["reset_http2_stream"]

FLUSH_SECONDS: Final = 1.0
"""How long a client may take to read what was sent before the cut. A reset discards the rest."""
_INTERNAL_ERROR: Final = 2


async def reset_http2_stream(send: Send) -> None:
    """Reset the HTTP/2 stream of a response that was cut short. Does nothing unless `send` is Hypercorn's own, over
    HTTP/2, and the response has begun."""
    stream: Any = getattr(send, "__self__", None)
    if type(stream).__module__ != "hypercorn.protocol.http_stream":
        return
    with suppress(Exception):  # the client left meanwhile, or another version keeps its things elsewhere
        protocol = stream.send.__self__
        number = stream.stream_id
        if type(protocol).__module__ != "hypercorn.protocol.h2" or stream.closed or stream.state.name != "RESPONSE":
            return
        buffer = protocol.stream_buffers[number]
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):  # noqa: TID251 -- judges nobody: the client is cut anyway
                while buffer.buffer:
                    await buffer.drain()
        buffer.set_complete()  # so that it is forgotten when it is looked at next
        protocol.connection.reset_stream(number, _INTERNAL_ERROR)
        await protocol._window_updated(number)  # noqa: SLF001 -- as Hypercorn does when a client resets a stream
        await protocol._flush()  # noqa: SLF001
