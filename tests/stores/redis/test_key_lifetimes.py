"""How long the keys of a session live: an end gives them the same where one command does it as where two do."""

from __future__ import annotations

import pytest
import redis

from streamguard.stores.records import Status
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.keys import Keys
from streamguard.stores.redis.scripts import Scripts
from streamguard.testing._stream_store.late_decisions import OTHER, decide, undecided
from streamguard.testing._stream_store.steps import a_seal, beat, begin, closing, end, put, take
from streamguard.values import StreamRef

from ...harness.redis import RedisServer
from .plain_writer import Make

pytestmark = pytest.mark.anyio

TTL, LONGER, SHORTER = 600, 3600, 60
MOST = TTL * 61 / 60
"""What a running stream's keys are given."""

ONE_COMMAND = "(redis.REDIS_VERSION_NUM or 0) >= 0x70000"
"""Whether `PEXPIRE … GT` is tried first."""
SOON = "left < kept or left > kept * 1.02"
DUE = "math.floor(at / period) ~= math.floor(renewed_at / period)"


@pytest.fixture(params=["GT where the server has it", "never GT"])
async def store(make: Make, redis_url: str, request: pytest.FixtureRequest) -> RedisStore:
    scripts = Scripts.load()
    if request.param == "never GT":
        scripts = scripts.replacing("close", ONE_COMMAND, "false")
    return await make(redis_url, scripts)


@pytest.fixture
def client(redis_server: RedisServer, redis_database: int) -> redis.Redis:
    return redis_server.client(redis_database)


def session_keys(ref: StreamRef) -> tuple[bytes, bytes]:
    keys = Keys("streamguard").stream(ref)
    return keys.session, keys.streams


def all_keys(ref: StreamRef) -> tuple[bytes, ...]:
    keys = Keys("streamguard").stream(ref)
    return keys.meta, keys.log, keys.session, keys.streams


def seconds_left(client: redis.Redis, ref: StreamRef) -> list[float]:
    return [int(client.pttl(key)) / 1000 for key in session_keys(ref)]


async def test_an_end_lets_keys_live_longer(store: RedisStore, client: redis.Redis) -> None:
    ref = await begin(store, ttl=TTL)
    assert all(SHORTER < left <= MOST for left in seconds_left(client, ref))
    await end(store, ref, retention=LONGER)
    assert all(MOST < left <= LONGER for left in seconds_left(client, ref))


async def test_an_end_takes_nothing_from_what_they_have(store: RedisStore, client: redis.Redis) -> None:
    ref = await begin(store, ttl=TTL)
    await end(store, ref, retention=SHORTER)
    assert all(SHORTER < left <= MOST for left in seconds_left(client, ref))


async def test_an_end_has_keys_expire_that_would_live_for_ever(store: RedisStore, client: redis.Redis) -> None:
    """A restored key may have lost its TTL."""
    ref = await begin(store, ttl=TTL)
    for key in session_keys(ref):
        assert client.persist(key)
    await end(store, ref, retention=LONGER)
    assert all(MOST < left <= LONGER for left in seconds_left(client, ref))


