"""Each fault of the proxy does what it says, seen through redis-py and through a bare socket."""

from __future__ import annotations

import gc
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from .proxy import FaultProxy
from .redis import RedisServer
from .waiting import wait_until


@pytest.fixture
def client(proxy: FaultProxy, redis_database: int) -> Iterator[redis.Redis]:
    with redis.Redis(
        host="127.0.0.1", port=proxy.port, db=redis_database, socket_timeout=0.3, retry=Retry(NoBackoff(), 0)
    ) as client:
        yield client


def test_it_forwards_both_ways_and_counts(proxy: FaultProxy, client: redis.Redis) -> None:
    client.set("k", b"x" * 1_000_000, ex=60)
    assert client.get("k") == b"x" * 1_000_000
    assert proxy.connections == 1
    assert proxy.requests_bytes > 1_000_000
    assert proxy.replies_bytes > 1_000_000
    client.close()
    wait_until(lambda: proxy.open_connections == 0, description="the proxy sees the client leave")


def test_refusing_resets_what_is_open_and_refuses_what_comes(proxy: FaultProxy, client: redis.Redis) -> None:
    client.ping()
    proxy.refuse()
    for _ in range(2):
        with pytest.raises(redis.exceptions.ConnectionError):
            client.ping()
    assert proxy.connections == 1
    proxy.forward()
    assert client.ping()
    assert proxy.connections == 2


def test_hanging_holds_bytes_back_until_it_heals(
    proxy: FaultProxy, client: redis.Redis, redis_server: RedisServer, redis_database: int
) -> None:
    client.ping()
    proxy.hang()
    with pytest.raises(redis.exceptions.TimeoutError):
        client.set("late", "1", ex=60)
    with pytest.raises(redis.exceptions.TimeoutError):
        client.ping()  # a new connection hangs as well
    direct = redis_server.client(redis_database)
    assert direct.get("late") is None
    proxy.forward()
    wait_until(lambda: direct.get("late") == b"1", description="the held command arrives")


def test_a_lost_reply_leaves_the_command_applied_once(
    proxy: FaultProxy, client: redis.Redis, redis_server: RedisServer, redis_database: int
) -> None:
    client.ping()
    proxy.lose_reply(b"counter")
    with pytest.raises(redis.exceptions.ConnectionError):
        client.incr("counter")
    assert redis_server.client(redis_database).get("counter") == b"1"
    assert proxy.replies_lost == 1
    assert client.incr("counter") == 2
    client.expire("counter", 60)


def test_a_lost_reply_loses_the_replies_of_its_whole_pipeline(
    proxy: FaultProxy, client: redis.Redis, redis_server: RedisServer, redis_database: int
) -> None:
    proxy.lose_reply(lambda request: request.startswith(b"*3\r\n$6\r\nINCRBY"))
    client.ping()
    pipeline = client.pipeline(transaction=False)
    for _ in range(20_000):
        pipeline.incr("counter")
    pipeline.expire("counter", 60)
    with pytest.raises(redis.exceptions.ConnectionError):
        pipeline.execute()
    assert redis_server.client(redis_database).get("counter") == b"20000"


def test_a_withheld_reply_is_a_timeout(
    proxy: FaultProxy, client: redis.Redis, redis_server: RedisServer, redis_database: int
) -> None:
    proxy.lose_reply(b"marker", cut=False, times=2)
    for _ in range(2):
        with pytest.raises(redis.exceptions.TimeoutError):
            client.set("marker", "1", ex=60)
    assert redis_server.client(redis_database).get("marker") == b"1"
    assert client.get("marker") == b"1"
    assert proxy.replies_lost == 2


def test_a_lost_request_is_never_applied(
    proxy: FaultProxy, client: redis.Redis, redis_server: RedisServer, redis_database: int
) -> None:
    client.ping()
    proxy.lose_request(b"counter")
    with pytest.raises(redis.exceptions.ConnectionError):
        client.incr("counter")
    assert redis_server.client(redis_database).get("counter") is None
    assert proxy.requests_lost == 1
    client.set("counter", 1, ex=60)


def test_cutting_resets_open_connections_once(proxy: FaultProxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as cut:
        cut.sendall(b"PING\r\n")
        assert cut.recv(100) == b"+PONG\r\n"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            cut.recv(100)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as fresh:
        fresh.sendall(b"PING\r\n")
        assert fresh.recv(100) == b"+PONG\r\n"


def test_delay_holds_replies_back(proxy: FaultProxy, client: redis.Redis) -> None:
    client.ping()
    proxy.delay(0.1)
    before = time.monotonic()
    client.ping()
    assert time.monotonic() - before >= 0.1


@pytest.mark.anyio
async def test_it_works_from_an_async_test(proxy: FaultProxy, redis_database: int) -> None:
    async with redis.asyncio.Redis.from_url(
        proxy.redis_url(redis_database), socket_timeout=1.0, retry=Retry(NoBackoff(), 0)
    ) as client:
        proxy.lose_reply(b"k")
        with pytest.raises(redis.exceptions.ConnectionError):
            await client.set("k", "v", ex=60)
        assert await client.get("k") == b"v"


@pytest.mark.parametrize("end", [FaultProxy.close, FaultProxy.refuse])
def test_a_connection_that_is_being_accepted_at_the_end_is_not_left_open(
    end: Callable[[FaultProxy], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio leaves one open whose server closes before it has a transport."""
    left: list[object] = []
    gc.collect()
    monkeypatch.setattr(sys, "unraisablehook", left.append)
    with socket.create_server(("127.0.0.1", 0), backlog=500) as server:
        for _ in range(30):
            with FaultProxy(server.getsockname()[1]) as proxy, ExitStack() as stack:
                for _ in range(4):
                    client = stack.enter_context(socket.socket())
                    client.setblocking(False)
                    client.connect_ex(("127.0.0.1", proxy.port))
                end(proxy)
    gc.collect()
    assert not left
