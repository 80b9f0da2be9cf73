"""The test of the state machine: one changed line in a script, and it must find the promise that line breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.scripts import Scripts

from ..harness.redis import RedisServer
from .owing import OwingTwins
from .promises import PromiseBrokenError
from .rules import Twins
from .twins import Bench

pytestmark = pytest.mark.timeout(300)

EXAMPLES = 300
"""Sequences to try: a bug these do not find counts as missed."""


class Bug(NamedTuple):
    script: str
    line: str
    changed: str
    promises: frozenset[str]
    """What breaks; where there are two, the order of steps decides which is seen first."""
    machine: type[Twins] = Twins
    """Whose rules find it: without those of the outbox, sequences of the others are tried more often."""


BUGS = {
    "the record counts an event that is not there": Bug(
        "append", "call('HSET', KEYS[1], 'n', last)", "call('HSET', KEYS[1], 'n', last + 1)", frozenset({"I1"})
    ),
    "an append leaves its last event out": Bug(
        "append",
        "for i = 2 * (last + 1 - first) + 4, #ARGV, 2 do",
        "for i = 2 * (last + 1 - first) + 4, #ARGV - 2, 2 do",
        frozenset({"I2"}),
    ),
    "a repeated append is added again": Bug(
        "append",
        "for i = 2 * (last + 1 - first) + 4, #ARGV, 2 do",
        "for i = 4, #ARGV, 2 do",
        frozenset({"retry", "I1", "I2"}),
    ),
    "a superseded writer appends": Bug(
        "append",
        "if m[1] ~= ARGV[1] then return {FENCED, last, stop} end",
        "if tonumber(m[1]) < tonumber(ARGV[1]) then return {FENCED, last, stop} end",
        frozenset({"I5"}),
    ),
    "a superseded writer seals": Bug(
        "seal",
        "if m[2] ~= ARGV[1] then return {FENCED} end",
        "if tonumber(m[2]) < tonumber(ARGV[1]) then return {FENCED} end",
        frozenset({"I5"}),
    ),
    "a superseded writer closes": Bug(
        "close",
        "if m[2] ~= ARGV[1] then return {FENCED, last, stop} end",
        "if tonumber(m[2]) < tonumber(ARGV[1]) then return {FENCED, last, stop} end",
        frozenset({"I5"}),
    ),
    "the second seal stands": Bug("seal", "if m[3] ~= 'o' then", "if m[3] == 'c' then", frozenset({"seal", "I5"})),
    "a stream is closed twice": Bug(
        "close",
        "if m[3] == 'c' then return {DUPLICATE, last, stop} end",
        "",
        frozenset({"I4"}),
    ),
    "an open stream is closed": Bug(
        "close",
        "if m[3] == 'o' then return {NOT_SEALED, last, stop} end",
        "",
        frozenset({"I4"}),
    ),
    "a stream is closed under another seal than the one that stands": Bug(
        "close",
        "if ARGV[8] ~= '' and standing ~= ARGV[8] then return {NOT_SEALED, last, stop} end",
        "",
        frozenset({"seal", "slots"}),
    ),
    "a closed stream keeps its slot": Bug("close", "redis.call('ZREM', KEYS[6], ARGV[2])", "", frozenset({"slots"})),
    "events follow the terminal record": Bug(
        "append",
        "if m[2] ~= 'o' then return {SEALED, last, stop} end",
        "",
        frozenset({"I4"}),
    ),
    "a late close clears the next stream's pointer": Bug(
        "close",
        "if session and session[1] == ARGV[2] then redis.call('HDEL', KEYS[3], 'active') end",
        "redis.call('HDEL', KEYS[3], 'active')",
        frozenset({"pointer"}),
    ),
    "an owner gets a slot more than there are": Bug(
        "register",
        "if others >= limit then return {'full'} end",
        "if others > limit then return {'full'} end",
        frozenset({"slots"}),
    ),
    "a refused registration takes a slot": Bug(
        "register",
        "if found[2] == 'o' then return",
        "if found[2] == 'o' then redis.call('ZADD', KEYS[6], at + ARGV[4], ARGV[3]) return",
        frozenset({"slots"}),
    ),
    "a registration takes no slot": Bug(
        "register", "redis.call('ZADD', KEYS[6], at + ARGV[4], ARGV[3])", "", frozenset({"slots"})
    ),
    "a stream that asks again finds its own slot in the way": Bug(
        "register",
        """if known then
  if newer(known) then return {CORRUPT} end
  return {OK, snapshot(KEYS[1], KEYS[2], at)}
end
""",
        """if known then
  if newer(known) then return {CORRUPT} end
  if redis.call('ZCARD', KEYS[6]) >= (tonumber(ARGV[6]) or 99) then return {'full'} end
  return {OK, snapshot(KEYS[1], KEYS[2], at)}
