"""Clauses of the store contract about streams that are over: what a store promises that only reads."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from ...errors import LogBrokenError
from ...stores.records import SessionRecord, Terminal
from ...stores.roles.stream_log import StreamLog
from ...values import MAX_SEQ, START, Event, EventKind, Position, StreamRef, StreamState
from .clauses import Clauses
from .steps import EVERYTHING, Hints, place, unknown_ref

__all__ = ["StreamLogClauses"]


async def whole(store: StreamLog, ref: StreamRef) -> list[Event]:
    found = await store.read(ref, START, max_bytes=EVERYTHING)
    while page := await store.read(ref, place(found[-1]), max_bytes=EVERYTHING):
        found += page
    return found


class StreamLogClauses(Clauses):
    """`ended` is a stream that is over, its session's last, with three events or more."""

    async def test_an_ended_stream_is_its_sessions_last(self, store: StreamLog, ended: StreamRef) -> None:
        session = await store.session(ended.key)
        assert (session.active_id, session.active, session.last_id) == (None, None, ended.stream_id)
        assert session.last is not None
        assert session.last.ref == ended

    async def test_the_record_of_an_ended_stream_agrees_with_its_log(self, store: StreamLog, ended: StreamRef) -> None:
        meta, events = await store.meta(ended), await whole(store, ended)
        assert meta is not None
        assert (meta.ref, meta.state, meta.lost) == (ended, StreamState.CLOSED, False)
        assert (meta.first_seq, meta.last_seq) == (events[0].seq, events[-1].seq) == (1, len(events))
        assert meta.end == place(events[-1])
        assert meta.closed_seconds is not None
        assert [event.kind for event in events].count(EventKind.TERMINAL) == 1
        terminal = Terminal.from_json(events[-1].data)
        assert meta.seal is not None
        assert terminal.outcome is meta.seal.outcome

    async def test_an_ended_log_is_read_on_from_every_event(self, store: StreamLog, ended: StreamRef) -> None:
        events = await whole(store, ended)
        assert len(events) >= 3, "the stream that the suite is given has three events or more"
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        for event in events:
            meta, held = await store.check_position(ended, place(event))
            assert (meta is not None, held) == (True, True)
            rest = await store.read(ended, place(event), max_bytes=EVERYTHING)
            assert rest == events[event.seq :][: len(rest)]
            assert bool(rest) is (event is not events[-1])

    async def test_an_ended_log_is_read_in_pages(self, store: StreamLog, ended: StreamRef) -> None:
        found: list[Event] = []
        at = START
        while page := await store.read(ended, at, max_bytes=1):
            found += page
            at = place(page[-1])
        assert found == await whole(store, ended)

    async def test_an_ended_log_holds_no_other_event(self, store: StreamLog, ended: StreamRef) -> None:
        last = (await whole(store, ended))[-1]
        assert (await store.check_position(ended, START))[1]
        for at in ((last.epoch + 1, last.seq), (last.epoch, last.seq + 1), (last.epoch, MAX_SEQ)):
            meta, held = await store.check_position(ended, Position(*at))
            assert (meta is not None, held) == (True, False)
            with pytest.raises(LogBrokenError):
                await store.read(ended, Position(*at), max_bytes=EVERYTHING)

    async def test_a_stream_that_never_was_is_not_found(self, store: StreamLog, ended: StreamRef) -> None:
        for ref in (unknown_ref(), unknown_ref(ended.key)):
            assert await store.meta(ref) is None
            assert await store.check_position(ref, Position(1, 1)) == (None, False)
            with pytest.raises(LogBrokenError):
                await store.read(ref, Position(1, 1), max_bytes=EVERYTHING)
        assert await store.session(unknown_ref().key) == SessionRecord(None, None, None, None)

    async def test_an_ended_stream_is_its_owners_alone(self, store: StreamLog, ended: StreamRef) -> None:
        for key in (
            replace(ended.key, owner=ended.key.owner + "x"),
            replace(ended.key, session_id=ended.key.session_id + "x"),
        ):
            assert await store.meta(StreamRef(key, ended.stream_id)) is None
            assert await store.session(key) == SessionRecord(None, None, None, None)

    async def test_nothing_is_told_of_what_does_not_change(self, store: StreamLog, ended: StreamRef) -> None:
        hints = Hints()
        async with store.subscribe(ended, hints), store.subscribe(ended, hints, data=False):
            await whole(store, ended)
            await asyncio.sleep(0)
        assert [hint for hint in hints.seen if hint.events] == []
