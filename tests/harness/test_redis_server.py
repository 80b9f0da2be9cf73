"""The Redis the other tests stand on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis
import redis.asyncio

from .redis import RedisServer


def test_each_test_gets_an_empty_database(redis_server: RedisServer, redis_database: int, redis_url: str) -> None:
    assert redis_url.endswith(f"/{redis_database}")
    assert redis_server.client(redis_database).dbsize() == 0
    redis_server.client(redis_database).set("kept", "1", ex=60)


def test_keys_without_a_ttl_are_found(redis_server: RedisServer, redis_database: int) -> None:
    client = redis_server.client(redis_database)
    client.set("mortal", "1", ex=60)
    client.set("immortal", "1")
    assert redis_server.keys_without_ttl(redis_database) == [b"immortal"]
    client.delete("immortal")


def test_with_an_append_only_file_a_kill_loses_nothing(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis(aof=True)
    server.client().set("k", "v", ex=60)
    server.restart()
    assert server.client().get("k") == b"v"
    server.restart(empty=True)
    assert server.client().get("k") is None


def test_without_one_a_kill_loses_all_but_the_last_snapshot(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    server.client().set("k", "old", ex=60)
    server.client().save()
    server.client().set("k", "new", ex=60)
    server.restart()
    assert server.client().get("k") == b"old"
    server.restart(empty=True)
    assert server.client().get("k") is None


def test_a_paused_server_answers_nobody_until_it_resumes(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    server.pause()
    with pytest.raises(redis.exceptions.TimeoutError):
        server.client().ping()
    server.resume()
    assert server.client().ping()


def test_a_stopped_server_refuses_connections(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    server.stop()
    assert not server.running
    with pytest.raises(redis.exceptions.ConnectionError):
        server.client().ping()
    server.start()
    assert server.client().ping()


@pytest.mark.anyio
async def test_async_tests_can_use_it(redis_url: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        await client.set("k", "v", ex=60)
        assert await client.get("k") == b"v"


def test_a_server_that_cannot_start_says_why(own_redis: Callable[..., RedisServer]) -> None:
    with pytest.raises(AssertionError, match="no-such-option"):
        own_redis(config={"no-such-option": "1"})
