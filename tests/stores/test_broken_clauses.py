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
    "the first event decides nothing": Broken(
        Suite.test_the_first_event_can_decide_what_its_stream_speaks,
        "append",
        "if decide(meta_key, session_key, ARGV[5], ARGV[6], ARGV[7], ARGV[8]) then",
        "if false then",
    ),
    "a repeated append decides again": Broken(
        Suite.test_a_decision_stands, "append", "if last == 0 then\n-- Takes in", "if last >= 0 then\n-- Takes in"
    ),
    "a refused append decides": Broken(
        Suite.test_a_refused_append_decides_nothing,
        "append",
        "if stored_epoch ~= epoch then return refuse(FENCED) end",
        "if stored_epoch ~= epoch then call('HSET', meta_key, 'pr', ARGV[5]) return refuse(FENCED) end",
    ),
    "a decided message id is not listed": Broken(
        Suite.test_a_decided_message_id_is_found_under,
        "append",
        "list_message(session_key, message_id, ordinal, id)\n  end",
        "end",
    ),
    "the message id that was asked for stays listed": Broken(
        Suite.test_a_decided_message_id_is_found_under, "append", "not forget_message(session_key, id)", "false"
    ),
    "a lost log does not say what was decided": Broken(
        Suite.test_a_lost_log_without_events_has_what_its_writer_decided,
        "declare_lost",
        "if version and last_seq == 0 and movable then",
        "if false then",
    ),
    "a lost log that had events is decided again": Broken(
        Suite.test_a_lost_log_without_events_has_what_its_writer_decided,
        "declare_lost",
        "if version and last_seq == 0 and movable then",
        "if version and movable then",
    ),
    "a stop means who asks after it too": Broken(
        Suite.test_a_stop_does_not_mean_a_request_that_arrives_after_it,
        "register",
        "if stopped and now - arrived_us < stopped then",
        "if stopped then",
    ),
    "the first request it means uses a stop up": Broken(
        Suite.test_a_stop_means_every_request_that_arrived_before_it,
        "register",
        "  stop = 1",
        "  stop = 1 redis.call('DEL', stopped_key)",
    ),
    "who asks after a stop leaves it": Broken(
        Suite.test_who_asks_after_a_stop_takes_it_back, "register", "redis.call('DEL', stopped_key)", ""
    ),
    "a stop is left beside the stream that runs": Broken(
        Suite.test_while_a_stream_runs_no_other_is_stopped,
        "stop_pending_requests",
        "if state == 'o' then return 'running' end",
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
        "redis.call('ZREM', stops_key, stopped_key)",
        "",
    ),
    "an erasure leaves a stop": Broken(
        Suite.test_an_erasure_takes_a_stop_with_it,
        "erase",
        "redis.call('DEL', session_key, streams_key, stopped_key)",
        "redis.call('DEL', session_key, streams_key)",
    ),
    "who replaces needs a slot more": Broken(
        Suite.test_a_new_stream_takes_the_place_of_its_sessions_last_one,
        "register",
        "return math.min(ended, 8)",
        "return 0",
    ),
    "a session's ended streams are never too many": Broken(
        Suite.test_so_many_ended_streams_of_a_session_keep_no_new_one_from_it,
        "register",
        "return math.min(ended, 8)",
        "return ended",
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
        "if redis.call('EXISTS', withdrawn_key) == 1 then return {'withdrawn'} end",
        "",
    ),
    "a withdrawn stream stays the last one": Broken(
        Suite.test_after_a_withdrawal_a_session_points_where_it_pointed_before,
        "withdraw",
        "redis.call('HSET', session_key, 'last', previous_last, 'created', previous_created)",
        "redis.call('HDEL', session_key, 'last', 'created')",
    ),
    "a withdrawn stream keeps its slot": Broken(
        Suite.test_a_withdrawn_registration_leaves_nothing, "withdraw", "redis.call('ZREM', owner_key, stream_id)", ""
    ),
    "what was written to is withdrawn": Broken(
        Suite.test_a_stream_of_which_something_became_is_not_withdrawn,
        "withdraw",
        "if state ~= 'o' or last_seq ~= '0' or lost == '1' or last_writer then return FENCED end",
        "if state ~= 'o' or lost == '1' or last_writer then return FENCED end",
    ),
    "nobody is told of a withdrawal": Broken(
        Suite.test_subscribers_are_told_of_a_withdrawal, "withdraw", "publish_change(meta_key, 0)", ""
    ),
    "a worker is not told of a stop": Broken(
        Suite.test_a_worker_is_told_of_a_stop, "request_stop", "tell_worker(meta_key, worker, epoch, 1)", ""
    ),
    "only the first stop is told": Broken(
        Suite.test_a_worker_is_told_of_every_stop,
        "request_stop",
        "tell_worker(meta_key, worker, epoch, 1)",
        "if redis.call('HSETNX', meta_key, 'told', 1) == 1 then tell_worker(meta_key, worker, epoch, 1) end",
    ),
    "a worker is told under the epoch that ended": Broken(
        Suite.test_a_worker_is_told_that_another_took_a_stream_over,
        "take_over",
        "tell_worker(meta_key, old_worker, next_epoch, stop)",
        "tell_worker(meta_key, old_worker, epoch, stop)",
    ),
    "the worker that took a stream over is told of that": Broken(
        Suite.test_a_worker_is_told_that_another_took_a_stream_over,
        "take_over",
        "tell_worker(meta_key, old_worker, next_epoch, stop)",
        "tell_worker(meta_key, worker, next_epoch, stop)",
    ),
    "a refused takeover is told": Broken(
        Suite.test_a_refused_takeover_tells_nobody,
        "take_over",
        "  status = LEASED\n",
        "  status = LEASED tell_worker(meta_key, old_worker, epoch + 1, stop)\n",
    ),
    "a stream stays with the worker that lost it": Broken(
        Suite.test_whoever_took_a_stream_over_is_told,
        "take_over",
        "redis.call('HSET', meta_key, 'wk', worker)",
        "",
    ),
    "a worker is not told of an erasure": Broken(
        Suite.test_a_worker_is_told_of_an_erasure, "erase", "tell_worker(meta_key, worker, 0, 0)", ""
    ),
    "a worker is told that what ended was erased": Broken(
        Suite.test_what_ended_is_no_news_to_a_worker,
        "erase",
        "if state ~= 'c' then tell_worker(meta_key, worker, 0, 0) end",
        "tell_worker(meta_key, worker, 0, 0)",
    ),
    "all workers are told": Broken(
        Suite.test_a_worker_is_told_of_its_own_streams_only,
        "request_stop",
        "tell_worker(meta_key, worker, epoch, 1)",
        "for _, all in ipairs(redis.call('PUBSUB', 'CHANNELS', '*:w:*')) do "
        "tell_worker(meta_key, string.match(all, ':w:(.*)'), epoch, 1) end",
    ),
    "one step does not open the log that a stop had shut": Broken(
        Suite.test_one_step_ends_a_stream_that_is_to_stop,
        "close",
        "    reopen(log_key, epoch, before)\n",
        "",
    ),
    "one step ends a stream whose log lacks events": Broken(
        Suite.test_one_step_refuses_what_two_would,
        "close",
        "    if last_of(log_key, last) ~= tonumber(log_last) then return {NOT_SEALED, last, stop} end\n",
        "",
    ),
    "a stream is closed under another seal of the same outcome": Broken(
        Suite.test_one_step_closes_only_under_the_seal_that_stands,
        "close",
        "local standing = (seal_seq or '')",
        "local standing = string.match(standing_seal, '^%d*')",
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
