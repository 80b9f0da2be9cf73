"""The outside world on one port of 127.0.0.1: a provider that speaks OpenAI's protocol, and Sentry's intake."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["Outside", "outside"]


class Outside:
    """What it was sent, and what it says. `pieces` is the provider's answer, `usage` what it counts for it."""

    def __init__(self, port: int) -> None:
        self.openai_url = f"http://127.0.0.1:{port}/v1"
        self.sentry_dsn = f"http://public@127.0.0.1:{port}/1"
        self.pieces = ["Real", " models", " speak", " too."]
        self.usage = {"prompt_tokens": 1234, "completion_tokens": 56}
        self.completions: list[dict[str, object]] = []
        self.keys: list[str | None] = []
        """The provider's `Authorization` headers."""
        self.envelopes: list[str] = []

    def events(self) -> list[dict[str, object]]:
        """Sentry's error events so far."""
        lines = [json.loads(line) for text in list(self.envelopes) for line in text.splitlines()]
        return [line for line in lines if "event_id" in line and "level" in line]


@contextmanager
def outside() -> Iterator[Outside]:
    """Serve in threads of its own until the block ends."""

    class Request(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/chat/completions":
                world.completions.append(json.loads(body))
                world.keys.append(self.headers.get("authorization"))
                pieces = b"".join(map(_chunk, world.pieces))
                self._answer("text/event-stream", pieces + _last_chunk(world.usage) + b"data: [DONE]\n\n")
            else:
                world.envelopes.append(body.decode(errors="replace"))
                self._answer("application/json", b"{}")

        def _answer(self, media_type: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("content-type", media_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            pass  # pytest's output is for failures

    with ThreadingHTTPServer(("127.0.0.1", 0), Request) as server:
        world = Outside(server.server_port)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield world
        finally:
            server.shutdown()
            thread.join(5)


def _chunk(piece: str) -> bytes:
    return _event(choices=[{"index": 0, "delta": {"content": piece}, "finish_reason": None}])


def _last_chunk(usage: dict[str, int]) -> bytes:
    return _event(choices=[], usage={**usage, "total_tokens": sum(usage.values())})


def _event(**fields: object) -> bytes:
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", **fields}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"
