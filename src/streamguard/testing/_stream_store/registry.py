"""Clauses of the store contract about sessions, registration and owners' slots."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import asyncio

from ...stores.records import NewStream, SessionRecord, Status
from ...stores.registrations import ENDED_UNCOUNTED, Full, Registered, StopReply
from ...stores.store import StreamStore
from ...values import (
    FORMAT_VERSION,
    MAX_EPOCH,
    Persisted,
    QuotaState,
    SessionKey,
    StreamRef,
    StreamState,
    new_stream_id,
)
from .clauses import Clauses
from .steps import (
    LONG_SECONDS,
    ROUNDING_SECONDS,
    TRACE,
    a_seal,
    beat,
    begin,
    closing,
    end,
    epoch_of,
    fresh_key,
    full,
    log,
    meta,
    new_stream,
    occupied,
    put,
    registered,
    seal,
    sibling,
    take,
    try_register,
)


class RegistryClauses(Clauses):
    async def test_a_started_store_answers_a_ping(self, store: StreamStore) -> None:
        await store.ping()

    async def test_starting_gives_texts_for_the_operator(self, store: StreamStore) -> None:
        warnings = await store.start()
        assert [warning for warning in warnings if not warning.strip()] == []

    async def test_an_unknown_session_has_no_streams(self, store: StreamStore) -> None:
        assert await store.session(fresh_key()) == SessionRecord(None, None, None, None)

    async def test_an_unknown_stream_has_no_record(self, store: StreamStore) -> None:
        assert await store.meta(new_stream().ref) is None

    async def test_a_registered_stream_has_a_complete_record(self, store: StreamStore) -> None:
        new = NewStream(
            StreamRef(fresh_key(), new_stream_id()),
            "msg_1",
            "ui-message",
            "chat \u2028",
            "f" * 64,
            1_000.0,
            client_version="6.0.12",
            request_id="req_1",
            trace=TRACE,
        )
        record = registered(await try_register(store, new, lease=LONG_SECONDS))
        assert (record.ref, record.message_id, record.protocol) == (new.ref, "msg_1", "ui-message")
        assert (record.binding, record.fingerprint) == ("chat \u2028", "f" * 64)
        assert 0 <= record.age_seconds < LONG_SECONDS  # it begins now, whatever its writer says
        assert (record.ordinal, record.taken, record.state) == (1, False, StreamState.OPEN)
        assert 0 < record.epoch <= MAX_EPOCH
        assert (record.last_seq, record.first_seq) == (0, 1)
        assert (record.stop_requested, record.lost, record.seal, record.closed_seconds) == (False, False, None, None)
        assert (record.persisted, record.quota) == (Persisted.NOT_ASKED, QuotaState.NONE)
        assert (record.format_version, record.client_version) == (FORMAT_VERSION, "6.0.12")
        assert LONG_SECONDS / 2 < record.lease_seconds <= LONG_SECONDS + ROUNDING_SECONDS
        found = await meta(store, new.ref)
        assert (found.message_id, found.epoch, found.binding) == (record.message_id, record.epoch, record.binding)
        assert found.client_version == "6.0.12"
        # Another worker that resumes it, or takes it over, goes on with its request's trace.
        assert (record.request_id, record.trace) == (found.request_id, found.trace) == ("req_1", TRACE)

    async def test_a_stream_for_no_certain_client_says_so(self, store: StreamStore) -> None:
        record = registered(await try_register(store, new_stream(), lease=LONG_SECONDS))
        found = await meta(store, record.ref)
        assert record.client_version == found.client_version == ""
        assert (record.request_id, record.trace, found.request_id, found.trace) == (None, None, None, None)

    async def test_a_registered_stream_is_its_sessions_active_and_last(self, store: StreamStore) -> None:
        ref = await begin(store)
        session = await store.session(ref.key)
        assert (session.active_id, session.last_id) == (ref.stream_id, ref.stream_id)
        assert session.active is not None
        assert session.last is not None
        assert session.active.ref == session.last.ref == ref

    async def test_registering_again_gives_the_same_answer(self, store: StreamStore) -> None:
        new = new_stream()
        first = registered(await try_register(store, new))
        await put(store, new.ref, 1, b"a")
        again = registered(await try_register(store, new))
        assert (again.ref, again.ordinal, again.epoch) == (first.ref, first.ordinal, first.epoch)
        assert again.last_seq == 1

    async def test_an_open_stream_occupies_its_session(self, store: StreamStore) -> None:
        ref = await begin(store)
        rival = new_stream(ref.key)
        assert occupied(await try_register(store, rival)).ref == ref
        assert await store.meta(rival.ref) is None
        assert (await store.session(ref.key)).last_id == ref.stream_id

    async def test_an_open_stream_occupies_its_session_past_its_lease(self, store: StreamStore) -> None:
        ref = await begin(store, lease=self.short_seconds)
        await self.advance(self.short_seconds * 1.5)
        record = occupied(await try_register(store, new_stream(ref.key)))
        assert record.ref == ref
        assert record.lease_seconds < 0

    async def test_a_sealed_stream_gives_way(self, store: StreamStore) -> None:
        ref = await begin(store)
        await seal(store, ref)
        second = registered(await try_register(store, new_stream(ref.key)))
        session = await store.session(ref.key)
        assert (session.active_id, session.last_id) == (second.ref.stream_id, second.ref.stream_id)

    async def test_a_closed_stream_gives_way(self, store: StreamStore) -> None:
        ref = await begin(store)
        await end(store, ref)
        registered(await try_register(store, new_stream(ref.key)))

    async def test_a_vanished_stream_gives_way(self, store: StreamStore) -> None:
        ref = await begin(store, ttl=self.short_seconds, lease=self.short_seconds)
        await self.advance(self.short_seconds * 1.5)
        record = registered(await try_register(store, new_stream(ref.key)))
        assert record.ref != ref

    async def test_ordinals_count_a_sessions_streams(self, store: StreamStore) -> None:
        key = fresh_key()
        ordinals = []
        for _ in range(3):
            record = registered(await try_register(store, new_stream(key)))
            occupied(await try_register(store, new_stream(key)))
            await end(store, record.ref)
            ordinals.append(record.ordinal)
        assert ordinals == [1, 2, 3]

    async def test_of_two_registrations_at_once_one_wins(self, store: StreamStore) -> None:
        for _ in range(10):
            key = fresh_key()
            answers = await asyncio.gather(*(try_register(store, new_stream(key)) for _ in range(2)))
            (winner,) = [answer.meta.ref for answer in answers if isinstance(answer, Registered)]
            (loser,) = [answer for answer in answers if not isinstance(answer, Registered)]
            assert occupied(loser).ref == winner
            assert (await store.session(key)).active_id == winner.stream_id

    async def test_another_owners_stream_does_not_exist(self, store: StreamStore) -> None:
        ref = await begin(store)
        await put(store, ref, 1, b"secret")
        foreign = StreamRef(SessionKey(ref.key.owner + "x", ref.key.session_id), ref.stream_id)
        assert await store.session(foreign.key) == SessionRecord(None, None, None, None)
        assert await store.meta(foreign) is None
        assert await log(store, foreign) == []
        assert (await put(store, foreign, 2, b"intruder")).status is Status.GONE
        assert (await beat(store, foreign)).status is Status.GONE
        assert (await take(store, foreign, lease=1, force=True)).status is Status.GONE
        assert await store.request_stop(foreign) is StopReply.ENDED
        assert await store.seal(foreign, epoch_of(foreign), a_seal(1)) == (Status.GONE, None)
        assert (await store.close(closing(foreign))).status is Status.GONE
        assert (await meta(store, ref)).last_seq == 1

    async def test_any_text_is_an_id(self, store: StreamStore) -> None:
        """Separators, braces, control characters and Unicode in ids neither break a key nor meet another's."""
        keys = [
            SessionKey("a:b", "c"),
            SessionKey("a", "b:c"),
            SessionKey("{a}", "b"),
            SessionKey("a", "{b}"),
            SessionKey("a}", "{b"),
            SessionKey("a*", "b?"),
            SessionKey("a\r\nb", "c\0"),
            SessionKey("\u2028é", "😀" * 64),
            SessionKey("a/", "%2F"),
            SessionKey("a", "b" * 256),
        ]
        unique = new_stream_id()
        refs = [await begin(store, SessionKey(f"{unique}{key.owner}", key.session_id)) for key in keys]
        for number, ref in enumerate(refs):
            await put(store, ref, 1, b"%d" % number)
        assert [(await log(store, ref))[0].data for ref in refs] == [b"%d" % number for number in range(len(refs))]
        assert [(await store.session(ref.key)).active_id for ref in refs] == [ref.stream_id for ref in refs]

    # -- life times ----------------------------------------------------------------------------------------------------

    async def test_an_abandoned_stream_and_its_session_vanish(self, store: StreamStore) -> None:
        ref = await begin(store, ttl=self.short_seconds)
        await put(store, ref, 1, b"a")
        await self.advance(self.short_seconds * 1.5)
        assert await store.meta(ref) is None
        assert await log(store, ref) == []
        assert await store.session(ref.key) == SessionRecord(None, None, None, None)
        assert (await put(store, ref, 2, b"b")).status is Status.GONE

    async def test_a_session_outlives_its_finished_streams(self, store: StreamStore) -> None:
        ref = await begin(store, ttl=self.short_seconds * 2)
        await end(store, ref, retention=LONG_SECONDS)
        await self.advance(self.short_seconds * 3)
        session = await store.session(ref.key)
        assert session.last is not None
        assert session.last.ref == ref

    async def test_a_pointer_may_outlive_its_stream(self, store: StreamStore) -> None:
        ref = await begin(store, ttl=LONG_SECONDS)
        await end(store, ref, retention=self.short_seconds)
        await self.advance(self.short_seconds * 1.5)
        assert await store.session(ref.key) == SessionRecord(None, None, ref.stream_id, None)

    # -- owners' slots -------------------------------------------------------------------------------------------------

    async def test_an_owner_has_so_many_slots(self, store: StreamStore) -> None:
        key = fresh_key()
        for _ in range(2):
            registered(await try_register(store, new_stream(sibling(key)), limit=2))
        full(await try_register(store, new_stream(key), limit=2))
        registered(await try_register(store, new_stream(), limit=2))

    async def test_streams_count_though_they_were_registered_without_a_limit(self, store: StreamStore) -> None:
        key = fresh_key()
        for _ in range(2):
            registered(await try_register(store, new_stream(sibling(key)), limit=None))
        full(await try_register(store, new_stream(key), limit=2))
        registered(await try_register(store, new_stream(key), limit=None))

    async def test_registering_again_takes_no_other_slot(self, store: StreamStore) -> None:
        new = new_stream()
        for _ in range(3):
            registered(await try_register(store, new, limit=2))
        registered(await try_register(store, new_stream(sibling(new.ref.key)), limit=2))

    async def test_registering_again_succeeds_though_there_is_no_slot_left(self, store: StreamStore) -> None:
        new = new_stream()
        first = registered(await try_register(store, new, limit=2))
        registered(await try_register(store, new_stream(sibling(new.ref.key)), limit=2))
        again = registered(await try_register(store, new, limit=1))
        assert (again.ref, again.ordinal, again.epoch) == (first.ref, first.ordinal, first.epoch)

    async def test_the_session_is_looked_at_before_the_limit(self, store: StreamStore) -> None:
        """What occupies it may be joined or replaced, for which no other slot is needed."""
        ref = await begin(store)
        await begin(store, sibling(ref.key))
        for limit in (0, 1, 2, 3):
            assert occupied(await try_register(store, new_stream(ref.key), limit=limit)).ref == ref

    async def test_a_new_stream_takes_the_place_of_its_sessions_last_one(self, store: StreamStore) -> None:
        """As soon as that is sealed, though it holds its slot until it is closed."""
        ref = await begin(store)
        full(await try_register(store, new_stream(sibling(ref.key)), limit=1))
        await seal(store, ref)
        full(await try_register(store, new_stream(sibling(ref.key)), limit=1))
        registered(await try_register(store, new_stream(ref.key), limit=1))

    async def test_the_places_of_other_sessions_count(self, store: StreamStore) -> None:
        ref = await begin(store)
        await seal(store, await begin(store, sibling(ref.key)))
        await seal(store, ref)
        full(await try_register(store, new_stream(ref.key), limit=1))
        registered(await try_register(store, new_stream(ref.key), limit=2))

    async def test_so_many_ended_streams_of_a_session_keep_no_new_one_from_it(self, store: StreamStore) -> None:
        key = fresh_key()
        for _ in range(ENDED_UNCOUNTED + 1):
            await seal(store, registered(await try_register(store, new_stream(key), limit=1)).ref)
        full(await try_register(store, new_stream(key), limit=1))
        registered(await try_register(store, new_stream(key), limit=2))

    async def test_an_occupied_session_costs_no_slot(self, store: StreamStore) -> None:
        ref = await begin(store)
        for _ in range(3):
            occupied(await try_register(store, new_stream(ref.key), limit=2))
        registered(await try_register(store, new_stream(sibling(ref.key)), limit=2))

    async def test_of_many_registrations_at_once_the_owner_gets_as_many_as_there_are_slots(
        self, store: StreamStore
    ) -> None:
        key = fresh_key()
        answers = await asyncio.gather(*(try_register(store, new_stream(sibling(key)), limit=3) for _ in range(8)))
        assert sum(isinstance(answer, Registered) for answer in answers) == 3
        assert sum(isinstance(answer, Full) for answer in answers) == 5

    async def test_a_released_slot_is_free(self, store: StreamStore) -> None:
        ref = await begin(store)
        other = new_stream(sibling(ref.key))
        await store.release_slot(ref.key.owner, other.ref.stream_id)
        full(await try_register(store, other, limit=1))
        await store.release_slot(ref.key.owner, ref.stream_id)
        registered(await try_register(store, other, limit=1))

    async def test_a_slot_ends_with_its_lease(self, store: StreamStore) -> None:
        ref = await begin(store, lease=self.short_seconds)
        full(await try_register(store, new_stream(sibling(ref.key)), limit=1))
        await self.advance(self.short_seconds * 1.5)
        registered(await try_register(store, new_stream(sibling(ref.key)), limit=1))

    async def test_a_heartbeat_renews_its_streams_slot(self, store: StreamStore) -> None:
        ref = await begin(store, lease=self.short_seconds)
        await beat(store, ref, lease=LONG_SECONDS)
        await self.advance(self.short_seconds * 1.5)
        full(await try_register(store, new_stream(sibling(ref.key)), limit=1))
