"""Memory and Redis, driven side by side by Hypothesis, never differ and never break a promise.

`STREAMGUARD_EXAMPLES` is how many sequences to try, `STREAMGUARD_SEED` repeats a run and shrinks
its failure; both are printed.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from streamguard.stores.redis import RedisStore

from ..harness.redis import RedisServer
from .outbox_rules import OutboxTwins
from .twins import Bench

EXAMPLES = int(os.environ.get("STREAMGUARD_EXAMPLES", "150"))
SEED = int(os.environ.get("STREAMGUARD_SEED", secrets.randbelow(1 << 32)))
PHASES = [Phase.generate, Phase.shrink] if "STREAMGUARD_SEED" in os.environ else [Phase.generate]
"""Shrinking a failure takes minutes, so it is for whoever repeats one."""
STEPS = 40


@pytest.fixture
def bench(redis_server: RedisServer, redis_database: int) -> Iterator[Bench]:
    store = RedisStore(redis_server.database_url(redis_database), command_seconds=30)
    bench = Bench(store, redis_server.client(redis_database).flushdb)
    yield bench
    bench.close()


@pytest.mark.slow
@pytest.mark.timeout(60 + 3 * EXAMPLES if Phase.shrink not in PHASES else 900)
def test_memory_and_redis_never_differ(bench: Bench) -> None:
    print(f"STREAMGUARD_SEED={SEED} STREAMGUARD_EXAMPLES={EXAMPLES}")
    machine = seed(SEED)(type("BoundTwins", (OutboxTwins,), {"bench": bench}))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,  # steps wait for Redis's clock
            database=None,  # a failure is repeated by its seed
            suppress_health_check=list(HealthCheck),  # sequences on a real server are slow by nature
            print_blob=True,
            phases=PHASES,
        ),
    )
