from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from tests.harness.proxy import FaultProxy
from tests.harness.redis import RedisServer
from tests.harness.workers import Worker

from .calls import new_session

APP = "tests.apps.chat:application"

FAST: dict[str, object] = {
    "heartbeat_seconds": 0.25,
    "sweep_seconds": 0.3,
    "breaker_probe_seconds": 0.1,
    "drain_seconds": 2.0,
    "registration_seconds": 15.0,
    "append_deadline_seconds": 20.0,
    "command_seconds": 10.0,
    "max_streams_per_owner": 10_000,
    "max_viewers_per_owner": 10_000,
    "max_resumes_per_minute": 1_000_000,
}
"""Settings of workers under test: what comes round comes round often, and no budget runs out on a busy machine."""

SHORT_LEASE = {"lease_seconds": 2.0}
"""For tests in which one runs out."""

SHORT_PATIENCE = {"registration_seconds": 1.0, "append_deadline_seconds": 2.0, "command_seconds": 1.0}
"""For tests in which the store is away for longer than that."""


def environment(url: str, **settings: object) -> dict[str, str]:
    """What a worker of `tests.apps.chat` needs."""
    return {"STREAMGUARD_URL": url, "STREAMGUARD_SETTINGS": json.dumps({**FAST, **settings})}


@pytest.fixture(scope="module")
def shared_redis() -> Iterator[RedisServer]:
    """A Redis for one module; afterwards every key left in it must have a TTL."""
    with RedisServer() as server:
        yield server
        immortal = server.keys_without_ttl()
        assert not immortal, f"keys without a TTL: {immortal[:10]}"


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest, shared_redis: RedisServer) -> Iterator[tuple[Worker, Worker]]:
    """Two worker processes on one Redis, for a module's tests that break neither; with the module's `SETTINGS`."""
    env = environment(shared_redis.url, **getattr(request.module, "SETTINGS", {}))
    with Worker(APP, env=env) as first, Worker(APP, env=env) as second:
        yield first, second


@pytest.fixture
def worker() -> Iterator[Callable[..., Worker]]:
    """Starts workers for one test alone: `worker(url, lease_seconds=…)`."""
    started: list[Worker] = []

    def start(url: str, *, app: str = APP, env: dict[str, str] | None = None, **settings: object) -> Worker:
        return launch(url, app=app, env=env, **settings)

    def launch(url: str, *, app: str, env: dict[str, str] | None, **settings: object) -> Worker:
        server = settings.pop("server", "uvicorn")
        graceful = settings.pop("graceful_seconds", None)
        one = Worker(
            app,
            env={**environment(url, **settings), **(env or {})},
            server=server,  # type: ignore[arg-type]
            graceful_seconds=graceful,  # type: ignore[arg-type]
        )
        started.append(one)
        one.start()
        return one

    yield start
    for one in started:
        one.close()


@pytest.fixture
def server(own_redis: Callable[..., RedisServer]) -> RedisServer:
    """A Redis for one test alone."""
    return own_redis()


@pytest.fixture
def session() -> str:
    """A session that nobody used yet."""
    return new_session()


@pytest.fixture
def proxied() -> Iterator[Callable[[RedisServer], FaultProxy]]:
    """Starts proxies in front of a Redis for one test: `proxied(server)`."""
    proxies: list[FaultProxy] = []

    def start(server: RedisServer) -> FaultProxy:
        proxy = FaultProxy(server.port)
        proxies.append(proxy)
        proxy.__enter__()
        return proxy

    yield start
    for proxy in proxies:
        proxy.close()


@pytest.fixture
def proxy(server: RedisServer, proxied: Callable[[RedisServer], FaultProxy]) -> FaultProxy:
    """A proxy in front of `server`."""
    return proxied(server)
