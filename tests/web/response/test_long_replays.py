"""A delivery of a long replay is done in pieces, between which others have a turn."""

from __future__ import annotations

import asyncio
from math import inf

import pytest
from starlette.types import Message

from streamguard.runtime import Viewer
from streamguard.runtime.viewing.feed import CHUNK_BYTES
from streamguard.runtime.viewing.replays import Replays
from streamguard.stores import log_reads
from streamguard.stores.log_reads import LogReads
from streamguard.stores.memory import MemoryStore
from streamguard.stores.roles.stream_log import READ_EVENTS
from streamguard.testing._stream_store.steps import begin, closing, put, seal
from streamguard.values import Position
from streamguard.web.middleware.exchange import Exchange
from streamguard.web.response.chunk_sender import ChunkSender
from streamguard.wire import protocol_named

from .deliveries import START, Named

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("text", [b"x", b"x" * 500])
@pytest.mark.parametrize("ids", [True, False])
async def test_a_long_replay_leaves_others_a_turn_after_each_piece(
    text: bytes, ids: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promised to the neighbours of a replay: how much of it one turn of the loop reads, frames and sends."""
    monkeypatch.setattr(log_reads, "AT_ONCE_SECONDS", inf)  # on a slow machine the owner would use up its share
    store, sent = MemoryStore(), 0
    ref = await begin(store)
    for first in range(0, 10_000, 500):
        await put(store, ref, first + 1, *[text] * 500)
    await seal(store, ref, 10_000)
    await store.close(closing(ref))
    viewer = Viewer(
        replays=Replays(LogReads(store, 1), log_bytes=1_000_000),
        subject=Named(ref),
        protocol=protocol_named("plain"),
        feed=None,
        after=Position(0, 0),
        ids=ids,
        now=asyncio.get_running_loop().time(),
        patience_seconds=1.0,
        on_close=lambda _: None,
    )
    pieces: list[bytes] = [b""]

    def turn() -> None:
        pieces.append(b"")
        asyncio.get_running_loop().call_soon(turn)

    async def send(message: Message) -> None:
        nonlocal sent
        pieces[-1] += message.get("body", b"")
        sent += message["type"] == "http.response.body"

    turn()
    async with asyncio.timeout(10):
        await ChunkSender(viewer, send, inside=send, at_once=False, exchange=Exchange()).run(START)
    viewer.close()
    assert b"".join(pieces).count(b"data: x") == 10_000
    assert max(piece.count(b"data: ") for piece in pieces) <= READ_EVENTS
    assert max(map(len, pieces)) <= 2 * CHUNK_BYTES
    assert sent <= 1.1 * max(10_000 / READ_EVENTS, 10_000 * len(text) / CHUNK_BYTES)  # nor is it sent crumb by crumb
