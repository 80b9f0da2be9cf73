"""A user of the application: the requests one can make, with a user's own headers and cookies."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http.cookies import SimpleCookie
from typing import Final, cast
from urllib.parse import quote, urlencode

from ..client.records import SavedMessage, SessionStatus, read_saved_message, read_session_status
from ..errors import FaultError
from ..wire.folding import Json
from .answers import Answer

__all__ = ["Visitor"]

Opener = Callable[[str, str, Sequence[tuple[str, str]], bytes], Awaitable[Answer]]

_JSON: Final = {"content-type": "application/json"}


class Visitor:
    """Makes requests. Cookies that answers set are kept and sent, as a browser does; other users are other visitors.

    `prefix` is what the guard's routes were installed under. Paths are sent as they are, so encoded already; session
    ids are encoded here. In all methods `session_id`, `stream_id` and `message_id` are ids as answers have them, and
    `headers` are sent besides the visitor's own; `request` sends any `method` to any `path`, with `body` as it is.
    """

    def __init__(self, open_: Opener, *, prefix: str, headers: Mapping[str, str]) -> None:
        self._open = open_
        self.prefix: str = prefix
        self.headers: dict[str, str] = dict(headers)
        """Sent with every request."""
        self.cookies: dict[str, str] = {}

    async def request(
        self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request, and give the answer once it begins. One that is no stream is read whole.

        Raises:
            AssertionError: it did not begin in time. What the application raised before that comes as it is.
        """
        lines = {"host": "testserver", **self.headers, **(headers or {})}
        if self.cookies and "cookie" not in {name.lower() for name in lines}:
            lines["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body or method in ("POST", "PUT", "PATCH"):
            lines.setdefault("content-length", str(len(body)))
        answer = await self._open(method, path, list(lines.items()), body)
        for line in answer.set_cookies:
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.coded_value
        return answer

    async def post(self, body: object, *, path: str | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        """POST `body` as JSON to `path`, by default the prefix itself: ask a question."""
        content = json.dumps(body).encode()
        return await self.request("POST", path or self.prefix, body=content, headers={**_JSON, **(headers or {})})

    async def resume(
        self,
        session_id: str,
        *,
        after: str | None = None,
        errors_in_stream: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Come back to a session's answer, `after` a cursor if one is given.

        With `errors_in_stream` as a browser's EventSource would: failures are 200 and told inside the stream.
        """
        more = dict(headers or {})
        if after is not None:
            more["last-event-id"] = after
        query = "?errors=stream" if errors_in_stream else ""
        return await self.request("GET", self._path(session_id, f"/stream{query}"), headers=more)

    async def stop(self, session_id: str, *, stream_id: str | None = None, message_id: str | None = None) -> Answer:
        """Stop the running answer: 202, or 204 if there is none, or if it is not the one that is named."""
        named = {"stream_id": stream_id, "message_id": message_id}
        query = urlencode({name: value for name, value in named.items() if value is not None})
        return await self.request("POST", self._path(session_id, "/stop") + (f"?{query}" if query else ""))

    async def delete(self, session_id: str) -> Answer:
        """End the running answer and forget the session: 204."""
        return await self.request("DELETE", self._path(session_id))

    async def raw(self, session_id: str, stream_id: str) -> str:
        """The logged text of a stream.

        Raises:
            FaultError: it was refused; so do the next two.
        """
        return (await self._asked(self._path(session_id, f"/streams/{quote(stream_id)}/raw"))).body.decode()

    async def status(self, session_id: str) -> SessionStatus:
        """The session's running and last answer."""
        return read_session_status((await self._asked(self._path(session_id))).json())

    async def messages(
        self, session_id: str, *, after: int | None = None, limit: int | None = None
    ) -> list[SavedMessage]:
        """The session's saved messages, past position `after`, at most `limit`."""
        asked = {"after": after, "limit": limit}
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        answer = await self._asked(self._path(session_id, "/messages" + (f"?{query}" if query else "")))
        return [read_saved_message(entry) for entry in cast("list[Json]", answer.json()["messages"])]

    def _path(self, session_id: str, rest: str = "") -> str:
        return f"{self.prefix}/{quote(session_id, safe='')}{rest}"

    async def _asked(self, path: str) -> Answer:
        answer = await self.request("GET", path)
        if answer.status != 200:
            for fault in answer.faults:
                raise FaultError(fault)
            raise AssertionError(f"GET {path} was answered with {answer.status}: {answer.body[:500]!r}")
        return answer
