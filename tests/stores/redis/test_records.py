"""What Redis holds, read back: seals and hints survive, what is damaged or newer is reported and left alone."""

from __future__ import annotations

import json
import struct
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamguard.errors import StoreCorruptError, StoreFormatError
from streamguard.faults import Fault, FaultCode
from streamguard.stores.damage import RecordKind, Unreadable
from streamguard.stores.records import Hint, Seal, Status, Terminal
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.codec import decode_seal, decode_text, pack_held, seal_json, usage_json
from streamguard.stores.redis.driver import Reply
from streamguard.stores.redis.hints import decode_hint
from streamguard.stores.redis.keys import Keys
from streamguard.stores.redis.namespace import read_answer
from streamguard.stores.redis.stream_calls import SealStream
from streamguard.testing._stream_store.steps import (
    a_seal,
    begin,
    closing,
    epoch_of,
    log,
    losing,
    new_stream,
    put,
    seal,
    take,
    tombstone,
)
from streamguard.values import (
    MAX_EPOCH,
    MAX_SEQ,
    EventKind,
    Outcome,
    Persisted,
    QuotaState,
    SessionKey,
    StreamRef,
    Usage,
)

from ...harness.redis import RedisServer
from ..leases import SHORT_SECONDS, overdue

REF = StreamRef(SessionKey("o", "s"), "0" * 24)

faults = st.builds(
    Fault.of,
    st.sampled_from(FaultCode),
    message=st.text(st.characters()),
    actions=st.lists(st.text(max_size=5)).map(tuple),
    retry_after_seconds=st.none() | st.integers(0, 100),
)
seals = st.builds(
    Seal,
    st.sampled_from(Outcome),
    st.integers(0, 2**53 - 1),
    st.none() | faults,
    st.none() | st.builds(Usage, st.dictionaries(st.text(), st.integers())),
    st.lists(st.binary()).map(tuple),
)
events = st.lists(st.tuples(st.sampled_from(EventKind), st.binary()))


@given(seals)
@pytest.mark.long
def test_a_seal_survives_the_trip(sealed: Seal) -> None:
    fields = [seal_json(sealed), b"%d" % sealed.last_seq, usage_json(sealed.usage), pack_held(sealed.held)]
    assert decode_seal(REF, fields, "meta") == sealed


def test_an_outcome_of_a_later_version_is_that_of_no_whole_reply_and_passed_on() -> None:
    fault = {**Fault.of(FaultCode.STALLED).as_dict(), "code": "of_tomorrow"}
    stored = json.dumps({"outcome": "paused", "fault": fault}).encode()
    found = decode_seal(REF, [stored, b"3", b"", b""], "meta")
    assert (found.outcome, found.original) == (Outcome.INTERRUPTED, "paused")
    assert json.loads(seal_json(found)) == json.loads(stored)


def test_a_terminal_record_of_a_later_version_is_read_with_what_is_known() -> None:
    stored = {"outcome": "paused", "persisted": "archived", "quota": "waived", "message_id": "m"}
    found = Terminal.from_json(json.dumps(stored).encode())
    assert (found.outcome, found.persisted, found.quota) == (
        Outcome.INTERRUPTED,
        Persisted.PENDING,
        QuotaState.PENDING,
    )
    assert json.loads(found.to_json())["outcome"] == "paused"


@pytest.mark.anyio
async def test_what_is_known_of_saving_and_settling_may_be_of_a_later_version(
    store: RedisStore, redis_server: RedisServer, redis_database: int
) -> None:
    ref = await begin(store)
    name = Keys("streamguard").stream(ref).meta
    redis_server.client(redis_database).hset(name, mapping={"y": "archived", "q": "waived"})
    meta = await store.meta(ref)
    assert meta is not None
    assert (meta.persisted, meta.quota) == (Persisted.PENDING, QuotaState.PENDING)


@given(st.booleans(), st.integers(0, MAX_SEQ), st.integers(0, MAX_EPOCH), events)
def test_a_hint_survives_the_trip(stop: bool, first_seq: int, epoch: int, told: list[tuple[EventKind, bytes]]) -> None:
    payload = struct.pack(">BQQ", stop, first_seq, epoch)
    payload += b"".join(struct.pack(">cI", kind.encode(), len(data)) + data for kind, data in told)
    assert decode_hint(payload) == Hint(first_seq, tuple(told), stop, epoch)


@given(st.binary())
def test_a_hint_that_cannot_be_read_is_an_empty_one_or_what_it_says(payload: bytes) -> None:
    hint = decode_hint(payload)
    assert len(payload) >= 17 or hint == Hint(0, (), False)


@pytest.mark.parametrize("cut", [1, 3, 5, 12])
def test_a_hint_that_is_cut_off_is_an_empty_one(cut: int) -> None:
    whole = struct.pack(">BQQ", 0, 1, 7) + struct.pack(">cI", b"d", 5) + b"hello"
    assert decode_hint(whole[:-cut]) == Hint(0, (), False)


@pytest.mark.parametrize("reply", [None, 3, [], [b"0"], [0, b"a", b"1", b"", b"", b"more"]])
def test_a_script_that_answers_something_else_is_reported(reply: Reply) -> None:
    sealing = SealStream(meta_key=b"key", log_key=b"log", epoch=1, last_seq=b"1", seal=b"{}", usage=b"", held=b"")
    with pytest.raises(StoreCorruptError, match="unexpected"):
        read_answer("seal", sealing, reply)
    with pytest.raises(StoreCorruptError, match="unexpected"):
        decode_text(reply)


