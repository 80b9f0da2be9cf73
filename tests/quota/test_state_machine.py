"""Memory and Redis, driven side by side by Hypothesis, never differ and never break a promise; and with one changed
line in a script they do.

`STREAMGUARD_EXAMPLES` is how many sequences to try, `STREAMGUARD_SEED` repeats a run and shrinks its failure; both are
printed.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from ..harness.redis import RedisServer
from .clocks import ServerClock, TurnedClient
from .promises import PromiseBrokenError
from .twins import Bench, Twins

EXAMPLES = int(os.environ.get("STREAMGUARD_EXAMPLES", "100"))
SEED = int(os.environ.get("STREAMGUARD_SEED", secrets.randbelow(1 << 32)))
PHASES = [Phase.generate, Phase.shrink] if "STREAMGUARD_SEED" in os.environ else [Phase.generate]
"""Shrinking a failure takes minutes, so it is for whoever repeats one."""
SOUGHT = 200
"""Sequences to look for a seeded bug in: one these do not find counts as missed."""


class ChangedClient(TurnedClient):
    """Runs scripts in which one line reads differently."""

    bug: Bug

    async def call(
        self, operation: str, script: str, keys: Sequence[bytes], args: Sequence[str | bytes | int] = ()
    ) -> object:
        return await super().call(operation, script.replace(self.bug.line, self.bug.changed), keys, args)


class Bug(NamedTuple):
    line: str
    changed: str
    promises: frozenset[str]
    """What breaks; where there are two, the order of steps decides which is seen first."""


BUGS = {
    "what is held is not looked at": Bug(
        "if counters.used + counters.held + asked_of[unit] >", "if counters.used + asked_of[unit] >", frozenset({"I8"})
    ),
    "what is used is not looked at": Bug(
        "if counters.used + counters.held + asked_of[unit] >", "if counters.held + asked_of[unit] >", frozenset({"I8"})
    ),
    "a repeated reservation is made again": Bug(
        "local record = find(id)\nif record then\n  local same",
        "local record = find(id)\nif record and record.state ~= 'reserved' then\n  local same",
        frozenset({"balance", "repeat", "once"}),
    ),
    "a repeated commit charges again": Bug(
        "if record.state == 'reserved' or record.state == 'expired' then",
        "if record.state ~= 'released' then",
        frozenset({"once", "repeat", "balance"}),
    ),
    "a released reservation can be charged": Bug(
        "if record.state == 'reserved' or record.state == 'expired' then",
        "if record.state ~= 'committed' then",
        frozenset({"once"}),
    ),
    "a late commit frees what is free": Bug(
        "local held = record.state == 'reserved'", "local held = true", frozenset({"balance"})
    ),
    "a commit does not free what was held": Bug(
        "if held then counters.held = counters.held - amount.reserved end", "", frozenset({"balance"})
    ),
    "a late commit is free": Bug(
        "record.late = record.state == 'expired' and '1' or ''\n",
        "if record.state == 'expired' then return {'unknown'} end\n",
        frozenset({"twins"}),
    ),
    "an expired reservation is renewed": Bug(
        "if record and record.state == 'reserved' then\n    record.deadline",
        "if record and record.state ~= 'committed' then\n    record.state = 'reserved' record.deadline",
        frozenset({"once", "balance"}),
    ),
    "a release charges": Bug(
        "finish(id, record, 'released', at + remember_ms)",
        "record.amounts[1].charged = '1' finish(id, record, 'released', at + remember_ms)",
        frozenset({"balance"}),
    ),
}


@pytest.fixture
def bench_with(redis_server: RedisServer, redis_database: int) -> Iterator[Callable[[Bug | None], Bench]]:
    benches: list[Bench] = []
    server = redis_server.client(redis_database)

    def build(bug: Bug | None) -> Bench:
        url = redis_server.database_url(redis_database)
        client = TurnedClient(url, command_seconds=30) if bug is None else ChangedClient(url, command_seconds=30)
        if isinstance(client, ChangedClient) and bug is not None:
            client.bug = bug
        benches.append(Bench(client, ServerClock(server), server.flushdb))
        return benches[-1]

    yield build
    for bench in benches:
        bench.close()


def run(
    bench: Bench, *, compares: bool, examples: int, chosen: int, phases: Sequence[Phase], races: bool = True
) -> None:
    machine = seed(chosen)(type("BoundTwins", (Twins,), {"bench": bench, "compares": compares, "races": races}))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            database=None,  # a failure is repeated by its seed
            suppress_health_check=list(HealthCheck),  # sequences on a real server are slow by nature
            print_blob=True,
            phases=phases,
            report_multiple_bugs=False,
        ),
    )


@pytest.mark.repeats
@pytest.mark.timeout(60 + 3 * EXAMPLES if Phase.shrink not in PHASES else 900)
def test_memory_and_redis_never_differ(bench_with: Callable[[Bug | None], Bench]) -> None:
    print(f"STREAMGUARD_SEED={SEED} STREAMGUARD_EXAMPLES={EXAMPLES}")
    run(bench_with(None), compares=True, examples=EXAMPLES, chosen=SEED, phases=PHASES)


@pytest.mark.repeats
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", BUGS)
def test_a_changed_line_breaks_a_promise(bench_with: Callable[[Bug | None], Bench], name: str) -> None:
    """Seen without anything to compare with, unless only the memory store can tell."""
    bug = BUGS[name]
    with pytest.raises(PromiseBrokenError) as broken:
        run(
            bench_with(bug),
            compares="twins" in bug.promises,
            examples=SOUGHT,
            chosen=1,
            phases=[Phase.generate],
            races=False,
        )
    assert broken.value.promise in bug.promises
