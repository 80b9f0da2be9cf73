"""What an attacker sends: typed 4xx or a fault, never 500, nothing lost, nothing injected."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from urllib.parse import quote, quote_from_bytes

import httpx
import pytest
from httpx_sse import ServerSentEvent
from httpx_sse._decoders import SSEDecoder

from streamguard.wire.values import valid_text
from tests.harness.redis import RedisServer
from tests.harness.workers import Worker

from .calls import USER, raw_post
from .conftest import environment

APP = "tests.apps.hostile:app"


@pytest.fixture(scope="module", params=["memory", "redis"])
def target(request: pytest.FixtureRequest) -> Iterator[Worker]:
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("shared_redis")
        url = server.url
    else:
        url = "memory://"
    with Worker(APP, env=environment(url, max_event_bytes=100_000, max_request_bytes=2_000_000)) as one:
        yield one


def decode(body: bytes) -> list[ServerSentEvent]:
    """By a parser that shares nothing with ours."""
    decoder = SSEDecoder()
    lines = body.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]
    return [event for line in lines if (event := decoder.decode(line)) is not None]


@pytest.mark.parametrize(
    "session",
    ["{tag}", "a/b", "a%2Fb", "ключ", "a b", "x" * 256, "*", "a:b:c", "'; DROP TABLE", "..x", "\U0001f600" * 20],
)
def test_strange_but_legal_sessions_work_on_every_route(target: Worker, session: str) -> None:
    answer = raw_post(target, session, text="hello")
    assert answer.status_code == 200, answer.text
    base = f"{target.url}/api/chat/{quote(session, safe='')}"
    replay = httpx.get(f"{base}/stream", headers=USER, trust_env=False)
    assert (replay.status_code, replay.content) == (200, answer.content)
    assert httpx.get(base, headers=USER, trust_env=False).json()["session_id"] == session
    assert httpx.post(f"{base}/stop", headers=USER, trust_env=False).status_code == 204
    assert httpx.delete(base, headers=USER, trust_env=False).status_code == 204
    gone = httpx.get(f"{base}/stream", headers=USER, trust_env=False)
    assert (gone.status_code, gone.headers["x-resume-reason"]) == (204, "none")


@pytest.mark.parametrize(
    "session", ["", ".", "..", "x" * 257, "a\r\nb", "a\nSet-Cookie: x=1", "a\0b", "\ud800", "é" * 129]
)
def test_illegal_sessions_are_refused_in_the_body(target: Worker, session: str) -> None:
    answer = raw_post(target, session, text="hello")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "session_invalid"), answer.text
    assert answer.json()["error"]["type"] == "streamguard_error"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("encoded", ["%0D%0A", "a%00b", "x" * 257, "%FF%FE", "%2E", "%2e%2e", "a%0Ab", "%ED%A0%80"])
@pytest.mark.parametrize(("method", "tail"), [("GET", "/stream"), ("POST", "/stop"), ("GET", ""), ("DELETE", "")])
def test_illegal_sessions_are_refused_in_the_path(target: Worker, encoded: str, method: str, tail: str) -> None:
    request = f"{method} /api/chat/{encoded}{tail} HTTP/1.1\r\nHost: x\r\nX-User: ann\r\nConnection: close\r\n\r\n"
    head = exchange(target, request.encode())
    status, body = head.split(b" ")[1], head.partition(b"\r\n\r\n")[2]
    assert (status, json.loads(body)["error"]["code"]) == (b"400", "session_invalid"), head[:300]


def exchange(target: Worker, request: bytes) -> bytes:
    """One request as bytes, no client in between to correct it."""
    with socket.create_connection(("127.0.0.1", target.port), timeout=10) as connection:
        connection.sendall(request)
        received = b""
        while data := connection.recv(65536):
            received += data
        return received


CURSORS = [
    b"$",
    b"+",
    b"-",
    b"0-1\\0",
    str(2**64).encode(),
    b"1." + b"a" * 24 + b".1." + str(2**64).encode(),
    b"1." + b"a" * 24 + b"." + str(2**64).encode() + b".1",
    b"1." + b"a" * 24 + b".1",
    b"0",
    b"\xff",
]


@pytest.mark.parametrize("cursor", CURSORS)
@pytest.mark.parametrize("where", ["header", "query"])
def test_hostile_cursors_are_400(target: Worker, cursor: bytes, where: str) -> None:
    if where == "header":
        lines = b"GET /api/chat/s/stream HTTP/1.1\r\nHost: x\r\nX-User: ann\r\nConnection: close\r\nLast-Event-ID: "
        head = exchange(target, lines + cursor + b"\r\n\r\n")
    else:
        query = quote_from_bytes(cursor, safe="").encode()
        lines = b"GET /api/chat/s/stream?cursor=" + query + b" HTTP/1.1\r\nHost: x\r\nX-User: ann\r\nConnection: close"
        head = exchange(target, lines + b"\r\n\r\n")
    assert head.split(b" ")[1] == b"400", head[:300]
    assert b'"cursor_invalid"' in head


@pytest.mark.parametrize("raw", [b"0-1\0", b"a\0"])
def test_nul_in_a_cursor(target: Worker, raw: bytes) -> None:
    answer = httpx.get(f"{target.url}/api/chat/s/stream?cursor={quote_from_bytes(raw)}", headers=USER, trust_env=False)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "cursor_invalid")


def test_a_megabyte_of_cursor(target: Worker) -> None:
    """Over the server's own limit of a request line, so it is the server that refuses: the guard never sees it."""
    query = b"GET /api/chat/s/stream?cursor=" + b"9" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\nX-User: ann\r\n\r\n"
    try:
        head = exchange(target, query)
    except (ConnectionResetError, BrokenPipeError):
        head = b""
    assert head == b"" or head.split(b" ")[1] in (b"400", b"414", b"431")
    assert b"200 OK" not in head
    assert raw_post(target, "after", text="hello").status_code == 200


