"""The ids that an answer carries in its headers, as far as they are known."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..faults import Fault
from ..values import trace_id_of
from .headers import RawHeaders, id_headers

__all__ = ["ResponseIds"]


@dataclass(slots=True)
class ResponseIds:
    """The ids of one answer; more become known while its request is being admitted."""

    request_id: str
    session_id: str | None = None
    stream_id: str | None = None
    message_id: str | None = None
    set_cookie: str | None = field(default=None, repr=False)
    trace: str | None = None
    """The trace that the request belongs to: a W3C `traceparent`."""
    owner: str | None = field(default=None, repr=False)
    """Who is asking, once that is known. For observations; never sent."""
    _made: tuple[tuple[str | None, ...], RawHeaders] | None = field(default=None, init=False, repr=False)
    """The headers of the ids that were known when they were last asked for."""

    def headers(self) -> RawHeaders:
        """The id headers, and the visitor's cookie if a new one is set."""
        known = (self.session_id, self.stream_id, self.message_id, self.set_cookie)
        if self._made is None or self._made[0] != known:
            headers = id_headers(
                request_id=self.request_id,
                session_id=self.session_id,
                stream_id=self.stream_id,
                message_id=self.message_id,
            )
            if self.set_cookie is not None:
                headers.append((b"set-cookie", self.set_cookie.encode("latin-1")))
            self._made = known, headers
        return [*self._made[1]]

    def complete(self, fault: Fault) -> Fault:
        """The fault with the ids that it lacks."""
        return replace(
            fault,
            request_id=fault.request_id or self.request_id,
            session_id=fault.session_id or self.session_id,
            stream_id=fault.stream_id or self.stream_id,
            message_id=fault.message_id or self.message_id,
            trace_id=fault.trace_id or trace_id_of(self.trace),
        )
