"""The test of the state machine: one changed line in a script, and it must find the promise that line breaks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RULE_MARKER, run_state_machine_as_test

from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.scripts import Scripts

from ..harness.redis import RedisServer
from .outbox_rules import OutboxTwins as Rules
from .promises import PromiseBrokenError
from .twins import Bench

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EXAMPLES = 300
"""Sequences to try: a bug these do not find counts as missed."""

EVERY_RULE = "STREAMGUARD_EVERY_RULE" in os.environ
"""Whether sequences are made of all rules, as those of `test_state_machine` are: half a minute for a bug that takes
two steps in a row out of forty rules, where a second says the same of the promises."""


class Bug(NamedTuple):
    script: str
    line: str
    changed: str
    promises: frozenset[str]
    """What breaks; where there are two, the order of steps decides which is seen first."""
    rules: tuple[Callable[..., None], ...]
    """The rules that may break it, of which with `Rules.register` its sequences are made; see `EVERY_RULE`."""


BUGS = {
    "the record counts an event that is not there": Bug(
        "append",
        "call('HSET', meta_key, 'n', format('%d', last))",
        "call('HSET', meta_key, 'n', format('%d', last + 1))",
        frozenset({"I1"}),
        (Rules.append,),
    ),
    "an append leaves its last event out": Bug(
        "append",
        "for i = next_at, #ARGV, 2 do",
        "for i = next_at, #ARGV - 2, 2 do",
        frozenset({"I2"}),
        (Rules.append,),
    ),
    "a repeated append is added again": Bug(
        "append",
        "local next_at = events_from + 2 * (last + 1 - first)",
        "local next_at = events_from",
        frozenset({"retry", "I1", "I2"}),
        (Rules.append, Rules.lose_the_last_reply_and_ask_again),
    ),
    "a later append decides again": Bug(
        "append",
        "if last == 0 then\n-- Takes in",
        "if last >= 0 then\n-- Takes in",
        frozenset({"decided"}),
        (Rules.append, Rules.lose_the_last_reply_and_ask_again),
    ),
    "a superseded writer appends": Bug(
        "append",
        "if stored_epoch ~= epoch then return refuse(FENCED) end",
        "if tonumber(stored_epoch) < tonumber(epoch) then return refuse(FENCED) end",
        frozenset({"I5"}),
        (Rules.append, Rules.return_superseded),
    ),
    "a superseded writer seals": Bug(
        "seal",
        "if stored_epoch ~= epoch then return {FENCED} end",
        "if tonumber(stored_epoch) < tonumber(epoch) then return {FENCED} end",
        frozenset({"I5"}),
        (Rules.seal, Rules.return_superseded),
    ),
    "a superseded writer closes": Bug(
        "close",
        "if stored_epoch ~= epoch then return {FENCED, last, stop} end",
        "if tonumber(stored_epoch) < tonumber(epoch) then return {FENCED, last, stop} end",
        frozenset({"I5"}),
        (Rules.close, Rules.return_superseded),
    ),
    "the second seal stands": Bug(
        "seal",
        "if state ~= 'o' then",
        "if state == 'c' then",
        frozenset({"seal", "I5"}),
        (Rules.seal, Rules.seal_twice_at_once),
    ),
    "a stream is closed twice": Bug(
        "close",
        "if state == 'c' then return {DUPLICATE, last, stop} end",
        "",
        frozenset({"I4"}),
        (Rules.close, Rules.seal_and_close, Rules.close_twice_at_once),
    ),
    "an open stream is closed": Bug(
        "close",
        "if state == 'o' then return {NOT_SEALED, last, stop} end",
        "",
        frozenset({"I4"}),
        (Rules.append, Rules.close),
    ),
    "a sealed stream is sealed again as it is closed": Bug(
        "close",
        "if state ~= 'o' or lost == '1' then",
        "if lost == '1' then",
        frozenset({"seal", "slots", "I5"}),
        (Rules.seal, Rules.end_in_one_step),
    ),
    "a stream is closed under another seal than the one that stands": Bug(
        "close",
        "if standing ~= standing_seal then return {NOT_SEALED, last, stop} end",
        "",
        frozenset({"seal", "slots"}),
        (Rules.seal, Rules.end_in_one_step),
    ),
    "a stream's last events are added though others are missing before them": Bug(
        "close",
        "if last_of(log_key, last) ~= tonumber(log_last) then return {NOT_SEALED, last, stop} end",
        "",
        frozenset({"seal", "I1", "I2", "I3", "I4"}),
        (Rules.append, Rules.end_with_the_last_events),
    ),
    "a superseded writer adds its last events": Bug(
        "close",
        "if stored_epoch ~= epoch then return {FENCED, last, stop} end",
        "if tonumber(stored_epoch) < tonumber(epoch) then return {FENCED, last, stop} end",
        frozenset({"I5"}),
        (Rules.append, Rules.take, Rules.end_with_the_last_events),
    ),
    "a closed stream keeps its slot": Bug(
        "close",
        "remove_member(owner_key, stream_id)",
        "",
        frozenset({"slots"}),
        (Rules.follow, Rules.let_a_finished_stream_expire),
    ),
    "events follow the terminal record": Bug(
        "append",
        "if state ~= 'o' then return refuse(SEALED) end",
        "",
        frozenset({"I4"}),
        (Rules.append, Rules.append_after_the_end),
    ),
    "a late close clears the next stream's pointer": Bug(
        "close",
        "if redis.pcall('HGET', session_key, 'active') == stream_id then redis.call('HDEL', session_key, 'active') end",
        "redis.call('HDEL', session_key, 'active')",
        frozenset({"pointer"}),
        (Rules.close_late,),
    ),
    "an owner gets a slot more than there are": Bug(
        "register",
        "if others >= limit then return {'full'} end",
        "if others > limit then return {'full'} end",
        frozenset({"slots"}),
        (Rules.follow,),
    ),
    "a refused registration takes a slot": Bug(
        "register",
        "if state == 'o' then return",
        "if state == 'o' then redis.call('ZADD', owner_key, at + lease_ms, stream_id) return",
        frozenset({"slots"}),
        (Rules.follow,),
    ),
    "a registration takes no slot": Bug(
        "register",
        "redis.call('ZADD', owner_key, lease_until, stream_id)",
        "",
        frozenset({"slots"}),
        (Rules.follow,),
    ),
    "a stream that asks again finds its own slot in the way": Bug(
        "register",
        """  if known_version then
    if is_newer(known_version) then return {'newer'} end
