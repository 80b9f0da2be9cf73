"""Clauses of the store contract about seals, closes, lost logs, marks and erasure."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import asyncio
from dataclasses import replace

from ...faults import Fault, FaultCode
from ...stores.appends import Append, AppendReply
from ...stores.records import Seal, SessionRecord, Status, Terminal
from ...stores.registrations import StopReply
from ...stores.store import StreamStore
from ...values import Event, EventKind, Outcome, Persisted, QuotaState, StreamState, Usage
from .clauses import Clauses
from .steps import (
    LONG_SECONDS,
    TRACE,
    a_seal,
    a_terminal,
    beat,
    begin,
    closing,
    data,
    end,
    epoch_of,
    fresh_key,
    full,
    log,
    losing,
    meta,
    new_stream,
    payloads,
    put,
    registered,
    seal,
    sibling,
    take,
    tombstone,
    try_register,
    unknown_ref,
)


class EndClauses(Clauses):
    async def test_a_seal_is_kept_whole(self, store: StreamStore) -> None:
        ref = await begin(store)
        await put(store, ref, 1, b"a")
        decided = Seal(
            Outcome.FAILED,
            1,
            Fault.of(FaultCode.STALLED, reason="é\u2028", actions=("retry",), retry_after_seconds=3),
            Usage({"input": 12, "output": 2**53 - 1}),
            (b"\x00\xff", b"", b"data: [DONE]\n\n"),
        )
        assert await store.seal(ref, epoch_of(ref), decided) == (Status.OK, decided)
        record = await meta(store, ref)
        assert (record.state, record.seal, record.last_seq) == (StreamState.SEALED, decided, 1)
        assert (await store.session(ref.key)).active_id == ref.stream_id

    async def test_the_first_seal_stands_whoever_asks(self, store: StreamStore) -> None:
        ref = await begin(store)
        first = a_seal(0, Outcome.STOPPED)
        await store.seal(ref, epoch_of(ref), first)
        for epoch in (1, 2, 7):
            assert await store.seal(ref, epoch_of(ref, epoch), a_seal(0, Outcome.FAILED)) == (Status.SEALED, first)
        await take(store, ref, lease=60, force=True)
        assert await store.seal(ref, epoch_of(ref, 2), a_seal(0, Outcome.FAILED)) == (Status.SEALED, first)
        await store.close(closing(ref, epoch=2))
        assert await store.seal(ref, epoch_of(ref, 2), a_seal(5, Outcome.FAILED)) == (Status.SEALED, first)
        assert (await meta(store, ref)).seal == first

    async def test_of_two_seals_at_once_one_decides(self, store: StreamStore) -> None:
        for _ in range(10):
            ref = await begin(store)
            answers = await asyncio.gather(
                store.seal(ref, epoch_of(ref), a_seal(0, Outcome.STOPPED)),
                store.seal(ref, epoch_of(ref), a_seal(0, Outcome.COMPLETED)),
            )
            assert sorted(status for status, _ in answers) == sorted([Status.OK, Status.SEALED])
            assert answers[0][1] == answers[1][1] == (await meta(store, ref)).seal

    async def test_a_seal_names_the_last_event(self, store: StreamStore) -> None:
        ref = await begin(store)
        await put(store, ref, 1, b"a", b"b")
        for last_seq in (1, 3):
            assert await store.seal(ref, epoch_of(ref), a_seal(last_seq)) == (Status.GAP, None)
        assert (await meta(store, ref)).state is StreamState.OPEN
        assert (await store.seal(ref, epoch_of(ref), a_seal(2)))[0] is Status.OK

    async def test_a_seal_under_another_epoch_is_fenced(self, store: StreamStore) -> None:
        ref = await begin(store)
        assert await store.seal(ref, epoch_of(ref, 2), a_seal()) == (Status.FENCED, None)
        assert (await meta(store, ref)).state is StreamState.OPEN

    async def test_what_is_gone_cannot_end(self, store: StreamStore) -> None:
        ref = unknown_ref()
        assert await store.seal(ref, epoch_of(ref), a_seal()) == (Status.GONE, None)
        assert await store.close(closing(ref)) == AppendReply(Status.GONE, 0, False)
        assert await store.update_meta(ref, persisted=Persisted.YES) is Status.GONE
        assert await store.meta(ref) is None

    # -- closing -------------------------------------------------------------------------------------------------------

    async def test_a_close_ends_the_log_with_its_terminal(self, store: StreamStore) -> None:
        ref = await begin(store)
        await put(store, ref, 1, b"a")
        await seal(store, ref, 1)
        terminal = a_terminal(Outcome.FAILED)
        reply = await store.close(closing(ref, b"finish", b"[DONE]", terminal=terminal, owed=b"\x00owed"))
        assert reply == AppendReply(Status.OK, 4, False)
        found = await log(store, ref)
        assert found == [
            Event(1, EventKind.DATA, b"a", epoch_of(ref)),
            Event(2, EventKind.CLOSING, b"finish", epoch_of(ref)),
            Event(3, EventKind.CLOSING, b"[DONE]", epoch_of(ref)),
            Event(4, EventKind.TERMINAL, terminal.to_json(), epoch_of(ref)),
        ]
        assert Terminal.from_json(found[-1].data) == terminal
        record = await meta(store, ref)
        assert (record.state, record.last_seq) == (StreamState.CLOSED, 4)
        assert (record.persisted, record.quota) == (terminal.persisted, terminal.quota)
        assert record.seal is not None
        assert record.closed_seconds is not None
        assert 0 <= record.closed_seconds < 30

    async def test_a_close_gives_the_owners_slot_back(self, store: StreamStore) -> None:
        ref = await begin(store)
        other = new_stream(sibling(ref.key))
        full(await try_register(store, other, limit=1))
        await end(store, ref)
        registered(await try_register(store, other, limit=1))

    async def test_a_close_clears_the_active_pointer_and_keeps_the_last(self, store: StreamStore) -> None:
        ref = await begin(store)
        await end(store, ref)
        session = await store.session(ref.key)
        assert (session.active_id, session.active, session.last_id) == (None, None, ref.stream_id)

    async def test_a_late_close_leaves_a_newer_streams_pointer(self, store: StreamStore) -> None:
        first = await begin(store)
        await seal(store, first)
        second = await begin(store, first.key)
        assert (await store.close(closing(first))).status is Status.OK
        session = await store.session(first.key)
        assert (session.active_id, session.last_id) == (second.stream_id, second.stream_id)

    async def test_a_close_repeated_changes_nothing(self, store: StreamStore) -> None:
        ref = await begin(store)
        await end(store, ref)
        before = await log(store, ref)
        for payload in (b"", b"more"):
            again = await store.close(closing(ref, payload, terminal=a_terminal(Outcome.FAILED)))
            assert again == AppendReply(Status.DUPLICATE, 1, False)
        assert await log(store, ref) == before

    async def test_of_two_closes_at_once_one_terminal_stands(self, store: StreamStore) -> None:
        for _ in range(10):
            ref = await begin(store)
            await seal(store, ref)
            replies = await asyncio.gather(*(store.close(closing(ref)) for _ in range(2)))
            assert sorted(reply.status for reply in replies) == sorted([Status.OK, Status.DUPLICATE])
            assert [event.kind for event in await log(store, ref)] == [EventKind.TERMINAL]

    async def test_an_open_stream_is_not_closed(self, store: StreamStore) -> None:
        ref = await begin(store)
        await put(store, ref, 1, b"a")
        assert await store.close(closing(ref)) == AppendReply(Status.NOT_SEALED, 1, False)
        assert payloads(await log(store, ref)) == [b"a"]
        assert (await meta(store, ref)).state is StreamState.OPEN

    async def test_sealing_and_closing_may_be_one_step(self, store: StreamStore) -> None:
        ref = await begin(store)
        await put(store, ref, 1, b"a")
        decided = a_seal(1, Outcome.COMPLETED)
        assert await store.seal_and_close(closing(ref), decided) == (
            Status.OK,
            decided,
            AppendReply(Status.OK, 2, False),
        )
        assert (await meta(store, ref)).state is StreamState.CLOSED
        repeated = await store.seal_and_close(closing(ref), decided)
        assert repeated == (Status.SEALED, decided, AppendReply(Status.DUPLICATE, 2, False))
        assert len(await log(store, ref)) == 2

    async def test_one_step_ends_a_stream_that_is_to_stop(self, store: StreamStore) -> None:
        ref = await begin(store)
        await put(store, ref, 1, b"a")
        await store.request_stop(ref)
        decided = a_seal(1, Outcome.STOPPED)
        status, _, reply = await store.seal_and_close(closing(ref), decided)
        assert (status, reply and reply.status) == (Status.OK, Status.OK)
        now = await meta(store, ref)
        assert (now.state, now.lost) == (StreamState.CLOSED, False)
        assert [event.seq for event in await log(store, ref)] == [1, 2]

    async def test_one_step_closes_only_under_the_seal_that_stands(self, store: StreamStore) -> None:
        ref = await begin(store)
        first = a_seal(0, Outcome.STOPPED)
        await store.seal(ref, epoch_of(ref), first)
        proposals = [a_seal(0, Outcome.COMPLETED), a_seal(1, Outcome.STOPPED)]
        proposals += [replace(first, usage=Usage({"tokens": 1})), replace(first, held=(b"[DONE]",))]
        for proposal in proposals:
            answer = await store.seal_and_close(closing(ref), proposal)
            assert answer == (Status.SEALED, first, None)
        assert (await meta(store, ref)).state is StreamState.SEALED
        assert await log(store, ref) == []

    async def test_one_step_refuses_what_two_would(self, store: StreamStore) -> None:
        behind = await begin(store)
        assert await store.seal_and_close(closing(behind), a_seal(1)) == (Status.GAP, None, None)
        assert await store.seal_and_close(closing(behind, epoch=2), a_seal(0)) == (Status.FENCED, None, None)
        assert (await meta(store, behind)).state is StreamState.OPEN
        gone = unknown_ref()
        assert await store.seal_and_close(closing(gone), a_seal(0)) == (Status.GONE, None, None)

    async def test_the_last_events_go_with_the_end_or_are_refused_whole(self, store: StreamStore) -> None:
        """A store that cannot do both in one step refuses all of them."""
        ref = await begin(store)
        await put(store, ref, 1, b"a")
        decided = a_seal(3)
        last = Append(ref, epoch_of(ref), 2, data(b"b", b"c"), refresh=False, within_seconds=LONG_SECONDS)
        for _ in range(2):
            status, standing, reply = await store.seal_and_close(closing(ref), decided, last)
            now, held = await meta(store, ref), await log(store, ref)
            if status is Status.NOT_SEALED:
                assert (standing, reply, now.state, payloads(held)) == (None, None, StreamState.OPEN, [b"a"])
            else:
                assert reply is not None
                assert (standing, now.state, payloads(held)[:3]) == (decided, StreamState.CLOSED, [b"a", b"b", b"c"])
                assert [event.seq for event in held] == [1, 2, 3, 4]

    async def test_last_events_that_no_append_would_add_end_nothing(self, store: StreamStore) -> None:
        ref = await begin(store)
        await put(store, ref, 1, b"a")
        plain = Append(ref, epoch_of(ref), 2, data(b"b"), refresh=False, within_seconds=LONG_SECONDS)
        refused = [
            (replace(plain, within_seconds=0.0), a_seal(2)),
            (replace(plain, first_seq=1), a_seal(1)),
            (replace(plain, first_seq=3), a_seal(3)),
            (replace(plain, refresh=True), a_seal(2)),
            (plain, a_seal(3)),
            (replace(plain, epoch=plain.epoch + 1), a_seal(2)),
        ]
        for last, decided in refused:
            close = closing(ref)._replace(epoch=last.epoch)
            assert await store.seal_and_close(close, decided, last) == (Status.NOT_SEALED, None, None)
        assert (await meta(store, ref)).state is StreamState.OPEN
        assert payloads(await log(store, ref)) == [b"a"]

    async def test_a_finished_stream_is_kept_for_its_retention(self, store: StreamStore) -> None:
        brief, kept = await begin(store, ttl=60), await begin(store, ttl=self.short_seconds * 2)
        await end(store, brief, retention=self.short_seconds)
        await end(store, kept, retention=60)
        await self.advance(self.short_seconds * 3)
        assert await store.meta(brief) is None
        assert await log(store, brief) == []
        assert len(await log(store, kept)) == 1

    async def test_marks_change_what_a_record_says(self, store: StreamStore) -> None:
        running, closed = await begin(store), await begin(store)
        await end(store, closed)
        for ref in (running, closed):
            assert await store.update_meta(ref, persisted=Persisted.YES, quota=QuotaState.PENDING) is Status.OK
            assert await store.update_meta(ref, persisted=Persisted.NO) is Status.OK
            record = await meta(store, ref)
            assert (record.persisted, record.quota) == (Persisted.NO, QuotaState.PENDING)
            assert await store.update_meta(ref, quota=QuotaState.SETTLED) is Status.OK
            record = await meta(store, ref)
            assert (record.persisted, record.quota, record.revised) == (Persisted.NO, QuotaState.SETTLED, False)
            assert await store.update_meta(ref, revised=True) is Status.OK
            assert await store.update_meta(ref, persisted=Persisted.YES) is Status.OK
            record = await meta(store, ref)
            assert (record.persisted, record.revised) == (Persisted.YES, True)

    # -- lost logs -----------------------------------------------------------------------------------------------------

    async def test_a_lost_stream_runs_on_without_its_log(self, store: StreamStore) -> None:
        new = new_stream()
        await try_register(store, new, lease=self.short_seconds)
        await put(store, new.ref, 1, b"a")
        for _ in range(2):
            assert await store.declare_lost(losing(new)) == AppendReply(Status.OK, 1, False)
        record = await meta(store, new.ref)
        assert (record.lost, record.state, record.last_seq, record.ordinal) == (True, StreamState.OPEN, 1, 1)
        assert record.lease_seconds > self.short_seconds
        assert (await beat(store, new.ref)).status is Status.OK
        assert await store.seal(new.ref, epoch_of(new.ref), a_seal(1)) == (Status.LOST, None)
        assert (await store.session(new.ref.key)).active_id == new.ref.stream_id

    async def test_a_stream_never_registered_is_recorded_as_lost(self, store: StreamStore) -> None:
        new = replace(new_stream(age=100), client_version="5.0.0", request_id="req_1", trace=TRACE)
        assert await store.declare_lost(losing(new)) == AppendReply(Status.OK, 0, False)
        record = await meta(store, new.ref)
        assert (record.lost, record.taken, record.ordinal, record.last_seq) == (True, False, 0, 0)
        assert record.epoch > 1
        assert (record.message_id, record.client_version) == (new.message_id, "5.0.0")
        assert (record.request_id, record.trace) == ("req_1", TRACE)
        assert 99.9 < record.age_seconds < 100 + LONG_SECONDS
        session = await store.session(new.ref.key)
        assert (session.active_id, session.last_id) == (new.ref.stream_id, new.ref.stream_id)

    async def test_a_tombstone_ends_a_lost_stream(self, store: StreamStore) -> None:
        new = new_stream()
        await try_register(store, new)
        await put(store, new.ref, 1, b"a")
        terminal = tombstone(Outcome.FAILED)
        assert await store.declare_lost(losing(new, terminal=terminal)) == AppendReply(Status.OK, 2, False)
        found = await log(store, new.ref)
        assert found[-1] == Event(2, EventKind.TERMINAL, terminal.to_json(), epoch_of(new.ref))
        record = await meta(store, new.ref)
        assert (record.lost, record.state) == (True, StreamState.CLOSED)
        assert (record.persisted, record.quota) == (terminal.persisted, terminal.quota)
        assert record.closed_seconds is not None
        session = await store.session(new.ref.key)
        assert (session.active_id, session.last_id) == (None, new.ref.stream_id)
        assert await store.declare_lost(losing(new, terminal=tombstone())) == AppendReply(Status.DUPLICATE, 2, False)
        assert await log(store, new.ref) == found

    async def test_a_tombstone_stands_alone_for_a_stream_never_registered(self, store: StreamStore) -> None:
        new = new_stream()
        assert await store.declare_lost(losing(new, terminal=tombstone())) == AppendReply(Status.OK, 1, False)
        assert [event.kind for event in await log(store, new.ref)] == [EventKind.TERMINAL]
        session = await store.session(new.ref.key)
        assert (session.active_id, session.last_id) == (None, new.ref.stream_id)

    async def test_a_lost_stream_takes_no_pointer_from_a_newer_one(self, store: StreamStore) -> None:
        for terminal in (None, tombstone()):
            key = fresh_key()
            late = new_stream(key, age=10)
            newer = await begin(store, key)
            assert (await store.declare_lost(losing(late, terminal=terminal))).status is Status.OK
            session = await store.session(key)
            assert (session.active_id, session.last_id) == (newer.stream_id, newer.stream_id)

    async def test_a_stream_that_ended_well_is_not_lost(self, store: StreamStore) -> None:
        sealed, closed = new_stream(), new_stream()
        for new in (sealed, closed):
            await try_register(store, new)
        await seal(store, sealed.ref)
        await end(store, closed.ref)
        for new in (sealed, closed):
            for terminal in (None, tombstone()):
                assert (await store.declare_lost(losing(new, terminal=terminal))).status is Status.SEALED
            record = await meta(store, new.ref)
            assert not record.lost

    # -- erasing -------------------------------------------------------------------------------------------------------

    async def test_an_erased_session_is_unknown(self, store: StreamStore) -> None:
        key = fresh_key()
        closed = await begin(store, key)
        await end(store, closed)
        running, other = await begin(store, key), await begin(store)
        await put(store, running, 1, b"a")
        await store.erase(key, mark_seconds=60)
        assert await store.session(key) == SessionRecord(None, None, None, None)
        for ref in (closed, running):
            assert await store.meta(ref) is None
            assert await log(store, ref) == []
            assert (await put(store, ref, 2, b"late")).status is Status.GONE
            assert (await beat(store, ref)).status is Status.GONE
            assert await store.seal(ref, epoch_of(ref), a_seal()) == (Status.GONE, None)
            assert (await store.close(closing(ref))).status is Status.GONE
            assert (await take(store, ref, lease=60, force=True)).status is Status.GONE
            assert await store.request_stop(ref) is StopReply.ENDED
        assert await store.session(key) == SessionRecord(None, None, None, None)
        assert (await meta(store, other)).state is StreamState.OPEN

    async def test_erasing_what_is_not_there_or_twice_is_no_error(self, store: StreamStore) -> None:
        ref = await begin(store)
        await store.erase(fresh_key(), mark_seconds=60)
        await store.erase(ref.key, mark_seconds=60)
        await store.erase(ref.key, mark_seconds=60)
        assert await store.meta(ref) is None

    async def test_what_began_before_an_erasure_does_not_come_back(self, store: StreamStore) -> None:
        new = new_stream(age=10)
        await try_register(store, new)
        await store.erase(new.ref.key, mark_seconds=60)
        for terminal in (None, tombstone()):
            assert await store.declare_lost(losing(new, terminal=terminal)) == AppendReply(Status.GONE, 0, False)
        assert await store.meta(new.ref) is None
        assert await store.session(new.ref.key) == SessionRecord(None, None, None, None)

    async def test_a_session_begins_anew_after_its_erasure(self, store: StreamStore) -> None:
        ref = await begin(store)
        await store.erase(ref.key, mark_seconds=60)
        second = registered(await try_register(store, new_stream(ref.key))).ref
        assert (await put(store, second, 1, b"a")).status is Status.OK
        later = new_stream(ref.key, age=0)
        assert (await store.declare_lost(losing(later, terminal=tombstone()))).status is Status.OK

    async def test_an_erasure_is_forgotten_after_its_mark(self, store: StreamStore) -> None:
        new = new_stream(age=10)
        await store.erase(new.ref.key, mark_seconds=self.short_seconds)
        await self.advance(self.short_seconds * 1.5)
        assert (await store.declare_lost(losing(new))).status is Status.OK
