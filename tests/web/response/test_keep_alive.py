"""What a quiet connection gets: a comment line, or a block of its own where no ids are and the endpoint says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, Literal

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from streamguard import ConfigurationError, StreamGuard
from tests.apps.paced import Paced

from ..serving import USER, make_guard, serving

pytestmark = pytest.mark.anyio

TEXTS: Final = ("0 ", "1 ", "2 ", "3 ")


def paced(guard: StreamGuard, keep_alive: Literal["comment", "block"] | None, protocol: str = "ui-message") -> Paced:
    async def chat(request: Request) -> AsyncIterator[str]:
        async for text in pace.items(request, TEXTS):
            yield f"data: {text}\n\n" if protocol == "opaque" else text

    ids = None if protocol == "opaque" else False
    decorate = guard.stream(
        "request.query_params.id", protocol=protocol, ids=ids, keep_alive=keep_alive, on_conflict="join"
    )
    app = Starlette(routes=[Route("/chat", decorate(chat), methods=["POST"])])
    guard.install(app, "/api/chat")
    pace = Paced(app)
    return pace


async def read(pace: Paced, guard: StreamGuard, path: str) -> str:
    async with (
        guard,
        serving(pace) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=USER) as client,
    ):
        answer = await client.post(path)
    assert answer.status_code == 200
    assert pace.beats["s"] >= len(TEXTS)
    return answer.text


@pytest.mark.parametrize("protocol", ["ui-message", "plain", "opaque"])
async def test_a_reader_that_splits_at_blank_lines_loses_nothing_to_a_block(protocol: str) -> None:
    guard = make_guard(keep_alive_seconds=0.02, headers_after_seconds=0.01)
    text = await read(paced(guard, "block", protocol), guard, "/chat?id=s")
    blocks = text.split("\n\n")
    assert blocks.count(": hb") >= len(TEXTS)
    assert not [block for block in blocks if ": hb" in block and block != ": hb"]
    assert [one for one in TEXTS if one not in "".join(block for block in blocks if block.startswith("data: "))] == []


@pytest.mark.parametrize("protocol", ["ui-message", "plain", "opaque"])
async def test_an_endpoint_that_wants_no_ids_sends_blocks(protocol: str) -> None:
    """By default, for the pages that want none; what is passed on may have ids of its upstream's."""
    guard = make_guard(keep_alive_seconds=0.02, headers_after_seconds=0.01)
    text = await read(paced(guard, None, protocol), guard, "/chat?id=s")
    assert (": hb\n\n" in text) == (protocol != "opaque")
    assert text.count(": hb\n") >= len(TEXTS)


async def test_otherwise_it_is_a_line_of_the_next_block() -> None:
    guard = make_guard(keep_alive_seconds=0.02, headers_after_seconds=0.01)
    text = await read(paced(guard, "comment"), guard, "/chat?id=s")
    assert ": hb\n\n" not in text
    assert text.count(": hb\n") >= len(TEXTS)


async def test_whoever_asks_for_ids_never_gets_a_blank_line_by_itself() -> None:
    guard = make_guard(keep_alive_seconds=0.02, headers_after_seconds=0.01)
    text = await read(paced(guard, "block"), guard, "/chat?id=s&ids=1")
    assert "id: 1." in text
    assert ": hb\n\n" not in text


async def test_a_resume_without_ids_gets_blocks_too() -> None:
    """Of an endpoint that says so: one beside it does not."""
    guard = make_guard(keep_alive_seconds=0.02, headers_after_seconds=0.01)
    pace = paced(guard, "block")
    async with (
        guard,
        serving(pace) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=USER) as client,
    ):
        async with client.stream("POST", "/chat?id=s") as answer:
            await anext(answer.aiter_bytes())
        without = await client.get("/api/chat/s/stream?ids=0")
        again = await client.get("/api/chat/s/stream")
    assert ": hb\n\n" in without.text
    assert "id: 1." in again.text


@pytest.mark.parametrize(
    ("protocol", "ids"), [("ui-message", None), ("ui-message", True), ("plain", None), ("opaque", True)]
)
def test_blocks_and_ids_are_refused_together(protocol: str, ids: bool | None) -> None:
    async def chat() -> AsyncIterator[str]:
        yield ""

    with pytest.raises(ConfigurationError, match="ids=False"):
        make_guard().stream(protocol=protocol, ids=ids, keep_alive="block")(chat)


def test_nothing_else_is_a_keep_alive() -> None:
    with pytest.raises(ConfigurationError, match="keep_alive is 'comment' or 'block', not 'ping'"):
        make_guard().stream(keep_alive="ping")  # type: ignore[arg-type]
