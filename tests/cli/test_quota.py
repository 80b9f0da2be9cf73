"""`streamguard quota`: what an owner has reserved is shown, and released on request."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from streamguard.quota import Admitted, Quota, RedisQuotaStore, ReservationState
from streamguard.stores import RedisClient
from streamguard.values import SessionKey, StreamRef, new_stream_id

from .running import ran

pytestmark = pytest.mark.anyio

TOKENS = Quota(1_000, "day")


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[RedisClient]:
    async with RedisClient(redis_url, command_seconds=5) as client:
        yield client


@pytest.fixture
def quotas(client: RedisClient) -> RedisQuotaStore:
    return RedisQuotaStore(client)


async def reserved(quotas: RedisQuotaStore, session: str = "c1", tokens: int = 100) -> StreamRef:
    ref = StreamRef(SessionKey("ann", session), new_stream_id())
    assert isinstance(await quotas.reserve(ref, {"tokens": tokens}, [TOKENS]), Admitted)
    return ref


async def test_what_is_reserved_is_shown(client: RedisClient, quotas: RedisQuotaStore, redis_url: str) -> None:
    sooner = RedisQuotaStore(client, hold_seconds=50)  # two of one millisecond would have no order
    first, second = await reserved(sooner), await reserved(quotas, "\x1b[31mc2", 50)
    await quotas.commit(await reserved(quotas))
    done = ran("quota", "show", redis_url, "--owner", "ann")
    assert done.code == 0
    assert [row.split()[0] for row in done.rows] == ["STREAM", first.stream_id, second.stream_id, "2"]
    assert "100 tokens" in done.rows[1]
    assert "\x1b" not in done.out
    shape = ran("quota", "show", redis_url, "--owner", "ann", "--json").json
    found = shape["reservations"][1]
    assert (found["stream_id"], found["session_id"]) == (second.stream_id, "\x1b[31mc2")
    assert (found["amounts"], found["state"]) == ({"tokens": 50}, "reserved")
    assert 0 < found["expires_seconds"] <= 60
    shape = ran("quota", "show", redis_url, "--owner", "ann", "--limit", "1", "--json").json
    assert (len(shape["reservations"]), shape["more"]) == (1, True)
    assert ran("quota", "show", redis_url, "--owner", "ann", "--limit", "1").rows[-1].endswith("more (--limit)")
    assert ran("quota", "show", redis_url, "--owner", "eve").out == "nothing is reserved\n"


async def test_a_reservation_is_released_once_that_is_confirmed(quotas: RedisQuotaStore, redis_url: str) -> None:
    ref = await reserved(quotas)
    arguments = ("quota", "release", redis_url, ref.stream_id, "--owner", "ann")
    assert ran(*arguments, says="n\n").code == 1
    assert ran(*arguments, "--json").code == 2
    standing = await quotas.find(ref)
    assert standing is not None
    assert standing.state is ReservationState.RESERVED
    done = ran(*arguments, says="y\n")
    assert (done.code, done.rows[-1].split()[-1]) == (0, "released")
    (window,) = (await quotas.status("ann", [TOKENS])).standings
    assert (window.used, window.reserved) == (0, 0)
    again = ran(*arguments, "--yes")
    assert again.code == 4
    assert "nothing reserved" in again.err


async def test_what_was_released_is_told_as_an_object(quotas: RedisQuotaStore, redis_url: str) -> None:
    ref = await reserved(quotas)
    done = ran("quota", "release", redis_url, ref.stream_id, "--owner", "ann", "--yes", "--json")
    assert (done.code, done.json) == (0, {"stream_id": ref.stream_id, "state": "released", "changed": True})


async def test_an_owner_that_cannot_be_is_wrong_use(redis_url: str) -> None:
    done = ran("quota", "show", redis_url, "--owner", "x" * 10_000)
    assert done.code == 2
