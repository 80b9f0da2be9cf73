"""The checker says nothing of a good history, and reports each way of tampering with it as the promise it breaks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.soak.checker import check
from benchmarks.soak.ends import STORE_AWAY
from benchmarks.soak.faults import KINDS
from benchmarks.soak.history import (
    Action,
    End,
    Entry,
    History,
    Injected,
    Reserved,
    Seen,
    Standing,
    read_history,
    write_history,
)

from .good import CUT, HALF, LOST, PLAIN, RAW, STOPPED, WHOLE, good_history
from .tampered_views import VIEWS
from .tampering import Tamperings, breaking, with_attempt, with_entries, with_log, with_saved, with_seen

TAMPERINGS: Tamperings = dict(VIEWS)
breaks = breaking(TAMPERINGS)


# -- logs -------------------------------------------------------------------------------------------------------------


@breaks("I1")
def an_entry_is_missing(history: History) -> History:
    return with_entries(history, STOPPED, lambda entries: entries[:2] + entries[3:])


@breaks("I1")
def an_event_changed_after_a_failover(history: History) -> History:
    return with_entries(
        history, LOST, lambda entries: [replace(entries[0], data='{"type":"start","messageId":"x"}'), *entries[1:]]
    )


@breaks("I4")
def there_is_a_second_terminal(history: History) -> History:
    return with_entries(
        history, WHOLE, lambda entries: [*entries, Entry(f"7-{len(entries) + 1}", "t", entries[-1].data)]
    )


@breaks("I4")
def there_is_no_terminal(history: History) -> History:
    return with_entries(history, WHOLE, lambda entries: entries[:-1])


@breaks("I4")
def an_entry_follows_the_terminal(history: History) -> History:
    return with_entries(history, HALF, lambda entries: [*entries, Entry(f"9-{len(entries) + 1}", "d", '{"type":"x"}')])


@breaks("I4")
def a_stream_is_never_closed(history: History) -> History:
    return with_log(history, HALF, lambda one: replace(one, state="s"))


@breaks("I4")
def the_terminal_contradicts_the_seal(history: History) -> History:
    return with_log(history, PLAIN, lambda one: replace(one, outcome="failed"))


@breaks("I4")
def a_stop_comes_from_nobody(history: History) -> History:
    return replace(history, attempts=tuple(one for one in history.attempts if one.action is not Action.STOP))


@breaks("I5")
def the_old_writer_appends_after_it_was_fenced(history: History) -> History:
    return with_entries(history, HALF, lambda entries: [*entries[:5], replace(entries[5], id=f"7-{6}"), *entries[6:]])


@breaks("I5")
def a_writer_without_the_epoch_appends(history: History) -> History:
    return with_log(history, HALF, lambda one: replace(one, epoch=8))


@breaks("I5")
def something_is_appended_after_the_seal(history: History) -> History:
    return with_log(history, WHOLE, lambda one: replace(one, sealed_seq=5))


@breaks("I10")
def something_never_comes_to_its_end(history: History) -> History:
    return replace(history, unfinished=(f"stream {HALF} is not closed",))


@breaks("I11")
def reconciling_once_more_changes_something(history: History) -> History:
    return replace(history, reconciled=(HALF,))


@breaks("I6")
def a_repeated_request_is_answered_twice(history: History) -> History:
    return with_attempt(history, "half/asker", lambda one: replace(one, request_key="k"))


# -- messages and quotas ----------------------------------------------------------------------------------------------


@breaks("I6")
def a_message_is_stored_twice(history: History) -> History:
    return with_saved(history, PLAIN, lambda one: [one, one])


@breaks("I6")
def a_stored_message_says_something_else(history: History) -> History:
    return with_saved(history, PLAIN, lambda one: [replace(one, text=one.text + "and more")])


@breaks("I6")
def a_stored_message_of_blocks_lacks_one(history: History) -> History:
    return with_saved(history, RAW, lambda one: [replace(one, text=one.text[20:])])


@breaks("I6")
def a_message_that_went_on_from_memory_is_stored_in_part_twice_over(history: History) -> History:
    return with_saved(history, CUT, lambda one: [replace(one, text=one.text + one.text)])


@breaks("I6")
def half_an_answer_is_stored_as_complete(history: History) -> History:
    return with_saved(history, HALF, lambda one: [replace(one, status="complete")])


@breaks("I7")
def success_is_announced_without_a_commit(history: History) -> History:
    changed = with_log(history, WHOLE, lambda one: replace(one, persisted="no"))
    return with_saved(changed, WHOLE, lambda _: [])


@breaks("I7")
def success_is_told_by_a_plain_end_without_a_commit(history: History) -> History:
    changed = with_log(history, PLAIN, lambda one: replace(one, persisted="no"))
    return with_saved(changed, PLAIN, lambda _: [])


@breaks("I7")
def success_is_on_record_without_a_commit(history: History) -> History:
    return with_saved(history, STOPPED, lambda _: [])


@breaks("I7")
def a_save_is_pending_and_nobody_owes_it(history: History) -> History:
    return with_log(history, STOPPED, lambda one: replace(one, persisted="pending"))


@breaks("I8")
def a_settlement_is_pending_and_nobody_owes_it(history: History) -> History:
    return with_log(history, WHOLE, lambda one: replace(one, quota="pending"))


@breaks("I8")
def an_owner_is_over_its_limit(history: History) -> History:
    return replace(history, standings=(Standing("ann", 3, 4, 0),))


@breaks("I8")
def a_reservation_is_settled_twice(history: History) -> History:
    return replace(history, standings=(Standing("ann", 12, 8, 0),))


@breaks("I8")
def a_reservation_is_still_held(history: History) -> History:
    held = Reserved(HALF, "ann", "reserved", 5, 0)
    return replace(history, reserved=(*history.reserved, held), standings=(Standing("ann", 12, 4, 5),))


@breaks("I8")
def more_is_charged_than_was_consumed(history: History) -> History:
    (one,) = history.reserved
    return replace(history, reserved=(replace(one, charged=9),), standings=(Standing("ann", 12, 9, 0),))


@breaks("I8")
def a_whole_answer_is_not_charged(history: History) -> History:
    (one,) = history.reserved
    return replace(
        history, reserved=(replace(one, state="released", charged=0),), standings=(Standing("ann", 12, 0, 0),)
    )


def test_a_good_history_breaks_nothing() -> None:
    assert check(good_history()) == []


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_reported_under_the_promise_it_breaks(name: str) -> None:
    promise, tamper = TAMPERINGS[name]
    assert promise in {violation.promise for violation in check(tamper(good_history()))}


def test_why_a_view_broke_off_is_no_part_of_it() -> None:
    """A follower whose store is away tells so and is cut; its client comes back and is told the rest."""
    told = (
        Seen(None, "message", '{"type":"data-streamguard-error","data":{"code":"store_unavailable","phase":"resume"}}'),
        Seen(None, "message", '{"type":"error","errorText":"briefly unavailable"}'),
        Seen(None, "message", "[DONE]"),
    )
    history = with_attempt(good_history(), "whole/asker", lambda one: replace(one, seen=(*one.seen, *told)), 1)
    assert check(history) == []
    clean = with_attempt(history, "whole/asker", lambda one: replace(one, end=End.CLEAN), 1)
    assert {violation.promise for violation in check(clean)} == {"I3", "I4"}


@pytest.mark.parametrize("told", [True, False])
def test_a_writer_that_went_on_from_memory_may_have_saved_more_than_was_logged(told: bool) -> None:
    """It died before it could say in the log that this is lost: what it saved first stands."""
    notice = Seen(None, "message", '{"type":"data-streamguard-error","data":{"code":"not_resumable","phase":"resume"}}')
    half = next(question for question in good_history().questions if question.session == "half")
    history = with_saved(good_history(), HALF, lambda one: [replace(one, text=half.answer, status="complete")])
    if told:
        rest = [Seen(None, "message", part) for part in ('{"type":"text-delta","delta":"h:2 "}', "[DONE]")]
        history = with_seen(history, "half/asker", lambda seen: [*seen[:4], notice, *rest])
    assert {violation.promise for violation in check(history)} == (set() if told else {"I6"})


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("again", ["on another connection", "on the same connection"])
def test_who_was_told_that_nothing_can_be_resumed_may_see_the_log_go_on(told: bool, again: str) -> None:
    """The writer died before it could say in the log that this is lost. Its viewer came back nevertheless."""
    notice = Seen(None, "message", '{"type":"data-streamguard-error","data":{"code":"not_resumable","phase":"resume"}}')
    history = good_history()
    (attempt,) = [one for one in history.attempts if one.viewer == "half/asker"]
    before, after = attempt.seen[:3], attempt.seen[3:]
    bare = [replace(one, id=None) for one in attempt.seen[3:4]]  # the log has it too, and shows it again
    first = (*before, *([notice] if told else []), *bare)
    if again == "on the same connection":
        attempts = [replace(attempt, seen=(*first, *after))]
    else:
        resumed = replace(attempt, action=Action.RESUME, cursor=before[-1].id, nonce=None, seen=after)
        attempts = [replace(attempt, seen=first, end=End.CUT), resumed]
    at = history.attempts.index(attempt)
    history = replace(history, attempts=(*history.attempts[:at], *attempts, *history.attempts[at + 1 :]))
    allowed = told and again == "on another connection"
    assert {violation.promise for violation in check(history)} == (set() if allowed else {"I3"})


@pytest.mark.parametrize(
    ("kind", "after", "excused"),
    [
        ("lose replies", 0.5, True),
        ("pause worker", -4.0, True),
        ("pause ledger", 0.5, False),  # that is no fault of the store's
        ("lose replies", 60.0, False),
    ],
)
def test_a_key_may_be_answered_twice_only_while_the_store_is_away(kind: str, after: float, excused: bool) -> None:
    history = a_repeated_request_is_answered_twice(good_history())
    begun = next(one.begun for one in history.attempts if one.viewer == "half/asker")
    found = check(replace(history, injected=(Injected(begun + after, kind, ""),)))
    assert [violation.promise for violation in found] == ([] if excused else ["I6"])


def test_faults_that_keep_the_store_away_are_faults_that_there_are() -> None:
    assert set(KINDS) > STORE_AWAY
    assert {kind for kind in KINDS if "Redis" in kind or "fail over" in kind} < STORE_AWAY


def test_every_promise_is_tampered_with() -> None:
    assert {promise for promise, _ in TAMPERINGS.values()} == {f"I{number}" for number in range(1, 13)}


def test_a_history_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    history = good_history()
    write_history(history, tmp_path / "history.json")
    assert read_history(tmp_path / "history.json") == history
