"""The outside world on a port of 127.0.0.1: a provider that speaks OpenAI's protocol."""

from __future__ import annotations

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
        self.pieces = ["Real", " models", " speak", " too."]
        self.usage = {"prompt_tokens": 1234, "completion_tokens": 56}
        self.completions: list[dict[str, object]] = []
        self.keys: list[str | None] = []
        """The provider's `Authorization` headers."""


@contextmanager
def outside() -> Iterator[Outside]:
    """Serve in threads of its own until the block ends."""

    class Request(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            world.completions.append(json.loads(body))
            world.keys.append(self.headers.get("authorization"))
            pieces = b"".join(map(_chunk, world.pieces))
            self._answer("text/event-stream", pieces + _last_chunk(world.usage) + b"data: [DONE]\n\n")

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
