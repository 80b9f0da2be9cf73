"""Chosen tests of resuming, takeovers, failovers and faults on the kinds of Redis that the others leave out: clusters
of Valkey and of Redis 8, a cluster and sentinels behind TLS, and sentinels with accounts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.harness.certificates import Certificates
from tests.harness.redis_binaries import redis_8_binary, valkey_binary
from tests.harness.redis_cluster import RedisCluster
from tests.harness.redis_fixtures import OTHER_KINDS, RedisOfKind
from tests.harness.redis_kinds import AccountRedisSentinels, TlsRedisCluster, TlsRedisSentinels
from tests.harness.sse import Ending, ui_text
from tests.harness.workers import Worker

from .calls import expected_text, new_session, post
from .conftest import APP, environment
from .logs import entries_of
from .test_failover import (
    Failing,
    cluster_master_killed,
    cluster_told,
    sentinels_master_killed,
    sentinels_told,
    test_a_stream_goes_on_when_a_replica_takes_over,
)
from .test_redis_faults import notices
from .test_resume_table import (
    SETTINGS,
    test_active_stream_is_replayed_and_followed_to_its_terminal,
    test_cursor_ahead_of_the_log_is_410,
    test_finished_with_a_cursor_behind_the_end_gives_the_unseen_tail,
)
from .test_takeover import test_a_frozen_worker_adds_nothing_after_its_lease

__all__ = [
    "test_a_frozen_worker_adds_nothing_after_its_lease",
    "test_a_stream_goes_on_when_a_replica_takes_over",
    "test_active_stream_is_replayed_and_followed_to_its_terminal",
    "test_cursor_ahead_of_the_log_is_410",
    "test_finished_with_a_cursor_behind_the_end_gives_the_unseen_tail",
]

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.repeats]

BINARIES = {"valkey": valkey_binary, "8": redis_8_binary}
FAILING = [
    "valkey cluster, master killed",
    "8 cluster, told",
    "tls cluster, master killed",
    "tls sentinels, told",
    "account sentinels, master killed",
]


@pytest.fixture(scope="module", params=OTHER_KINDS)
def workers(request: pytest.FixtureRequest) -> Iterator[tuple[Worker, Worker]]:
    """As in the resume table."""
    server: RedisOfKind = request.getfixturevalue(request.param)
    env = environment(server.database_url(0), **SETTINGS)
    with Worker(APP, env=env) as first, Worker(APP, env=env) as second:
        yield first, second
    assert server.keys_without_ttl(0) == []


@pytest.fixture(params=OTHER_KINDS)
def any_redis(request: pytest.FixtureRequest) -> RedisOfKind:
    """As in the tests of takeovers."""
    found: RedisOfKind = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=FAILING)
def failing(
    request: pytest.FixtureRequest, own_redis_cluster: Callable[..., RedisCluster], certificates: Certificates
) -> Iterator[Failing]:
    """As in the tests of failovers."""
    kind, _, how = request.param.partition(", ")
    if kind in ("valkey cluster", "8 cluster"):
        binary = BINARIES[kind.partition(" ")[0]]
        cluster = own_redis_cluster(replicas=1, node_timeout_seconds=1.5, binary=binary)
        yield cluster_told(cluster) if how == "told" else cluster_master_killed(cluster)
    elif kind == "tls cluster":
        with TlsRedisCluster(certificates, replicas=1, node_timeout_seconds=1.5) as cluster:
            yield cluster_master_killed(cluster)
    else:
        sentinels = (
            TlsRedisSentinels(certificates, down_seconds=1)
            if kind == "tls sentinels"
            else AccountRedisSentinels(down_seconds=1)
        )
        with sentinels:
            yield sentinels_told(sentinels) if how == "told" else sentinels_master_killed(sentinels)


@pytest.mark.parametrize("kind", BINARIES)
async def test_lost_replies_of_a_cluster_leave_each_event_once(
    kind: str, own_redis_cluster: Callable[..., RedisCluster], worker: Callable[..., Worker]
) -> None:
    cluster = own_redis_cluster(proxied=True, binary=BINARIES[kind])
    one = worker(cluster.url, command_seconds=1.0)
    proxies = [node.proxy for node in cluster.nodes if node.proxy is not None]
    for lost, marker in enumerate((b'"start"', b"w3 ", b'"text-end"'), 1):
        for proxy in proxies:
            proxy.lose_reply(marker)
        async with post(one, new_session(), n=8, gap_ms=5) as stream:
            events = await stream.read_rest()
            assert stream.ending is Ending.CLEAN
        assert sum(proxy.replies_lost for proxy in proxies) == lost
        for proxy in proxies:
            proxy.disarm(marker)
        assert ui_text(events) == expected_text(8)
        assert not notices(events, "not_resumable")
        numbers = [int(entry.partition(b"-")[2]) for entry, _ in entries_of(cluster, stream.headers["x-stream-id"])]
        assert numbers == list(range(1, len(events) + 1))
