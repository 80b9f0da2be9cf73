"""The HTTP side of a client: URLs, headers, timeouts."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import httpx

from ..errors import ConfigurationError

__all__ = ["HttpRequests"]


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
        self._client = httpx.AsyncClient(base_url=server) if isinstance(server, str) else server
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
            ConfigurationError: there can be no such request.
        """
        try:
            request = self._client.build_request(
                method, path, content=content, headers={**self._headers, **headers}, timeout=self._timeout
            )
            return await self._client.send(request, stream=True, auth=self._auth)
        except (httpx.InvalidURL, httpx.LocalProtocolError, httpx.UnsupportedProtocol) as exc:
            raise ConfigurationError(f"{method} {path} cannot be sent: {exc}") from exc
