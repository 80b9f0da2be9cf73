"""A master dies under running streams: they go on, are resumed, and say what the failover lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.harness.redis_sentinel import RedisSentinels
from tests.harness.sse import Ending, resume, ui_text
from tests.harness.workers import Worker

from .calls import USER, expected_text, get, open_gate, post
from .logs import codes, entries_of, terminals

pytestmark = [pytest.mark.anyio, pytest.mark.long]


@pytest.mark.parametrize("how", ["told", "killed"])
async def test_a_stream_goes_on_when_a_replica_takes_over(
    own_redis_sentinels: Callable[..., RedisSentinels], worker: Callable[..., Worker], session: str, how: str
) -> None:
    sentinels = own_redis_sentinels(down_seconds=1)
    writer, other = (worker(sentinels.url, command_seconds=2.0) for _ in range(2))
    async with post(writer, session, n=10, gate=session, gate_at=5) as stream:
        seen = await stream.read_events(7)
        async with resume(other.port, session, headers=USER) as remote:
            followed = await remote.read_events(7)
            await asyncio.to_thread(sentinels.wait_until_settled)
            await asyncio.to_thread(sentinels.kill if how == "killed" else sentinels.fail_over)
            open_gate(writer, session)
            seen += await stream.read_rest()
            followed += await remote.read_rest()
            assert (stream.ending, remote.ending) == (Ending.CLEAN, Ending.CLEAN)
        stream_id = stream.headers["x-stream-id"]
    assert ui_text(seen) == ui_text(followed) == expected_text(10)
    assert [event.id for event in seen] == [event.id for event in followed]
    assert codes(seen) == []
    (terminal,) = terminals(sentinels, stream_id)
    assert terminal["outcome"] == "completed"
    assert [int(entry.partition(b"-")[2]) for entry, _ in entries_of(sentinels, stream_id)] == list(
        range(1, len(entries_of(sentinels, stream_id)) + 1)
    )
    assert get(other, session, seen[3].id).status_code == 200


async def test_what_a_failover_lost_is_told(
    own_redis_sentinels: Callable[..., RedisSentinels], worker: Callable[..., Worker], session: str
) -> None:
    """The replica had not heard of the last events when the master died with its worker."""
    sentinels = own_redis_sentinels(down_seconds=1)
    writer, other = (worker(sentinels.url, command_seconds=2.0, lease_seconds=2.0) for _ in range(2))
    replica = sentinels.replica
    async with post(writer, session, n=10, gate=session, gate_at=2) as stream:
        seen = await stream.read_events(4)
        await asyncio.to_thread(sentinels.wait_until_settled)
        # It cannot log in to its master any more, so that nothing more reaches it.
        replica.command("CONFIG", "SET", "masterauth", "wrong")
        replica.command("CLIENT", "KILL", "TYPE", "master")
        open_gate(writer, session)
        seen += await stream.read_events(4)
        writer.kill()
        await asyncio.to_thread(sentinels.kill)
    answer = get(other, session, seen[-1].id)
    assert answer.status_code == 410
    assert answer.json()["error"]["reason"] in ("cursor_ahead", "stream_gone")