end
""",
        frozenset({"retry"}),
    ),
    "a withdrawn stream stays its session's active one": Bug(
        "withdraw",
        "if session[2] == ARGV[1] then redis.call('HDEL', KEYS[3], 'active') end",
        "",
        frozenset({"withdrawn"}),
    ),
    "a withdrawn stream keeps its slot": Bug(
        "withdraw", "redis.call('ZREM', KEYS[6], ARGV[1])", "", frozenset({"slots"})
    ),
    "a stop that came before a request stops it": Bug(
        "register", "if stopped and stamp() - ARGV[8] < stopped then", "if stopped then", frozenset({"stop"})
    ),
    "a stop is left beside the stream that runs": Bug(
        "stop_pending_requests", "if active[2] == 'o' then return 'running' end", "", frozenset({"stop"})
    ),
    "a claim does not keep others away": Bug(
        "claim", "redis.call('ZADD', KEYS[1], deadline, ARGV[1])", "", frozenset({"claim"}), OwingTwins
    ),
    "two that claim at once both get it": Bug(
        "claim",
        "if not score or tonumber(score) ~= tonumber(ARGV[2]) then return 0 end",
        "if not score then return 0 end",
        frozenset({"claim"}),
        OwingTwins,
    ),
    "a writer that enters its stream again ends a claim": Bug(
        "enter",
        "(ARGV[2] == 'later' and score >= 0 and score < at)",
        "(ARGV[2] == 'later' and score >= 0)",
        frozenset({"claim"}),
        OwingTwins,
    ),
    "a worker that comes before the close strikes the entry out": Bug(
        "owed", "state = 'open'", "state = 'gone'", frozenset({"owed"}), OwingTwins
    ),
    "burying loses the payload": Bug(
        "dead_letter",
        "redis.call('HSET', KEYS[1], 'jd', 1, 'jr', ARGV[2])",
        "redis.call('HSET', KEYS[1], 'jd', 1, 'jr', ARGV[2]) redis.call('HDEL', KEYS[1], 'j')",
        frozenset({"owed"}),
        OwingTwins,
    ),
    "what is discharged stays owed": Bug(
        "complete", "'j', 'ja', 'jr', 'jd'", "'ja', 'jr', 'jd'", frozenset({"discharged"}), OwingTwins
    ),
    "a dead letter is tried again": Bug(
        "retry_later",
        "if m[2] ~= 'c' or not m[3] or m[4] then return GONE end",
        "if m[2] ~= 'c' or not m[3] then return GONE end",
        frozenset({"owed"}),
        OwingTwins,
    ),
    "an erasure leaves what is owed": Bug(
        "erase",
        "redis.call('UNLINK', ARGV[1] .. id, ARGV[2] .. id, ARGV[1] .. id .. ':w')",
        "redis.call('UNLINK', ARGV[2] .. id)",
        frozenset({"erase"}),
        OwingTwins,
    ),
    "a request is answered by another stream than before": Bug(
        "request",
        "if standing and standing ~= ARGV[1] and standing ~= ARGV[2] then return standing end",
        "if standing and standing == ARGV[2] then return standing end",
        frozenset({"request"}),
        OwingTwins,
    ),
}

PROMISES = "|".join(sorted({promise for bug in BUGS.values() for promise in bug.promises}))


@pytest.fixture
def bench_with(redis_server: RedisServer, redis_database: int) -> Iterator[Callable[[Scripts], Bench]]:
    benches: list[Bench] = []

    def build(scripts: Scripts) -> Bench:
        store = RedisStore(redis_server.database_url(redis_database), command_seconds=30, scripts=scripts)
        benches.append(Bench(store, redis_server.client(redis_database).flushdb))
        return benches[-1]

    yield build
    for bench in benches:
        bench.close()


def run(bug: Bug, bench: Bench, *, compares: bool) -> None:
    machine = seed(1)(type("BoundTwins", (bug.machine,), {"bench": bench, "compares": compares}))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=40,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
            report_multiple_bugs=False,
        ),
    )


@pytest.mark.parametrize("name", BUGS)
def test_a_broken_promise_is_seen_without_anything_to_compare_with(
    bench_with: Callable[[Scripts], Bench], name: str
) -> None:
    bug = BUGS[name]
    bench = bench_with(Scripts.load().replacing(bug.script, bug.line, bug.changed))
    with pytest.raises(PromiseBrokenError) as broken:
        run(bug, bench, compares=False)
    assert broken.value.promise in bug.promises


@pytest.mark.parametrize("name", BUGS)
def test_a_changed_line_makes_the_stores_differ(bench_with: Callable[[Scripts], Bench], name: str) -> None:
    bug = BUGS[name]
    bench = bench_with(Scripts.load().replacing(bug.script, bug.line, bug.changed))
    with pytest.raises(AssertionError, match=rf"Redis (answered|shows|has)|{PROMISES}"):
        run(bug, bench, compares=True)
