"""100 MiB for a guarded endpoint: refused within the first `max_request_bytes`, and no memory for the rest."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Iterator
from typing import Literal

import pytest

from streamguard import Settings
from tests.harness.workers import Worker

APP = "tests.apps.uploads:app"
TOTAL = 100 * 1024 * 1024
PIECE = b"x" * 65_536
SLACK_BYTES = 24 * 1024 * 1024
"""What a server's own buffers and the parsing of a few megabytes may take."""


@pytest.fixture(scope="module", params=["uvicorn", "hypercorn"])
def worker(request: pytest.FixtureRequest) -> Iterator[Worker]:
    server: Literal["uvicorn", "hypercorn"] = request.param
    with Worker(APP, server=server) as one:
        yield one


@pytest.mark.parametrize("path", ["/api/chat", "/lazy"])
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "with a length"])
def test_it_is_refused_early_and_memory_stays_flat(worker: Worker, path: str, chunked: bool) -> None:
    before = worker.rss_bytes()
    sent, answer = send_until_answered(worker.port, path, chunked=chunked)
    assert answer.startswith(b"HTTP/1.1 413"), answer[:200]
    body = json.loads(answer[answer.index(b'{"error"') : answer.rindex(b"}") + 1])
    assert body["error"]["code"] == "payload_too_large"
    # What lies in the sockets' buffers was sent but never read.
    assert sent <= Settings().max_request_bytes + 16 * 1024 * 1024
    assert worker.rss_bytes() - before < SLACK_BYTES


def send_until_answered(port: int, path: str, *, chunked: bool) -> tuple[int, bytes]:
    """Send a body of 100 MiB until there is an answer. Gives how much was sent, and the answer."""
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {TOTAL}"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-User: ann\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
    piece = b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if chunked else PIECE
    sent, answer = 0, b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head.encode())
        connection.setblocking(False)  # a server that has answered need not read on
        left = piece
        while sent < TOTAL:
            readable, writable, _ = select.select([connection], [connection], [], 30)
            assert readable or writable, "neither an answer nor room for more in 30 s"
            if readable:
                break
            try:
                left = left[connection.send(left) :]
            except (BrokenPipeError, ConnectionResetError):
                break
            if not left:
                sent += len(PIECE)
                left = piece
        connection.settimeout(30)
        while b'"request_id"' not in answer:
            more = connection.recv(65_536)
            if not more:
                break
            answer += more
    return sent, answer
