"""The HTTP side of a client: URLs, headers, timeouts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import httpx

from ..errors import ConfigurationError
from .errors import StreamClientError

__all__ = ["HttpRequests"]

_LIMITS: Final = httpx.Limits(max_connections=None, max_keepalive_connections=20)


class HttpRequests:
    """Sends requests to one server; the arguments are those of `StreamClient`."""

    def __init__(
        self,
        server: str | httpx.AsyncClient,
        *,
        path: str,
        headers: Mapping[str, str],
        auth: httpx.Auth | tuple[str, str] | None,
        silence_seconds: float,
    ) -> None:
        self._owned = isinstance(server, str)
        # An answer holds its connection: with httpx's bound of 100, a stop would wait for one of 100 answers to end.
        self._client = httpx.AsyncClient(base_url=server, limits=_LIMITS) if isinstance(server, str) else server
        self.prefix: str = path.rstrip("/")
        self._headers = dict(headers)
        self._auth = httpx.USE_CLIENT_DEFAULT if auth is None else auth
        configured = self._client.timeout
        self._timeout = httpx.Timeout(
            connect=configured.connect, read=silence_seconds, write=configured.write, pool=configured.pool
        )

    async def aclose(self) -> None:
        """Close the httpx client, if it was made here."""
        if self._owned:
            await self._client.aclose()

    def path_of(self, session: str, rest: str = "") -> str:
        """The path of a session's route.

        Raises:
            ConfigurationError: no session has this id, which would name another path.
        """
        if session in ("", ".", ".."):
            raise ConfigurationError(f"{session!r} is no session's id")
        return f"{self.prefix}/{quote(session, safe='')}{rest}"

    async def send(
        self, method: str, path: str, *, headers: Mapping[str, str], content: bytes | None = None
    ) -> httpx.Response:
        """Send a request, and give the response once its headers are there. Its body is to be read, or closed.

        Raises:
            httpx.RequestError: the connection failed.
            StreamClientError: the client is closed.
            ConfigurationError: there can be no such request.
        """
        if self._client.is_closed:
            raise StreamClientError("the client is closed")
        try:
            request = self._client.build_request(
                method, path, content=content, headers={**self._headers, **headers}, timeout=self._timeout
            )
            return await self._client.send(request, stream=True, auth=self._auth)
        except (httpx.InvalidURL, httpx.LocalProtocolError, httpx.UnsupportedProtocol, UnicodeError) as exc:
            raise ConfigurationError(f"{method} {path} cannot be sent: {exc}") from exc