""",
        """  if known_version then
    if is_newer(known_version) then return {'newer'} end
    if redis.call('ZCARD', owner_key) >= (limit or 99) then return {'full'} end
""",
        frozenset({"retry"}),
        (Rules.register_again,),
    ),
    "a withdrawn stream stays its session's active one": Bug(
        "withdraw",
        "if active == stream_id then redis.call('HDEL', session_key, 'active') end",
        "",
        frozenset({"withdrawn"}),
        (Rules.withdraw, Rules.declare_lost, Rules.lose_what_was_never_registered),
    ),
    "a withdrawn stream keeps its slot": Bug(
        "withdraw", "redis.call('ZREM', owner_key, stream_id)", "", frozenset({"slots"}), (Rules.follow, Rules.withdraw)
    ),
    "a stop that came before a request stops it": Bug(
        "register",
        "if stopped and now - arrived_us < stopped then",
        "if stopped then",
        frozenset({"stop"}),
        (Rules.follow,),
    ),
    "a stop is left beside the stream that runs": Bug(
        "stop_pending_requests",
        "if state == 'o' then return 'running' end",
        "",
        frozenset({"stop"}),
        (Rules.seal_and_close, Rules.stop_pending_requests),
    ),
    "a claim does not keep others away": Bug(
        "claim_entry",
        "redis.call('ZADD', shard_key, deadline, member)",
        "",
        frozenset({"claim"}),
        (Rules.end_owing, Rules.claim),
    ),
    "two that claim at once both get it": Bug(
        "claim_entry",
        "if not current or tonumber(current) ~= score then return 0 end",
        "if not current then return 0 end",
        frozenset({"claim"}),
        (Rules.end_owing, Rules.claim_twice_at_once),
    ),
    "a writer that enters its stream again ends a claim": Bug(
        "enter_outbox",
        "(mode == 'later' and score >= 0 and score < at)",
        "(mode == 'later' and score >= 0)",
        frozenset({"claim"}),
        (Rules.work_and_be_late,),
    ),
    "a worker that comes before the close strikes the entry out": Bug(
        "outbox_state",
        "work = 'open'",
        "work = 'gone'",
        frozenset({"owed"}),
        (Rules.end_owing, Rules.claim),
    ),
    "a dead letter loses its payload": Bug(
        "dead_letter",
        "redis.call('HSET', meta_key, 'jd', 1, 'jr', reason)",
        "redis.call('HSET', meta_key, 'jd', 1, 'jr', reason) redis.call('HDEL', meta_key, 'j')",
        frozenset({"owed"}),
        (Rules.end_owing, Rules.dead_letter),
    ),
    "what is completed stays owed": Bug(
        "complete",
        "'j', 'ja', 'jr', 'jd'",
        "'ja', 'jr', 'jd'",
        frozenset({"completed"}),
        (Rules.end_owing, Rules.complete, Rules.enqueue, Rules.claim),
    ),
    "a dead letter is tried again": Bug(
        "retry_later",
        "if state ~= 'c' or not payload or dead then return GONE end",
        "if state ~= 'c' or not payload then return GONE end",
        frozenset({"owed"}),
        (Rules.end_owing, Rules.dead_letter, Rules.retry_later, Rules.claim),
    ),
    "an erasure leaves what is owed": Bug(
        "erase",
        "redis.call('UNLINK', meta_key, log_prefix .. id, meta_key .. ':w')",
        "redis.call('UNLINK', log_prefix .. id)",
        frozenset({"erase"}),
        (Rules.end_owing, Rules.erase),
    ),
    "a request is answered by another stream than before": Bug(
        "claim_request",
        "if standing and standing ~= claim and standing ~= replaced then return standing end",
        "if standing and standing == replaced then return standing end",
        frozenset({"request"}),
        (Rules.claim_a_request,),
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


def without_all_but(rules: tuple[Callable[..., None], ...]) -> dict[str, Callable[..., None]]:
    """Members for a subclass of `Rules` that has no other rule: there, these are methods that its rules may call."""
    members = {name: getattr(Rules, name) for name in dir(Rules)}
    return {
        name: getattr(member, RULE_MARKER).function
        for name, member in members.items()
        if hasattr(member, RULE_MARKER) and member not in (Rules.register, *rules)
    }


def run(bug: Bug, bench: Bench, *, compares: bool) -> None:
    left_out = {} if EVERY_RULE else without_all_but(bug.rules)
    machine = seed(1)(type("BoundTwins", (Rules,), {"bench": bench, "compares": compares, **left_out}))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=40 if EVERY_RULE else 15,
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
