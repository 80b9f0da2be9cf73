"""What event loops of several threads share of one store, and what each of them has of its own."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from streamguard.stores.appends import AppendReply
from streamguard.stores.records import Status
from streamguard.stores.redis import RedisStore, append_gate, removed_entries
from streamguard.stores.redis.append_gate import RENEWAL, AppendGate
from streamguard.stores.redis.driver import Reply
from streamguard.stores.redis.lease_index import LeaseIndex
from streamguard.stores.redis.stream_log import RedisLog
from streamguard.testing._stream_store.steps import new_stream, try_register
from streamguard.values import START, StreamRef

from ...harness.racing import raced
from ...harness.redis import RedisServer
from .plain_writer import PlainWriter, numbers, scripts_called
from .test_append_gates import held_up

SECONDS = 20.0
EVENTS = 10
LONG, SHORT = 60.0, 1.0
LOOPS = 4
ENTRIES = 200


def test_loops_that_append_at_once_each_have_a_gate(
    own_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gate describes one connection: one for both would be set up anew with nearly every append."""
    monkeypatch.setattr(append_gate, "LONGEST_SECONDS", 60.0)  # this machine may be busy
    server = own_redis()
    client = server.client()
    store = RedisStore(server.url, command_seconds=10)
    meeting = threading.Barrier(2, timeout=SECONDS)

    async def append() -> int:
        writer = await PlainWriter.begin(store)
        if meeting.wait() == 0:
            client.config_resetstat()
        meeting.wait()
        for seq in range(4, 4 + EVENTS):
            assert await writer.add() == AppendReply(Status.OK, seq, False)
            meeting.wait()  # what this loop has set up is there when the other one appends again
        called = scripts_called(client)
        assert await numbers(writer) == list(range(1, 4 + EVENTS))
        meeting.wait()
        await store.aclose()
        return called

    assert raced([append, append]) == [0, 0]


def test_an_event_that_is_late_in_one_loop_is_not_added_by_the_gate_of_another(
    own_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two loops set up gates at the same moment: a lasting one, and one for a second, which is begun last and answered
    first. Appends over the first connection that have a second must not rely on its gate."""
    monkeypatch.setattr(append_gate, "LONGEST_SECONDS", LONG)
    begun = threading.Barrier(2, timeout=SECONDS)
    long_one, short_one = threading.Event(), threading.Event()
    opening, take = AppendGate.opening, AppendGate.take

    def opening_in_turn(self: AppendGate, number: int, within_seconds: float) -> list[bytes]:
        if within_seconds == SHORT:
            assert long_one.wait(SECONDS)
        commands = opening(self, number, within_seconds)
        if not short_one.is_set():
            long_one.set()
            begun.wait()
        return commands

    def take_in_turn(self: AppendGate, replies: Sequence[Reply], number: int) -> None:
        if len(replies) > RENEWAL and threading.get_ident() == threads[LONG]:
            assert short_one.wait(SECONDS)
        take(self, replies, number)
        short_one.set()

    monkeypatch.setattr(AppendGate, "opening", opening_in_turn)
    monkeypatch.setattr(AppendGate, "take", take_in_turn)
    server = own_redis()
    store = RedisStore(server.url, command_seconds=10)
    ended = threading.Barrier(2, timeout=SECONDS)
    threads: dict[float, int] = {}

    async def first_append(within: float) -> PlainWriter:
        """The script's; the second one needs a gate."""
        writer = PlainWriter(store, new_stream(), within=within)
        await try_register(store, writer.new)
        assert await writer.add() == AppendReply(Status.OK, 1, False)
        return writer

    async def append(within: float) -> AppendReply:
        threads[within] = threading.get_ident()
        reply = await (await first_append(within)).add()
        assert reply == AppendReply(Status.OK, 2, False)
        if within == LONG:
            writer = await first_append(SHORT)
            (reply,) = await held_up(server, SHORT + 0.1, writer.add)
        ended.wait()
        await store.aclose()
        return reply

    late, _ = raced([partial(append, LONG), partial(append, SHORT)])
    assert late.status is Status.LATE


class ChangingThreads(deque[tuple[float, StreamRef]]):
    """Another thread runs just before anything is taken from it."""

    def popleft(self) -> tuple[float, StreamRef]:
        time.sleep(0)
        return super().popleft()


def test_loops_look_once_at_what_was_removed(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One may take the last entry while another one looks at it."""
    monkeypatch.setattr(removed_entries, "LOOK_AFTER_SECONDS", 0.0)
    index = LeaseIndex(RedisStore(redis_url)._redis)
    monkeypatch.setattr(index.removed, "_removed", ChangingThreads())

    async def look() -> list[StreamRef]:
        found = []
        for _ in range(ENTRIES):
            index.removed.add(new_stream().ref)
            found += [ref for _, ref in index.removed._take(time.monotonic())]
        return found

    found = [ref for some in raced([look] * LOOPS) for ref in some]
    assert len(set(found)) == len(found) == LOOPS * ENTRIES


class OneAtATime(OrderedDict[StreamRef, int]):
    """Another thread runs while one is in it, and must not come in. In CPython's own, two could crash the process."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = 0
        self.met = False

    def pop(self, ref: StreamRef, default: int) -> int:  # type: ignore[override] # as it is used
        self.inside += 1
        time.sleep(0)
        self.met |= self.inside > 1
        found = super().pop(ref, default)
        self.inside -= 1
        return found

    def __setitem__(self, ref: StreamRef, size: int) -> None:
        self.inside += 1
        time.sleep(0)
        self.met |= self.inside > 1
        super().__setitem__(ref, size)
        self.inside -= 1


def test_loops_that_read_at_once_keep_sizes_one_after_the_other(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RedisStore(redis_url, command_seconds=10)
    assert isinstance(store.roles.log, RedisLog)
    sizes = OneAtATime()
    monkeypatch.setattr(store.roles.log, "_event_bytes", sizes)
    meeting = threading.Barrier(LOOPS, timeout=SECONDS)

    async def read() -> None:
        writer = PlainWriter(store, new_stream())
        await try_register(store, writer.new)
        assert (await writer.add(*(b"event" for _ in range(20)))).status is Status.OK
        for _ in range(ENTRIES):
            (event,) = await store.read(writer.ref, START, max_bytes=1)
            assert event.data == b"event"
        meeting.wait()
        await store.aclose()

    raced([read] * LOOPS)
    assert not sizes.met
    assert len(sizes) == LOOPS
