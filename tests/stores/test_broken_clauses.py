"""Stores with one changed line, each of which a clause of the suite finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.scripts import Scripts
from streamguard.testing import StreamStoreSuite

pytestmark = pytest.mark.anyio


class Broken(NamedTuple):
    clause: Callable[..., object]
    script: str
    line: str
    changed: str


Suite = StreamStoreSuite
BROKEN = {
    "a stop means who asks after it too": Broken(
        Suite.test_a_stop_does_not_mean_a_request_that_arrives_after_it,
        "register",
        "if stopped and stamp() - ARGV[8] < stopped then",
        "if stopped then",
    ),
    "the first request it means uses a stop up": Broken(
        Suite.test_a_stop_means_every_request_that_arrived_before_it,
        "register",
        "  stop = 1",
        "  stop = 1 redis.call('DEL', KEYS[9])",
    ),
    "who asks after a stop leaves it": Broken(
        Suite.test_who_asks_after_a_stop_takes_it_back, "register", "redis.call('DEL', KEYS[9])", ""
    ),
    "a stop is left beside the stream that runs": Broken(
        Suite.test_while_a_stream_runs_no_other_is_stopped,
        "stop_pending_requests",
        "if active[2] == 'o' then return 'running' end",
        "",
    ),
    "an owner's stops have no limit": Broken(
        Suite.test_of_an_owners_sessions_so_many_are_stopped_at_once,
        "stop_pending_requests",
        "redis.call('DEL', oldest)",
        "",
    ),
    "what was taken back counts towards the limit": Broken(
        Suite.test_a_stop_that_was_taken_back_counts_no_longer,
        "register",
        "if not mended(KEYS[10]) then redis.call('ZREM', KEYS[10], KEYS[9]) end",
        "",
    ),
    "an erasure leaves a stop": Broken(
        Suite.test_an_erasure_takes_a_stop_with_it,
        "erase",
        "redis.call('DEL', KEYS[1], KEYS[2], KEYS[4])",
        "redis.call('DEL', KEYS[1], KEYS[2])",
    ),
    "who replaces needs a slot more": Broken(
        Suite.test_a_new_stream_takes_the_place_of_its_sessions_last_one,
        "register",
        "others = others - math.min(ended, 8)",
        "",
    ),
    "a session's ended streams are never too many": Broken(
        Suite.test_so_many_ended_streams_of_a_session_keep_no_new_one_from_it,
        "register",
        "others = others - math.min(ended, 8)",
        "others = others - ended",
    ),
    "an owner's ended streams are nobody's place": Broken(
        Suite.test_the_places_of_other_sessions_count,
        "register",
        "if others >= limit then return {'full'} end",
        "if others > limit then return {'full'} end",
    ),
    "a withdrawn registration comes late": Broken(
        Suite.test_a_withdrawn_registration_that_comes_late_is_refused,
        "register",
        "if redis.call('EXISTS', KEYS[8]) == 1 then return {'withdrawn'} end",
        "",
    ),
    "a withdrawn stream stays the last one": Broken(
        Suite.test_after_a_withdrawal_a_session_points_where_it_pointed_before,
        "withdraw",
        "redis.call('HSET', KEYS[3], 'last', m[6], 'created', m[7])",
        "redis.call('HDEL', KEYS[3], 'last', 'created')",
    ),
    "a withdrawn stream keeps its slot": Broken(
        Suite.test_a_withdrawn_registration_leaves_nothing, "withdraw", "redis.call('ZREM', KEYS[6], ARGV[1])", ""
    ),
    "what was written to is withdrawn": Broken(
        Suite.test_a_stream_of_which_something_became_is_not_withdrawn,
        "withdraw",
        "if m[2] ~= 'o' or m[3] ~= '0' or m[4] ~= '0' or m[5] then return FENCED end",
        "if m[2] ~= 'o' or m[4] ~= '0' or m[5] then return FENCED end",
    ),
    "nobody is told of a withdrawal": Broken(
        Suite.test_watchers_are_told_of_a_withdrawal, "withdraw", "tell(KEYS[1], 0)", ""
    ),
    "a stream is closed under another seal of the same outcome": Broken(
        Suite.test_one_step_closes_only_under_the_seal_that_stands,
        "close",
        "local standing = (m[7] or '')",
        "local standing = string.match(ARGV[8], '^%d*')",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_its_clause_finds_it(redis_url: str, name: str) -> None:
    broken = BROKEN[name]
    store = RedisStore(
        redis_url,
        command_seconds=5,
        scripts=Scripts.load().replacing(broken.script, broken.line, broken.changed),
    )
    await store.start()
    clause = getattr(Suite(), broken.clause.__name__)
    try:
        with pytest.raises(AssertionError):
            await clause(store)
    finally:
        await store.aclose()
