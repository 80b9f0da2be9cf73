"""`RequestReader`, driven by hand: each piece of a body is read once and in order, beside other readers too."""

from __future__ import annotations

import asyncio
from typing import cast

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message

from streamguard.runtime import LiveStream
from streamguard.web.middleware.request_reader import RequestReader, body_of, declared_length

pytestmark = pytest.mark.anyio


class Stream:
    """As much of a `LiveStream` as an reader looks at."""

    def __init__(self) -> None:
        self._over = asyncio.Event()

    @property
    def is_ending(self) -> bool:
        return self._over.is_set()

    async def ending(self) -> None:
        await self._over.wait()

    def end(self) -> None:
        self._over.set()


def held(reader: RequestReader) -> Stream:
    stream = Stream()
    reader.keep_for(cast("LiveStream", stream))
    return stream


async def disconnect(reader: RequestReader) -> Message:
    """Read as the watch for a disconnect does, until there is one."""
    while (message := await reader.watch())["type"] != "http.disconnect":
        pass
    return message


async def run(pieces: list[bytes], steps: list[str], gone: bool) -> tuple[list[bytes], list[Message]]:
    """Deliver `pieces` and let readers come and go as `steps` say. Gives what the application read."""
    waiting: asyncio.Queue[Message] = asyncio.Queue()
    for index, piece in enumerate(pieces):
        waiting.put_nowait({"type": "http.request", "body": piece, "more_body": index < len(pieces) - 1})
    if gone:
        waiting.put_nowait({"type": "http.disconnect"})
    reader = RequestReader(waiting.get, limit=lambda: None)
    got: list[bytes] = []
    other: list[Message] = []
    stream: Stream | None = None
    watch: asyncio.Task[Message] | None = None

    async def read() -> bool:
        message = await reader.receive_for_endpoint()
        if message["type"] == "http.request":
            got.append(message["body"])
            return bool(message["more_body"])
        other.append(message)
        return False

    more = True
    for step in steps:
        if step == "hold" and stream is None:
            stream = held(reader)
        elif step == "look":
            with anyio.CancelScope() as scope:
                scope.cancel()
                message = await reader.receive_for_endpoint()
                if stream is not None:  # before that it is the server's own word
                    other.append(message)
        elif step == "read" and more:
            more = await read()
        elif step == "watch" and stream is not None and watch is None:
            watch = asyncio.create_task(disconnect(reader))
        elif step == "leave" and watch is not None:
            watch.cancel()
            watch = None
        else:
            await asyncio.sleep(0)
    if stream is None:
        stream = held(reader)
    while more:
        more = await read()
    seen = list(other)
    stream.end()
    assert (await reader.receive_for_endpoint())["type"] == "http.disconnect"
    if watch is not None:
        watch.cancel()
    reader.close()
    return got, seen


@settings(deadline=None, max_examples=150)
@given(
    pieces=st.lists(st.binary(min_size=1, max_size=3), min_size=1, max_size=6),
    steps=st.lists(st.sampled_from(["hold", "look", "read", "watch", "leave", "turn"]), max_size=25),
    gone=st.booleans(),
)
def test_a_body_is_read_whole_once_and_in_order(pieces: list[bytes], steps: list[str], gone: bool) -> None:
    got, seen = asyncio.run(run(pieces, steps, gone))
    assert b"".join(got) == b"".join(pieces)
    assert all(got)
    assert seen == []  # no disconnect before the stream ended


async def test_pieces_that_waited_for_the_endpoint_come_as_one() -> None:
    """A client chooses their number: each by itself would be work that grows with its square."""
    waiting: asyncio.Queue[Message] = asyncio.Queue()
    reader = RequestReader(waiting.get, limit=lambda: 10)
    for _ in range(9):
        waiting.put_nowait({"type": "http.request", "body": b"x", "more_body": True})
    stream = held(reader)
    while not waiting.empty():
        await asyncio.sleep(0)
    assert await reader.receive_for_endpoint() == {"type": "http.request", "body": b"x" * 9, "more_body": True}
    waiting.put_nowait({"type": "http.request", "body": b"y", "more_body": False})
    assert await reader.receive_for_endpoint() == {"type": "http.request", "body": b"y", "more_body": False}
    stream.end()


@pytest.mark.parametrize("held_meanwhile", [False, True])
async def test_a_reader_that_is_cancelled_leaves_the_next_message_to_another(held_meanwhile: bool) -> None:
    """Also to the one that reads ahead, which begins behind it."""
    waiting: asyncio.Queue[Message] = asyncio.Queue()
    reader = RequestReader(waiting.get, limit=lambda: None)
    first = asyncio.create_task(reader.receive())
    await asyncio.sleep(0)
    if held_meanwhile:
        held(reader)
    second = asyncio.create_task(reader.receive())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    message: Message = {"type": "http.request", "body": b"all", "more_body": False}
    waiting.put_nowait(message)
    assert await asyncio.wait_for(second, 10) == message
    assert first.cancelled()


async def test_what_a_layer_outside_raises_reaches_whoever_reads() -> None:
    fail = asyncio.Event()

    async def failing() -> Message:
        await fail.wait()
        fail.clear()  # once: a layer that failed is not asked again
        raise LookupError

    reader = RequestReader(failing, limit=lambda: None)
    held(reader)
    readers = [asyncio.create_task(reader.receive_for_endpoint()), asyncio.create_task(disconnect(reader))]
    await asyncio.sleep(0)
    fail.set()
    results = await asyncio.wait_for(asyncio.gather(*readers, return_exceptions=True), 10)
    assert [type(result) for result in results] == [LookupError, LookupError]


