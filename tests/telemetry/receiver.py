"""A Sentry server on the loopback: takes envelopes as a DSN would, and can hang, refuse or be down."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import sentry_sdk
from sentry_sdk.integrations import Integration
from sentry_sdk.integrations.logging import LoggingIntegration

from tests.harness.sentry import sentry_client

__all__ = ["Item", "Receiver", "receiving", "sent_to"]

FLUSH_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Item:
    """One item of an envelope. `type` is `event`, `transaction`, `check_in`, `log`, `trace_metric`, `client_report`…"""

    type: str
    header: dict[str, Any]
    payload: Any
    """Parsed JSON; bytes for what is none."""


def parsed(envelope: bytes) -> list[Item]:
    """The items of an envelope: a header line, then for each item a header line and a payload, whose length the header
    may state (https://develop.sentry.dev/sdk/data-model/envelopes/)."""
    items: list[Item] = []
    _, _, rest = envelope.partition(b"\n")
    while rest.strip():
        line, _, rest = rest.partition(b"\n")
        if not line.strip():
            continue
        header = json.loads(line)
        if (length := header.get("length")) is None:
            body, _, rest = rest.partition(b"\n")
        else:
            body, rest = rest[:length], rest[length:].removeprefix(b"\n")
        try:
            payload: Any = json.loads(body)
        except ValueError:
            payload = body
        items.append(Item(header["type"], header, payload))
    return items


class Receiver:
    """Takes envelopes until it is closed. What it does is set by its attributes, at any time.

    Attributes:
        status: what it answers with, 200 or 429, say.
        headers: of its answers: `Retry-After`, `X-Sentry-Rate-Limits`.
        hangs: it reads a request and answers none of it until it is closed.
    """

    def __init__(self, *, status: int = 200, headers: dict[str, str] | None = None, hangs: bool = False) -> None:
        self.status, self.headers, self.hangs = status, headers or {}, hangs
        self.envelopes: list[bytes] = []
        """Unzipped, as they came, those that were refused too."""
        self._closing = threading.Event()
        self._arrived = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                with receiver._arrived:
                    receiver.envelopes.append(body)
                    receiver._arrived.notify_all()
                if receiver.hangs:
                    receiver._closing.wait()
                    return
                self.send_response(receiver.status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *args: object) -> None:
                """Not to standard error."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *args: object) -> None:
                """A client that went away while it waited."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.dsn = f"http://key@127.0.0.1:{self._server.server_port}/1"

    def items(self, type_: str | None = None, *, flush: bool = True) -> list[Item]:
        """What was received, once this process's client has sent what it has."""
        if flush:
            sentry_sdk.flush(FLUSH_SECONDS)
        found = [item for envelope in list(self.envelopes) for item in parsed(envelope)]
        return [item for item in found if type_ in (None, item.type)]

    def events(self) -> list[dict[str, Any]]:
        """The error events."""
        return [item.payload for item in self.items("event")]

    def text(self) -> str:
        """Everything that was received, to look for what must not be there."""
        sentry_sdk.flush(FLUSH_SECONDS)
        return "\n".join(envelope.decode("utf-8", "replace") for envelope in list(self.envelopes))

    def wait_for(self, met: Callable[[list[Item]], bool], *, seconds: float = 20.0) -> list[Item]:
        """Wait until what arrived (from another process too) is as said. Blocks: on a loop, ask in a thread.

        Raises:
            TimeoutError: it was not, in time.
        """
        found: list[Item] = []

        def is_met() -> bool:
            found[:] = self.items(flush=False)
            return met(found)

        with self._arrived:
            if not self._arrived.wait_for(is_met, seconds):
                raise TimeoutError(f"arrived: {[item.type for item in found]}")
        return found

    @property
    def let_gone(self) -> bool:
        """Whether requests that waited were let go."""
        return self._closing.is_set()

    def let_go(self) -> None:
        """Requests that wait are answered no more: their connections end, as those to come."""
        self._closing.set()

    def go_down(self) -> None:
        """From now on nobody listens at the DSN; requests that wait are let go."""
        self.let_go()
        if self._thread.is_alive():
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    close = go_down


@contextmanager
def receiving(**how: Any) -> Iterator[Receiver]:
    """A receiver, for as long as a test runs."""
    receiver = Receiver(**how)
    try:
        yield receiver
    finally:
        receiver.close()


@contextmanager
def sent_to(
    receiver: Receiver, *, integrations: Sequence[Integration] | None = None, **options: Any
) -> Iterator[Receiver]:
    """Sentry as a host might have it, with everything on that leaks; afterwards it is off again, and nothing is left.

    A host's `sentry_sdk.init` has many integrations; here there are those that are named, by default the one that
    makes events of log lines.
    """
    careless = {
        "dsn": receiver.dsn,
        "attach_stacktrace": True,
        "include_local_variables": True,
        "send_default_pii": True,
        "max_request_body_size": "always",
    }
    with sentry_client(
        integrations=[LoggingIntegration()] if integrations is None else integrations, **{**careless, **options}
    ):
        try:
            yield receiver
        finally:
            receiver.let_go()
