"""The window between a writer and its viewers: what is in it, what leaves it, who waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from streamguard.faults import Fault, FaultCode
from streamguard.runtime.viewing.feed import EVENT_BYTES, NEWEST_BYTES, Feed
from streamguard.values import START, EventKind
from streamguard.wire import protocol_named

from ..harness.waiting import wait_until_async

pytestmark = pytest.mark.anyio


def feed(limit_bytes: int = 1_000) -> Feed:
    return Feed(protocol_named("plain"), "0" * 24, start=START, limit_bytes=limit_bytes)


def test_chunks_are_coalesced_up_to_64_kib() -> None:
    window = feed(1_000_000)
    for data in [b"x" * 40_000, b"y" * 40_000, b"z" * 100_000, b"a", b"b"]:
        window.push(EventKind.DATA, data)
    window.show(5)
    position, sizes = 0, []
    while position < 5:
        before = position
        _, position = window.take(position, ids=True)
        sizes.append(position - before)
    assert sizes == [1, 1, 1, 2]


def test_only_what_was_shown_leaves_the_window() -> None:
    window = feed()
    for _ in range(20):
        window.push(EventKind.DATA, b"x" * 100)
    assert window.base == 0
    window.show(10)
    assert (window.base, window.emitted) == (10, 20)
    window.drop_hidden()
    window.drop_hidden()
    assert (window.emitted, window.held_bytes) == (10, 0)
    window.push(EventKind.DATA, b"y")
    window.show(11)
    window.show(11)
    window.clear()
    assert (window.base, window.emitted, window.data) == (11, 11, [])


@pytest.mark.parametrize("hidden", [0, 2])
def test_without_a_reader_only_what_is_hidden_is_kept(hidden: int) -> None:
    """Notices and events over the limit among the others; and what follows is numbered and measured as ever."""
    window = feed(1_000)
    for kind, size in ((EventKind.DATA, 10), (EventKind.NOTICE, 10), (EventKind.DATA, 5_000)):
        window.push(kind, b"x" * size)
    window.show(3)
    for _ in range(hidden):
        window.push(EventKind.NOTICE, b"later")
    window.clear()
    assert (window.base, window.visible, window.emitted) == (3, 3, 3 + hidden)
    assert (len(window.data), len(window.kinds)) == (hidden, hidden)
    assert window.held_bytes == window.size(4, 3 + hidden)
    assert window.trim_over == window.emitted_bytes - window.held_bytes + 2_000
    last = window.push(EventKind.DATA, b"y")
    window.show(last)
    assert window.take(last - 1, ids=False) == (window.frame(last, ids=False), last)


def test_a_window_that_keeps_everything_is_not_emptied() -> None:
    window = feed()
    window.push(EventKind.DATA, b"x")
    window.keep_all()
    window.show(1)
    window.clear()
    assert (window.base, window.data) == (0, [b"x"])


def test_one_event_over_the_limit_always_fits() -> None:
    """And what follows it may be as much as ever."""
    window = feed(1_000)
    for size in (100, 50_000, 300, 300):
        seq = window.push(EventKind.DATA, b"x" * size)
    window.show(seq)
    assert window.base <= 1
    for _ in range(40):
        window.push(EventKind.DATA, b"y" * 300)
        window.show(window.emitted)
    assert window.base > 2, "until more follows than a backlog holds"
    assert window.held_bytes <= 2 * 1_000 + 300 + EVENT_BYTES


def test_many_small_events_count_with_what_they_cost() -> None:
    """Bounded in bytes means bounded in what the process holds: an empty event is not free."""
    window = feed(100_000)
    for seq in range(1, 5_001):
        window.push(EventKind.DATA, b"")
        window.show(seq)
    assert len(window.data) <= 2 * 100_000 // EVENT_BYTES


def test_what_was_never_shown_is_forgotten_with_its_kind_and_size() -> None:
    window = feed(100_000)
    for kind, data in ((EventKind.DATA, b"ab"), (EventKind.NOTICE, b"{}"), (EventKind.DATA, b"cde")):
        window.push(kind, data)
    window.show(1)
    assert window.payload_bytes == 7
    window.drop_hidden()
    assert (window.emitted, window.payload_bytes, window.held_bytes) == (1, 2, 2 + EVENT_BYTES)
    window.push(EventKind.DATA, b"f")  # in the notice's place
    window.show(2)
    assert window.payloads(1, 2) == [(EventKind.DATA, b"ab"), (EventKind.DATA, b"f")]


def test_kinds_leave_the_window_with_their_events() -> None:
    window = feed(10_000)
    for seq in range(1, 501):
        window.push(EventKind.NOTICE if seq % 2 else EventKind.DATA, b"{}" * 20)
        window.show(seq)
    assert window.base > 0
    assert set(window.kinds) == set(range(window.base + window.base % 2 + 1, 501, 2))


@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("protocol", ["plain", "ui-message", "opaque", "ui-message-raw"])
@pytest.mark.parametrize("next_alone", [False, True])
def test_however_it_is_read_the_form_is_the_same(protocol: str, ids: bool, next_alone: bool) -> None:
    """One by one at the tip, in chunks, by one viewer or several, before and after the log was lost."""
    window = Feed(protocol_named(protocol), "0" * 24, start=START, limit_bytes=100_000)
    fault = Fault.of(FaultCode.SHUTTING_DOWN).to_json()
    alone, chunks, expected = b"", b"", b""
    position = 0
    told: list[tuple[bytes, int]] = []
    window.listen(lambda newest, seq: told.append((newest, seq)))
    usual = ids is window.protocol.ids_by_default
    for seq in range(1, 41):
        kind = EventKind.NOTICE if seq % 7 == 0 else EventKind.DATA
        data = b"%d\n%d" % (seq, seq) if seq % 5 == 0 else b"%d" % seq
        if protocol in ("opaque", "ui-message-raw"):
            data = b"\0\0\n: %d\n\n" % seq if seq % 9 == 0 else b"data: %d\n\n" % seq
        window.push(kind, fault if kind is EventKind.NOTICE else data)
        if seq == 25:
            window.lose_ids()
        if next_alone and kind is EventKind.DATA:
            window.show_next(seq, data)
        else:
            window.show(seq)
        assert told[-1] == (window.newest, seq)
        newest = window.newest if usual else b""
        assert newest in (b"", window.take(seq - 1, ids=ids)[0])
        alone += newest or window.take(seq - 1, ids=ids)[0]
        expected += window.frame(seq, ids=ids)
        if seq % 3 == 0:
            first, again = window.take(position, ids=ids), window.take(position, ids=ids)
            assert first == again
            chunks, position = chunks + first[0], first[1]
    chunks += window.take(position, ids=ids)[0]
    assert alone == chunks == expected
    assert (expected.count(b"id: ") > 0) is ids


def lost_ids(window: Feed) -> None:
    window.lose_ids()


def ended(window: Feed) -> None:
    window.end(complete=False)


def another_epoch(window: Feed) -> None:
    window.begin_epoch(9)


def left_the_window(window: Feed) -> None:
    window.clear()
    window.push(EventKind.DATA, b"two")
    window.push(EventKind.DATA, b"three")
    window.show(window.emitted)


def a_large_event(window: Feed) -> None:
    window.push(EventKind.DATA, b"x" * (NEWEST_BYTES + 1))
    window.show(window.emitted)


def two_together(window: Feed) -> None:
    window.push(EventKind.DATA, b"two")
    a_large_event(window)


@pytest.mark.parametrize("happens", [lost_ids, ended, left_the_window, a_large_event, two_together])
def test_no_frame_is_at_hand_where_it_takes_the_long_way(happens: Callable[[Feed], None]) -> None:
    window = feed(100_000)
    window.push(EventKind.DATA, b"unheard")
    window.show(1)
    assert window.newest == b"", "while nobody listens"
    window.listen(lambda *_: None)
    window.push(EventKind.DATA, b"one")
    window.show(2)
    assert window.newest == window.frame(2, ids=True) == window.take(1, ids=True)[0]
    happens(window)
    assert window.newest == b""


@pytest.mark.parametrize("happens", [lost_ids, another_epoch])
def test_no_frame_is_made_once_it_depends_on_its_place(happens: Callable[[Feed], None]) -> None:
    window = feed(100_000)
    window.listen(lambda *_: None)
    window.push(EventKind.DATA, b"one")
    window.show(1)
    happens(window)
    window.push(EventKind.DATA, b"two")
    window.show(2)
    assert window.newest == b""


def test_a_frame_is_made_beside_a_notice_too() -> None:
    window = feed(100_000)
    window.listen(lambda *_: None)
    for seq, kind in enumerate((EventKind.DATA, EventKind.NOTICE, EventKind.DATA), 1):
        window.push(kind, Fault.of(FaultCode.SHUTTING_DOWN).to_json() if kind is EventKind.NOTICE else b"text")
        window.show(seq)
        assert window.newest == window.frame(seq, ids=True)


async def test_the_first_end_stands() -> None:
    window = feed()
    told: list[str] = []
    window.listen(lambda *_: told.append("it changed"))
    window.end(complete=True)
    window.end(complete=False)
    assert window.complete
    assert told


async def test_a_listener_may_leave_when_it_is_told() -> None:
    window = feed()
    told: list[str] = []

    def leave(*_: object) -> None:
        told.append("leaves")
        window.leave(leave)

    def stay(*_: object) -> None:
        told.append("stays")

    window.listen(leave)
    window.listen(stay)
    window.wake()
    window.wake()
    assert told == ["leaves", "stays", "stays"]


async def test_a_change_is_awaited_and_leaves_nothing_behind() -> None:
    window = feed()
    waiting = [asyncio.create_task(window.change()) for _ in range(2)]
    await wait_until_async(lambda: len(window.listeners) == 2, description="both wait")
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    assert len(window.listeners) == 1
    window.end(complete=True)
    await asyncio.wait_for(waiting[1], 20)
    assert not window.listeners
