"""What an endpoint returned that is a function and no generator."""

from __future__ import annotations

import asyncio
from functools import partial

from starlette.responses import Response

from ...runtime import LiveStream
from .closing import close_dropped
from .returned_response import ResponseHead

__all__ = ["EndpointResult"]


class EndpointResult:
    """What a coroutine or plain function returned, as soon as it has returned."""

    def __init__(self) -> None:
        self._known = asyncio.get_running_loop().create_future()
        self._returned: Response | ResponseHead | None = None

    def resolve(self, returned: Response | ResponseHead | None) -> bool:
        """The endpoint returned a whole response, the head of one whose body goes through the log, or an iterator
        (None); or it raised (None too: the stream tells how it failed). Only the first call counts. Returns whether
        this one did, and is waited for."""
        if self._known.done():
            return False
        self._returned = returned
        self._known.set_result(None)
        return True

    @property
    def status(self) -> int | None:
        """Of the response that was returned; None without one."""
        return None if self._returned is None else self._returned.status_code

    async def wait(self, stream: LiveStream) -> Response | ResponseHead | None:
        """Wait for the response that the endpoint returned, or its head; None for an iterator, and when the stream
        ends before the endpoint returned. Cancelling it closes the response, also one that is returned later."""
        stream.lifecycle.when_finished(partial(self.resolve, None))
        try:
            await self._known
        except asyncio.CancelledError:
            if isinstance(self._returned, Response):
                await close_dropped(self._returned)
            raise
        return self._returned
