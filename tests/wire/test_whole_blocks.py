"""Chunks that are one block take a short way; it must come to the same as the long one."""

from __future__ import annotations

import copy
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamguard.values import EventKind
from streamguard.wire import protocol_named
from streamguard.wire.sse import BOM, Block, BlockSplitter
from streamguard.wire.upstream import UpstreamProtocol

from .chunking import chunked, cuts, event_stream_bytes
from .encoding import encoded
from .transcripts import TRANSCRIPTS
from .upstreams import STREAM, logged

SSE_NAMES: Final = ["opaque", "openai", "anthropic", "ui-message-raw"]
BLOCKS: Final = [block.raw for one in TRANSCRIPTS for block in BlockSplitter().feed(one.body)]
LINES: Final = [line + b"\n" for one in TRANSCRIPTS if "ollama" in one.name for line in one.body.splitlines()]
ODD: Final = [
    *(b"\n", b"\n\n", b"x", b"a\n\n\n", b"\ndata: a\n\n", b"data: [DONE]\n\n", b"data: a\r\n\r\n", b"id\ndata: a\n\n"),
    *(b"data: a\n\ndata: b\n\n", b": c\n\n", b"\0data: a\n\n", BOM + b"data: a\n\n", b"data\n\n", b"event: e\n\n"),
    *(b"data: a\nid: 7\n\n", b"event: e\ndata: a\n\n", b"event: e\ndata\n\n", b"data:" + b"a" * 300 + b"\n\n", b""),
]

pieces = st.lists(st.sampled_from(BLOCKS) | st.sampled_from(ODD) | event_stream_bytes, max_size=12)
lines = st.lists(st.sampled_from(LINES) | st.sampled_from([b"\n", b"{}", b"x\n", b"", b'{"error":"e"}\n']), max_size=12)


def check_chunking(name: str, chunks: list[bytes], at: list[int], limit: int) -> None:
    """Any chunking gives what single bytes give, which never are a whole block."""
    body = b"".join(chunks)
    found = []
    for cut in (chunks, list(chunked(body, at)), [body[place : place + 1] for place in range(len(body))]):
        left_out: list[object] = []
        encoder = protocol_named(name).encoder(message_id="m", max_event_bytes=limit, on_left_out=left_out.append)
        news: list[object] = []
        encoder.on_tool = news.append
        payloads = [payload for chunk in cut for payload in encoded(encoder, chunk)]
        payloads += encoder.finish()
        found.append((payloads, encoder.held, encoder.usage, encoder.failure, len(left_out), news))
    assert found[0] == found[2]
    assert found[1] == found[2]


@given(st.sampled_from(SSE_NAMES), pieces, cuts, st.sampled_from([256, 1_048_576]))
def test_any_chunking_of_blocks_gives_the_same(name: str, chunks: list[bytes], at: list[int], limit: int) -> None:
    check_chunking(name, chunks, at, limit)


@given(lines, cuts, st.sampled_from([64, 1_048_576]))
def test_any_chunking_of_lines_gives_the_same(chunks: list[bytes], at: list[int], limit: int) -> None:
    check_chunking("ndjson", chunks, at, limit)


@pytest.mark.parametrize("name", [*SSE_NAMES, "ndjson"])
@given(st.lists(st.sampled_from([*BLOCKS, *LINES, *ODD]) | event_stream_bytes, max_size=12))
def test_a_reader_ignores_only_what_changes_nothing(name: str, blocks: list[bytes]) -> None:
    protocol = protocol_named(name)
    assert isinstance(protocol, UpstreamProtocol)
    reader = protocol.reader()
    for raw in blocks:
        ignored, before = reader.ignores(raw), copy.deepcopy(vars(reader))
        told, closes = list(reader.tools(Block(raw))), reader.closes(Block(raw))
        if ignored:
            assert (told, closes) == ([], False)
            assert {k: v for k, v in vars(reader).items() if not k.startswith("_")} == {
                k: v for k, v in before.items() if not k.startswith("_")
            }
            reader.over()
            assert copy.deepcopy(vars(reader)).keys() == before.keys()


@pytest.mark.parametrize("name", [*SSE_NAMES, "ndjson"])
@given(pieces)
def test_blocks_of_a_batch_are_the_frames_one_by_one(name: str, chunks: list[bytes]) -> None:
    got = logged(protocol_named(name), chunks)
    events = [*((EventKind.DATA, data) for data in got.data), *((EventKind.CLOSING, data) for data in got.held)]
    kinds, payloads = [kind for kind, _ in events], [data for _, data in events]
    for prefix in (None, f"id: 1.{STREAM}.7.".encode()):
        assert got.protocol.blocks(1, kinds, payloads, prefix) == got.frames(ids=prefix is not None)[: len(events)]
