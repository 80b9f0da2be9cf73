"""The contract of streams on other clusters, Valkey, Redis 6.2 and 8 and TLS, and on sentinels behind TLS.

`test_kinds.py` has every clause on a cluster, on sentinels, and on each of these servers alone. A cluster checks which
keys a script may use as its version sees fit, so here every clause runs on clusters of the oldest and of the newest.
Valkey lies between them, and TLS changes only how a connection to each node comes about: these run the clauses of what
depends on the node, which are those that no stream can do without.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from streamguard.stores.redis import RedisStore
from streamguard.stores.store import StreamStore
from streamguard.testing import StreamStoreSuite
from streamguard.testing._stream_store.appends import AppendClauses
from streamguard.testing._stream_store.leases import LeaseClauses
from streamguard.testing._stream_store.reads import ReadClauses
from streamguard.testing._stream_store.subscriptions import SubscriptionClauses
from streamguard.testing._stream_store.worker_hints import WorkerHintClauses

from ...harness.redis_fixtures import CLUSTER_KINDS, RedisPlace

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

OLDEST_AND_NEWEST = ["redis_6_2_cluster", "redis_8_cluster"]
OTHERS = [kind for kind in (*CLUSTER_KINDS, "redis_tls_sentinels") if kind not in OLDEST_AND_NEWEST]


@pytest.fixture
async def store(
    request: pytest.FixtureRequest, redis_of_kind: Callable[[str], RedisPlace]
) -> AsyncIterator[StreamStore]:
    """A store on the kind that the parameter names."""
    store = RedisStore(redis_of_kind(request.param).url, command_seconds=5)  # this machine may be busy
    assert await store.start() == []
    await store.ping()
    yield store
    await store.aclose()


@pytest.mark.parametrize("store", OLDEST_AND_NEWEST, indirect=True)
class TestEveryClause(StreamStoreSuite):
    short_seconds = 0.2


@pytest.mark.parametrize("store", OTHERS, indirect=True)
class TestWhatDependsOnTheNode(AppendClauses, ReadClauses, SubscriptionClauses, WorkerHintClauses, LeaseClauses):
    """Writing, resumed reads, news by channels, and takeovers."""

    short_seconds = 0.2