async def test_the_calls_end_ends_what_waits_for_the_rest_of_a_body() -> None:
    forever: asyncio.Queue[Message] = asyncio.Queue()
    reader = RequestReader(forever.get, limit=lambda: None)
    held(reader)
    readers = [asyncio.create_task(reader.receive_for_endpoint()), asyncio.create_task(disconnect(reader))]
    await asyncio.sleep(0)
    reader.close()
    messages = await asyncio.wait_for(asyncio.gather(*readers), 10)
    assert [message["type"] for message in messages] == ["http.disconnect", "http.disconnect"]


@pytest.mark.parametrize(
    ("value", "length"), [(None, 0), ("", 0), ("-5", 0), ("+5", 0), ("²", 0), ("12", 12), ("9" * 50, 10**20 - 1)]
)
def test_a_content_length_is_a_number_or_nothing(value: str | None, length: int) -> None:
    assert declared_length(value) == length


async def test_a_body_that_is_known_to_be_empty_is_not_waited_for() -> None:
    """The endpoint reads it at once, and once: the message that says so comes later, and only ends the wait for it."""
    waiting: asyncio.Queue[Message] = asyncio.Queue()
    reader = RequestReader(waiting.get, limit=lambda: None, empty=True)
    stream = held(reader)
    assert await reader.receive_for_endpoint() == {"type": "http.request", "body": b"", "more_body": False}
    watch = asyncio.create_task(disconnect(reader))
    waiting.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    waiting.put_nowait({"type": "http.disconnect"})
    assert await watch == {"type": "http.disconnect"}
    assert not reader._buffered
    stream.end()
    assert await reader.receive_for_endpoint() == {"type": "http.disconnect"}


async def test_an_empty_body_that_was_read_before_the_stream_comes_once() -> None:
    waiting: asyncio.Queue[Message] = asyncio.Queue()
    reader = RequestReader(waiting.get, limit=lambda: None, empty=True)
    waiting.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    assert (await reader.receive_for_endpoint())["type"] == "http.request"
    stream = held(reader)
    stream.end()
    assert await reader.receive_for_endpoint() == {"type": "http.disconnect"}


@pytest.mark.parametrize(
    ("version", "headers", "declared", "empty"),
    [
        ("1.1", [], 0, True),
        ("1.1", [(b"content-length", b"0")], 0, True),
        ("1.1", [(b"content-length", b"0"), (b"content-type", b"text/plain")], 0, True),
        ("1.1", [(b"content-type", b"application/json")], 0, False),
        ("1.1", [(b"content-length", b"5"), (b"content-length", b"0")], 0, False),
        ("1.0", [], 0, True),
        ("1.1", [(b"content-length", b"5")], 5, False),
        ("1.1", [(b"transfer-encoding", b"chunked")], 0, False),
        ("1.1", [(b"content-length", b"0"), (b"transfer-encoding", b"chunked")], 0, False),
        ("1.1", [(b"content-length", b"nonsense")], 0, False),
        ("2", [], 0, False),
        ("2", [(b"content-length", b"0")], 0, False),
    ],
)
def test_whether_a_request_has_a_body(
    version: str, headers: list[tuple[bytes, bytes]], declared: int, empty: bool
) -> None:
    assert body_of({"type": "http", "http_version": version, "headers": headers}) == (declared, empty)


async def test_a_body_that_came_although_there_was_none_is_read_as_far_as_it_is_asked_for() -> None:
    """A layer outside took the header away: who reads before the stream begins has it, and nothing is read twice."""
    waiting: asyncio.Queue[Message] = asyncio.Queue()
    reader = RequestReader(waiting.get, limit=lambda: None, empty=True)
    waiting.put_nowait({"type": "http.request", "body": b"one", "more_body": True})
    assert (await reader.receive_for_endpoint())["body"] == b"one"
    stream = held(reader)
    waiting.put_nowait({"type": "http.request", "body": b"two", "more_body": False})
    assert (await reader.receive_for_endpoint())["body"] == b"two"
    stream.end()
    assert await reader.receive_for_endpoint() == {"type": "http.disconnect"}


async def test_the_end_of_the_stream_is_a_disconnect_for_the_endpoint_alone() -> None:
    """A layer around the endpoint that sends the answer itself would stop there, before the answer's end was sent."""
    waiting: asyncio.Queue[Message] = asyncio.Queue()
    reader = RequestReader(waiting.get, limit=lambda: None)
    waiting.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    assert (await reader.receive())["type"] == "http.request"
    stream = held(reader)
    layer = asyncio.create_task(reader.receive())
    await asyncio.sleep(0)
    stream.end()
    assert await reader.receive_for_endpoint() == {"type": "http.disconnect"}
    assert not layer.done()
    waiting.put_nowait({"type": "http.disconnect"})
    assert await asyncio.wait_for(layer, 10) == {"type": "http.disconnect"}


async def test_an_empty_body_that_comes_in_pieces_is_one_that_was_known_to_be_empty() -> None:
    waiting: asyncio.Queue[Message] = asyncio.Queue()
    reader = RequestReader(waiting.get, limit=lambda: None, empty=True)
    held(reader)
    assert await reader.receive() == {"type": "http.request", "body": b"", "more_body": False}
    watch = asyncio.create_task(disconnect(reader))
    waiting.put_nowait({"type": "http.request", "body": b"", "more_body": True})
    waiting.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    waiting.put_nowait({"type": "http.disconnect"})
    await watch
    assert not reader._buffered