@pytest.mark.anyio
async def test_a_record_of_a_later_version_is_reported_and_left_alone(
    store: RedisStore, redis_server: RedisServer, redis_database: int
) -> None:
    client = redis_server.client(redis_database)
    ref = await begin(store, lease=SHORT_SECONDS)
    await put(store, ref, 1, b"a")
    keys = Keys("streamguard").stream(ref)
    client.hset(keys.meta, "v", "2")
    before = client.hgetall(keys.meta)
    steps: list[Callable[[], Awaitable[object]]] = [
        lambda: store.meta(ref),
        lambda: store.session(ref.key),
        lambda: begin(store, ref.key),
        lambda: take(store, ref, lease=1),
        lambda: store.request_stop(ref),
        lambda: store.seal(ref, epoch_of(ref), a_seal(1)),
        lambda: store.close(closing(ref)),
        lambda: store.update_meta(ref, persisted=Persisted.YES),
        lambda: store.erase(ref.key, mark_seconds=1),
    ]
    for step in steps:
        with pytest.raises(StoreFormatError, match="later version"):
            await step()
    assert await overdue(store) == []
    assert client.hgetall(keys.meta) == before
    assert client.xlen(keys.log) == 1
    assert client.zcard(Keys("streamguard").lease_shard(ref)) == 1


@pytest.mark.anyio
async def test_a_session_of_a_later_version_is_reported_and_its_pointers_are_left_alone(
    store: RedisStore, redis_server: RedisServer, redis_database: int
) -> None:
    """Its streams may be this version's own: those can be lost, sealed and closed."""
    client = redis_server.client(redis_database)
    ref = await begin(store)
    name = Keys("streamguard").session(ref.key).session
    client.hset(name, "v", "2")
    before = client.hgetall(name)
    steps: list[Callable[[], Awaitable[object]]] = [
        lambda: store.session(ref.key),
        lambda: begin(store, ref.key),
        lambda: store.erase(ref.key, mark_seconds=1),
    ]
    for step in steps:
        with pytest.raises(StoreFormatError, match="this session was written by a later version"):
            await step()
    later = new_stream(ref.key, age=0)
    for terminal in (None, tombstone()):
        assert (await store.declare_lost(losing(later, terminal=terminal))).status is Status.OK
        assert client.hgetall(name) == before
    await seal(store, ref)
    assert (await store.close(closing(ref))).status is Status.OK
    assert client.hget(name, "active") is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("s", "?"),
        ("n", "many"),
        ("n", "9" * 400),
        ("y", b"\xff"),
        ("g", "{}"),
        ("g", "]"),
        ("g", "[" * 100_000),
        ("u", "[1]"),
        ("v", ""),
        ("c", "now"),
        ("c", "nan"),
        ("c", "9" * 400),
        ("e", "?"),
    ],
)
@pytest.mark.anyio
async def test_a_damaged_record_is_reported(
    store: RedisStore, redis_server: RedisServer, redis_database: int, field: str, value: str | bytes
) -> None:
    ref = await begin(store)
    redis_server.client(redis_database).hset(Keys("streamguard").stream(ref).meta, field, value)
    with pytest.raises(StoreCorruptError):
        await store.meta(ref)


@pytest.mark.anyio
async def test_damaged_held_parts_are_reported(
    store: RedisStore, redis_server: RedisServer, redis_database: int
) -> None:
    ref = await begin(store)
    await seal(store, ref)
    for damage in (b"\0", b"\0\0\0\5abc"):
        redis_server.client(redis_database).hset(Keys("streamguard").stream(ref).meta, "h", damage)
        with pytest.raises(StoreCorruptError, match="seal"):
            await store.meta(ref)


@pytest.mark.anyio
async def test_a_foreign_entry_in_a_log_is_reported(
    store: RedisStore, redis_server: RedisServer, redis_database: int
) -> None:
    ref = await begin(store)
    redis_server.client(redis_database).xadd(Keys("streamguard").stream(ref).log, {"who": "knows"}, id="1-0")
    with pytest.raises(StoreCorruptError, match="log"):
        await log(store, ref)
    redis_server.client(redis_database).expire(Keys("streamguard").stream(ref).log, 5)


@pytest.mark.anyio
async def test_a_key_of_another_type_is_reported(
    store: RedisStore, redis_server: RedisServer, redis_database: int
) -> None:
    ref = await begin(store)
    redis_server.client(redis_database).set(Keys("streamguard").stream(ref).meta, "text", ex=5)
    with pytest.raises(StoreCorruptError, match="something else"):
        await store.meta(ref)


@pytest.mark.anyio
async def test_foreign_members_of_the_lease_index_are_reported_and_removed(
    store: RedisStore, redis_server: RedisServer, redis_database: int
) -> None:
    """More of them than one look takes up: they must not hide what is due."""
    ref = await begin(store, lease=SHORT_SECONDS)
    assert ref in await overdue(store)
    shard = Keys("streamguard").lease_shard(ref)
    client = redis_server.client(redis_database)
    told: list[Unreadable] = []
    store.on_unreadable = told.append
    foreign = [b"!", b"bm8gbGlzdA==", b"MQ==", b"\xff\xfe", *(b"m%d" % number for number in range(200))]
    for member in foreign:
        client.zadd(shard, {member: 1})
    client.expire(shard, 5)
    for _ in range(10):
        found = await store.expired_leases(limit=1)
        if found:
            break
    assert found == [ref]
    assert {(one.record, one.why, one.action) for one in told} == {(RecordKind.LEASE_INDEX, "damaged", "removed")}
    assert len(told) >= 64