async def counted(store: RedisStore, client: redis.Redis, ref: StreamRef, retention: float) -> int:
    """How many commands about TTLs the end of a stream takes."""
    client.config_resetstat()
    await end(store, ref, 1, retention=retention)
    stats = client.info("commandstats")
    return sum(int(stats.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in ("pexpire", "pttl"))


@pytest.mark.parametrize("bug", [False, True], ids=["ours", "a broken one"])
async def test_an_end_soon_after_the_beginning_leaves_keys_that_live_long_enough(
    make: Make, redis_url: str, client: redis.Redis, bug: bool
) -> None:
    store = await make(redis_url, Scripts.load().replacing("close", SOON, "true") if bug else None)
    ref = await begin(store, ttl=TTL)
    await put(store, ref, 1, b"a")
    assert (await counted(store, client, ref, TTL) == 0) is not bug
    assert all(TTL * 1000 - 1000 < client.pttl(key) <= MOST * 1000 for key in all_keys(ref))


@pytest.mark.parametrize("case", ["long ago", "taken over", "without a log", "much shorter"])
async def test_any_other_end_gives_keys_what_they_are_to_have(
    make: Make, redis_url: str, client: redis.Redis, case: str
) -> None:
    store = await make(redis_url)
    ref = await begin(store, ttl=TTL)
    retention = SHORTER if case == "much shorter" else TTL
    if case != "without a log":
        await put(store, ref, 1, b"a")
    if case == "long ago":  # as if it had begun with less
        client.hset(all_keys(ref)[0], "t", TTL * 1000 - 1)
    for key in all_keys(ref):
        client.pexpire(key, TTL * 500)
    if case == "taken over":
        taken = await take(store, ref, force=True)
        assert taken.status is Status.OK
    sealed = a_seal(0 if case == "without a log" else 1)
    closed = closing(ref, epoch=2 if case == "taken over" else 1, retention=retention)
    assert (await store.seal_and_close(closed, sealed))[0] is Status.OK
    assert all(0 <= retention * 1000 - client.pttl(key) < 1000 for key in all_keys(ref)[:2])
    assert all(client.pttl(key) > TTL * 499 for key in session_keys(ref))
    if retention == TTL:
        assert all(0 <= TTL * 1000 - client.pttl(key) < 1000 for key in session_keys(ref))


async def test_an_end_makes_no_keys(store: RedisStore, client: redis.Redis) -> None:
    ref = await begin(store, ttl=TTL)
    client.delete(*session_keys(ref))
    await end(store, ref, retention=LONGER)
    assert not client.exists(*session_keys(ref))


async def test_a_decision_about_a_session_that_is_gone_leaves_no_key_that_lives_for_ever(
    store: RedisStore, client: redis.Redis
) -> None:
    """Redis evicted it, say; and the worker may die before its next heartbeat, which would give it a TTL."""
    ref = await undecided(store)
    session, _ = session_keys(ref)
    assert client.delete(session)
    assert (await decide(store, ref, OTHER, b"a")).status is Status.OK
    assert client.pttl(session) > 0


def this_minute(client: redis.Redis) -> int:
    seconds, _ = client.time()
    return int(seconds) // 60


async def shortened(store: RedisStore, client: redis.Redis) -> StreamRef:
    """A stream with an event, whose keys have a minute left."""
    ref = await begin(store, ttl=TTL)
    await put(store, ref, 1, b"a")
    for key in all_keys(ref):
        assert client.pexpire(key, SHORTER * 1000)
    return ref


@pytest.mark.parametrize("bug", [False, True], ids=["ours", "a broken one"])
async def test_heartbeats_renew_them_once_a_minute(make: Make, redis_url: str, client: redis.Redis, bug: bool) -> None:
    """The lease says when the last one was."""
    store = await make(redis_url, Scripts.load().replacing("heartbeat", DUE, "false") if bug else None)
    ref = await shortened(store, client)
    lease_until = int(client.hget(Keys("streamguard").stream(ref).meta, "d") or 0)
    client.hset(Keys("streamguard").stream(ref).meta, "d", lease_until - 60_000)
    assert (await beat(store, ref, ttl=TTL)).status is Status.OK
    assert all(client.pttl(key) > SHORTER * 1000 for key in all_keys(ref)) is not bug


async def test_a_heartbeat_between_leaves_them(make: Make, redis_url: str, client: redis.Redis) -> None:
    store = await make(redis_url)
    minute = None
    while minute != this_minute(client):  # once more, should one end meanwhile
        minute = this_minute(client)
        ref = await shortened(store, client)
        assert (await beat(store, ref, ttl=TTL)).status is Status.OK
    assert all(client.pttl(key) <= SHORTER * 1000 for key in all_keys(ref))


async def test_another_ttl_is_given_at_once(make: Make, redis_url: str, client: redis.Redis) -> None:
    store = await make(redis_url)
    ref = await shortened(store, client)
    assert (await beat(store, ref, ttl=LONGER)).status is Status.OK
    assert all(client.pttl(key) > TTL * 1000 for key in all_keys(ref))


async def test_appends_give_the_ttl_that_a_heartbeat_gave(make: Make, redis_url: str, client: redis.Redis) -> None:
    """Not the one of the registration: the record would live for a shorter time than its heartbeats ask for."""
    store = await make(redis_url)
    ref = await shortened(store, client)
    await beat(store, ref, ttl=LONGER)
    assert (await put(store, ref, 2, b"b", refresh=True)).status is Status.OK
    assert all(client.pttl(key) > MOST * 1000 for key in all_keys(ref))


async def test_an_end_soon_after_a_heartbeat_with_another_ttl_keeps_no_key_too_long(
    make: Make, redis_url: str, client: redis.Redis
) -> None:
    store = await make(redis_url)
    ref = await shortened(store, client)
    await beat(store, ref, ttl=LONGER)
    await end(store, ref, 1, retention=TTL)
    assert all(client.pttl(key) <= MOST * 1000 for key in all_keys(ref)[:2])


async def test_a_ttl_that_a_heartbeat_changed_is_renewed_once_a_minute_too(
    make: Make, redis_url: str, client: redis.Redis
) -> None:
    store = await make(redis_url)
    minute = None
    while minute != this_minute(client):
        minute = this_minute(client)
        ref = await begin(store, ttl=TTL)
        await put(store, ref, 1, b"a")
        await beat(store, ref, ttl=LONGER)
        for key in all_keys(ref):
            client.pexpire(key, SHORTER * 1000)
        await beat(store, ref, ttl=LONGER)
    assert all(client.pttl(key) <= SHORTER * 1000 for key in all_keys(ref))
