"""The fast tier, `scripts/test --fast`: under a minute on two cores, with tests that start no process.

Left out are the directories that are about processes, tests marked `slow` or `processes`, clauses that wait for time to
pass, tests with a server (by fixture, or as one of several stores), and single tests that take long.
One that is let in by mistake fails as soon as it starts a process. Property tests try fewer examples.

Every process of a run imports all that is collected, so what no test of the tier needs is not even looked at.
The whole suite has all of these tests: see `tests/harness/test_tiers.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import pytest

__all__ = ["EXAMPLES", "LONG", "MODULES", "is_looked_at", "only_fast", "processes_refused"]

DIRECTORIES: Final = frozenset({"cli", "clients", "docs", "e2e", "examples", "harness"})
"""The directories of tests that are about processes."""

SERVERS: Final = ("redis", "postgres", "mariadb", "sqlite")
"""How the names of stores that need a server begin, where tests are parametrised with stores. SQLite needs none, but
where tests keep messages in it, they keep streams in Redis."""

STARTING_FIXTURES: Final = frozenset({"redis_server", "own_redis", "postgres_server", "mariadb_server"})
"""The fixtures that start servers; others that do, ask for one of these."""

MODULES: Final = frozenset({"runtime/test_failures.py"})
"""Modules that import the clients of real providers, which takes each process some seconds."""

LONG: Final = {
    "messages/sql/test_conformance.py": frozenset({"test_a_refusal_holds_nothing_of_the_content"}),
    "messages/test_memory.py": frozenset({"test_a_refusal_holds_nothing_of_the_content"}),
    "reconcile/test_orphans.py": frozenset(
        {
            "test_a_process_that_stood_still_lets_the_others_renew_first",
            "test_after_an_outage_the_sweep_holds_back_for_a_lease",
        }
    ),
    "reconcile/test_outbox.py": frozenset({"test_one_that_hangs_does_not_hold_up_the_others"}),
    "runtime/test_admission.py": frozenset(
        {
            "test_a_session_contended_for_ever_is_refused",
            "test_a_slot_that_cannot_be_given_back_expires",
        }
    ),
    "runtime/test_degraded.py": frozenset(
        {
            "test_a_degraded_streams_heartbeat_does_not_wake_itself",
            "test_while_the_breaker_is_open_nobody_retries",
        }
    ),
    "runtime/test_drain.py": frozenset({"test_an_end_that_hangs_is_given_up"}),
    "runtime/test_fencing.py": frozenset({"test_whoever_lost_the_epoch_writes_nothing_more"}),
    "runtime/test_quota.py": frozenset(
        {
            "test_a_degraded_reply_that_cannot_be_settled_is_settled_from_memory",
            "test_live_reservations_are_renewed_and_never_ended",
        }
    ),
    "runtime/test_quota_endings.py": frozenset(
        {
            "test_its_worker_dies_before_it_could_settle",
            "test_its_worker_dies_between_settling_and_saying_so",
            "test_settled_but_the_mark_does_not_get_through_at_once",
            "test_settled_while_its_record_is_on_its_way",
        }
    ),
    "runtime/test_saving.py": frozenset(
        {
            "test_a_drain_during_a_slow_save_leaves_an_entry_to_others",
            "test_a_stream_that_hung_on_its_store_until_the_drain_ended_is_saved",
        }
    ),
    "runtime/test_sessions.py": frozenset({"test_every_question_says_when_the_store_is_away"}),
    "runtime/test_unwatched.py": frozenset(
        {
            "test_a_viewer_on_another_worker_keeps_it",
            "test_the_last_of_several_viewers_elsewhere_decides",
            "test_while_the_store_does_not_answer_nothing_ends",
        }
    ),
    "runtime/test_upkeep.py": frozenset(
        {
            "test_crashed_background_tasks_start_again",
            "test_the_process_forgets_ended_streams",
        }
    ),
    "stores/test_memory.py": frozenset({"test_claims_of_requests_are_forgotten_when_they_expire"}),
    "stores/test_redis_records.py": frozenset({"test_a_seal_survives_the_trip"}),
    "test_deadlines.py": frozenset({"test_stalls_add_up"}),
    "testing/test_fault_kit.py": frozenset({"TestFaultyMessageStore", "TestFaultyStore"}),
    "testing/test_guarded_app.py": frozenset({"test_a_viewer_that_is_cut_sees_a_broken_connection"}),
    "web/test_call.py": frozenset({"test_a_server_that_cancels_its_call_leaves_the_frameworks_to_the_stream"}),
    "web/test_host_middleware.py": frozenset({"test_nothing_differs_from_a_bare_response"}),
    "web/test_large_events.py": frozenset({"test_an_image_arrives_is_saved_and_replays"}),
    "web/test_limits.py": frozenset({"test_a_slot_whose_response_was_never_sent_is_given_back"}),
    "web/test_odd_values.py": frozenset({"test_any_value_in_any_part", "test_any_value_in_the_question"}),
    "web/test_quota.py": frozenset({"test_the_next_answer_says_that_an_earlier_one_is_not_settled"}),
    "web/test_response.py": frozenset(
        {
            "test_a_client_that_does_not_read_is_dropped_and_the_others_get_everything",
            "test_a_server_that_cancels_requests_gives_them_no_clean_end_and_streams_their_terminal",
        }
    ),
    "web/test_saving.py": frozenset(
        {
            "test_a_database_that_is_slow_to_say_so_holds_nobody_up_for_long",
            "test_a_question_that_is_nested_too_deeply_does_not_end_its_answer",
            "test_a_store_that_has_no_say_is_not_waited_for",
        }
    ),
    "web/test_sync.py": frozenset({"test_a_full_process_answers_503_and_unused_slots_come_back"}),
    "web/test_sync_reports.py": frozenset(
        {
            "test_of_a_stream_that_ends_otherwise",
            "test_one_that_blocks_is_given_up_with_a_warning_and_its_thread_comes_back",
            "test_one_that_blocks_past_the_end_of_the_runtime_is_refused_by_name",
        }
    ),
    "web/test_unwatched.py": frozenset(
        {
            "test_the_endpoints_own_word_counts",
            "test_the_part_there_is_is_saved_and_what_it_used_is_settled",
        }
    ),
    "wire/test_folding.py": frozenset({"test_whole_json_is_read_as_it_is"}),
    "wire/test_sse.py": frozenset(
        {
            "test_a_block_over_the_limit_is_left_out_in_any_chunking",
            "test_many_small_blocks_in_one_chunk_are_cut_in_linear_time",
        }
    ),
}
"""Tests, and classes of tests, that take about a second or more, waiting or at work: the whole suite has them."""

EXAMPLES: Final = 20
"""How many examples a property test of the tier tries, unless it says so itself."""

_TESTS: Final = Path(__file__).parent

_STARTS: Final = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"})
"""The audit events of starting a process."""


def is_looked_at(path: Path) -> bool:
    """Whether the tier may have tests there, in a file or directory."""
    place = _place(path)
    return place not in MODULES and DIRECTORIES.isdisjoint(place.split("/"))


@cache
def _place(path: Path) -> str:
    """A path below this directory."""
    return path.relative_to(_TESTS).as_posix() if path.is_relative_to(_TESTS) else ""


def only_fast(items: list[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """The tests of the fast tier, and the others."""
    fast = [item for item in items if _is_fast(item)]
    return fast, [item for item in items if item not in set(fast)]


def _is_fast(item: pytest.Item) -> bool:
    if item.get_closest_marker("slow") or item.get_closest_marker("processes"):
        return False
    if not STARTING_FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
        return False
    if not is_looked_at(item.path):
        return False
    named = LONG.get(_place(item.path))
    if named is not None and not named.isdisjoint(item.nodeid.partition("[")[0].split("::")):
        return False
    if "OnRealTime" in item.nodeid:  # the same clauses run on a clock that is turned
        return False
    parameters = item.name.partition("[")[2].lower().rstrip("]").split("-")
    return not any(parameter.startswith(SERVERS) for parameter in parameters)


class _Hook:
    """An audit hook, which can be added but never taken off again."""

    there = False
    refusing = False

    def __call__(self, event: str, _: tuple[object, ...]) -> None:
        if self.refusing and event in _STARTS:
            raise AssertionError("a test of the fast tier starts a process: mark it `processes`")


_hook: Final = _Hook()


@contextmanager
def processes_refused() -> Iterator[None]:
    """Within the block, nobody in this process may start another."""
    if not _hook.there:
        _hook.there = True
        sys.addaudithook(_hook)
    _hook.refusing = True
    try:
        yield
    finally:
        _hook.refusing = False