TEXTS = [
    "a\nb",
    "a\r\nb",
    "a\rb",
    "\n\ndata: injected\n\n",
    "\r\rid: evil\r\revent: x\r\r",
    "a\u2028b\u2029c\x85d\x0b",
    "\0nul",
    "\ud83d",
    "\ud800 and \udfff",
    "\U0001f600",
    "data: [DONE]",
    ": comment",
    "﻿bom",
    "</script><script>",
    " leading",
]


@pytest.mark.parametrize("text", TEXTS)
def test_hostile_text_arrives_whole_and_injects_nothing(target: Worker, text: str) -> None:
    answer = raw_post(target, f"s-{abs(hash(text))}", text=text)
    assert answer.status_code == 200
    events = decode(answer.content)
    parts = [json.loads(event.data) for event in events[:-1]]
    assert events[-1].data == "[DONE]"
    assert [part["type"] for part in parts] == ["start", "text-start", "text-delta", "text-end", "finish"]
    assert parts[2]["delta"] == valid_text(text)
    assert all(event.event == "message" for event in events)
    assert [event.id.rsplit(".", 1)[1] for event in events] == ["1", "2", "3", "4", "5", "6"]


@pytest.mark.parametrize("text", TEXTS)
def test_hostile_text_in_plain(target: Worker, text: str) -> None:
    """SSE has no way to carry CR, so line ends are normalised; a lone surrogate is no text at all and is replaced."""
    answer = raw_post(target, f"p-{abs(hash(text))}", path="/api/plain", text=text)
    assert answer.status_code == 200
    events = decode(answer.content)
    said = "".join(event.data for event in events if event.event == "message")
    normal = text.replace("\r\n", "\n").replace("\r", "\n")
    assert said == "".join("�" if "\ud800" <= char <= "\udfff" else char for char in normal)
    assert [event.event for event in events][-1] == "streamguard.end"


def test_text_over_the_limit_of_an_event_becomes_several(target: Worker) -> None:
    answer = raw_post(target, "large", text="x" * 100_001, before="small")
    parts = [json.loads(event.data) for event in decode(answer.content)[:-1]]
    deltas = [part["delta"] for part in parts if part["type"] == "text-delta"]
    assert "".join(deltas) == "small" + "x" * 100_001
    assert len(deltas) == 3
    assert parts[-1] == {"type": "finish"}


def test_an_oversized_request_is_413(target: Worker) -> None:
    answer = raw_post(target, "s", text="x" * 2_000_001)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")


@pytest.mark.parametrize("kind", ["nonsense", "a\nb", "x" * 10_000])
def test_a_part_of_an_unknown_type_is_left_out(target: Worker, kind: str) -> None:
    answer = raw_post(target, f"kind-{abs(hash(kind))}", part={"type": kind}, before="small")
    parts = [json.loads(event.data) for event in decode(answer.content)[:-1]]
    (told,) = [part["data"] for part in parts if part["type"] == "data-streamguard-error"]
    assert (told["code"], told["reason"]) == ("value_replaced", "unknown_part")
    assert parts[-1] == {"type": "finish"}
    assert kind not in {part["type"] for part in parts}


@pytest.mark.parametrize("part", [{"no": "type"}, {"type": "text-delta"}, 7, ["x"]])
def test_an_invalid_part_is_a_fault(target: Worker, part: object) -> None:
    answer = raw_post(target, f"part-{abs(hash(str(part)))}", part=part, before="small")
    parts = [json.loads(event.data) for event in decode(answer.content)[:-1]]
    assert parts[-1]["type"] == "error"
    assert parts[-2]["data"]["code"] == "internal"


def test_the_id_of_a_request_is_not_reflected_raw(target: Worker) -> None:
    answer = raw_post(target, "s", text="x")
    assert answer.headers["x-request-id"]
    evil = httpx.get(
        f"{target.url}/api/chat/s/stream", headers={**USER, "X-Request-Id": "e" * 300 + "<x>"}, trust_env=False
    )
    assert "<x>" not in evil.headers["x-request-id"]
