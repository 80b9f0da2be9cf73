"""Keys: no id from outside in them, no two things under one, and back from the lease index what went in."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamguard.errors import StoreCorruptError
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.keys import Keys, SessionKeys, decode_member, encode_member
from streamguard.testing._stream_store.steps import full, log, meta, new_stream, payloads, put, registered, try_register
from streamguard.values import SessionKey, StreamRef

from ...harness.redis import RedisServer

HOSTILE = [
    "a",
    "a:b",
    ":",
    "{}",
    "{a}",
    "}{",
    "*",
    "?[x]",
    "a\0b",
    "a\r\nb",
    " ",
    "%2F",
    "..",
    "é",
    "e\u0301",
    "🌍" * 64,
    "x" * 256,
    "\ud800",
]

anything = st.text(st.characters(), max_size=300)  # lone surrogates too
refs = st.builds(StreamRef, st.builds(SessionKey, anything, anything), st.from_regex(r"[0-9a-f]{24}", fullmatch=True))


def keys_of_session(keys: SessionKeys) -> list[bytes]:
    prefixes = [keys.meta_prefix, keys.log_prefix]
    return [keys.session, keys.streams, keys.erased, keys.stopped, keys.still, *prefixes]


def all_keys(ref: StreamRef) -> list[bytes]:
    keys = Keys("ns")
    across = [keys.owner(ref.key.owner), keys.stops(ref.key.owner), keys.lease_shard(ref), keys.outbox_shard(ref)]
    stream = keys.stream(ref)
    of_stream = [stream.meta, stream.log, stream.session, stream.streams, stream.lease_shard]
    return [
        *keys_of_session(keys.session(ref.key)),
        *of_stream,
        *across,
        keys.request(ref.key.owner, ref.key.session_id),
    ]


@given(refs)
def test_keys_hold_nothing_but_digests_and_our_own_ids(ref: StreamRef) -> None:
    for key in all_keys(ref):
        assert re.fullmatch(
            rb"ns:\{([A-Za-z0-9_-]{22}|[opr]\.[A-Za-z0-9_-]{22}|(lease|outbox)\.\d+)\}(:[sixpqml]:?([0-9a-f]{24}(:[cdrw])?)?)?",
            key,
        ), key


@given(refs)
def test_the_keys_of_a_session_share_a_hash_tag(ref: StreamRef) -> None:
    stream = Keys("ns").stream(ref)
    keys = [*keys_of_session(Keys("ns").session(ref.key)), stream.meta, stream.log, stream.session, stream.streams]
    assert len({key[key.index(b"{") : key.index(b"}")] for key in keys}) == 1


@given(refs)
def test_the_lease_index_gives_back_what_went_in(ref: StreamRef) -> None:
    member = encode_member(ref)
    assert re.fullmatch(rb"[A-Za-z0-9_=-]+", member)
    assert decode_member(member) == ref


@pytest.mark.parametrize("member", [b"", b"!", b"W10=", b"e30=", b"WzEsMl0="])
def test_a_member_that_is_not_ours_is_reported(member: bytes) -> None:
    with pytest.raises(StoreCorruptError):
        decode_member(member)


def test_owner_and_session_are_never_mistaken_for_each_other() -> None:
    pairs = {(owner, session) for owner in [*HOSTILE, ""] for session in [*HOSTILE, ""]}
    pairs |= {("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc")}
    assert len({Keys("ns").session(SessionKey(*pair)).session for pair in pairs}) == len(pairs)
    assert len({Keys("ns").owner(owner) for owner in HOSTILE}) == len(HOSTILE)
    assert len({Keys("ns").request(*pair) for pair in pairs}) == len(pairs)
    assert Keys("a").session(SessionKey("o", "s")) != Keys("b").session(SessionKey("o", "s"))


@pytest.mark.anyio
async def test_hostile_ids_live_side_by_side(redis_url: str, redis_server: RedisServer, redis_database: int) -> None:
    store = RedisStore(redis_url)
    keys = [SessionKey(owner, session) for owner in HOSTILE for session in HOSTILE[:6]]
    refs = [registered(await try_register(store, new_stream(key), limit=6)).ref for key in keys]
    for number, ref in enumerate(refs):
        await put(store, ref, 1, b"%d" % number)
    for number, ref in enumerate(refs):
        assert payloads(await log(store, ref)) == [b"%d" % number]
        assert (await meta(store, ref)).ordinal == 1
    full(await try_register(store, new_stream(SessionKey(HOSTILE[3], "one more")), limit=6))
    for key in redis_server.client(redis_database).scan_iter(count=1000):
        assert re.fullmatch(rb"[A-Za-z0-9_.:{}-]+", key)
    record = redis_server.client(redis_database).hgetall(Keys("streamguard").stream(refs[-1]).meta)
    assert json.loads(record[b"id"])["owner"] == HOSTILE[-1]
    await store.aclose()
