"""The checker says nothing of a good history, and reports each way of tampering with it as the promise it breaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.soak.checker import check
from benchmarks.soak.history import (
    Action,
    Attempt,
    End,
    Entry,
    History,
    Log,
    Reserved,
    Saved,
    Seen,
    Standing,
    read_history,
    write_history,
)

from .good import CUT, HALF, LOST, PLAIN, RAW, STOPPED, WHOLE, good_history

Tampering = Callable[[History], History]

TAMPERINGS: dict[str, tuple[str, Tampering]] = {}
"""By name: the promise that is broken, and how."""


def breaks(promise: str) -> Callable[[Tampering], Tampering]:
    def register(tampering: Tampering) -> Tampering:
        TAMPERINGS[tampering.__name__.replace("_", " ")] = promise, tampering
        return tampering

    return register


def with_attempt(history: History, viewer: str, change: Callable[[Attempt], Attempt], number: int = 0) -> History:
    """`history` with a viewer's attempt changed, its first one or another."""
    at = [index for index, one in enumerate(history.attempts) if one.viewer == viewer][number]
    changed = list(history.attempts)
    changed[at] = change(changed[at])
    return replace(history, attempts=tuple(changed))


def with_seen(history: History, viewer: str, change: Callable[[list[Seen]], list[Seen]], number: int = 0) -> History:
    return with_attempt(history, viewer, lambda one: replace(one, seen=tuple(change(list(one.seen)))), number)


def with_log(history: History, stream_id: str, change: Callable[[Log], Log]) -> History:
    logs = tuple(change(one) if one.stream_id == stream_id else one for one in history.logs)
    return replace(history, logs=logs)


def with_entries(history: History, stream_id: str, change: Callable[[list[Entry]], list[Entry]]) -> History:
    return with_log(history, stream_id, lambda one: replace(one, entries=tuple(change(list(one.entries)))))


def with_saved(history: History, stream_id: str, change: Callable[[Saved], list[Saved]]) -> History:
    saved = [new for one in history.saved for new in (change(one) if stream_id in one.streams else [one])]
    return replace(history, saved=tuple(saved))


# -- what clients see -------------------------------------------------------------------------------------------------


@breaks("I3")
def an_event_is_dropped(history: History) -> History:
    return with_seen(history, "whole/repeat", lambda seen: seen[:3] + seen[4:])


@breaks("I3")
def the_first_event_after_a_cursor_is_dropped(history: History) -> History:
    return with_seen(history, "whole/asker", lambda seen: seen[1:], 1)


@breaks("I3")
def an_event_comes_twice(history: History) -> History:
    return with_seen(history, "plain/asker", lambda seen: [*seen[:2], seen[1], *seen[2:]])


@breaks("I3")
def two_events_change_places(history: History) -> History:
    return with_seen(history, "raw/asker", lambda seen: [seen[1], seen[0], *seen[2:]])


@breaks("I3")
def an_event_is_altered(history: History) -> History:
    return with_seen(
        history,
        "half/asker",
        lambda seen: [*seen[:3], replace(seen[3], data=seen[3].data.replace("h:1", "h:7")), *seen[4:]],
    )


@breaks("I3")
def an_event_has_the_epoch_of_another_writer(history: History) -> History:
    return with_seen(
        history,
        "half/asker",
        lambda seen: [*seen[:3], replace(seen[3], id=(seen[3].id or "").replace(".7.", ".8.")), *seen[4:]],
    )


@breaks("I3")
def an_event_without_an_id_is_altered(history: History) -> History:
    return with_seen(
        history,
        "cut/asker",
        lambda seen: [*seen[:4], replace(seen[4], data=seen[4].data.replace("c:2", "c:3")), *seen[5:]],
    )


@breaks("I3")
def ids_come_back_after_events_without(history: History) -> History:
    return with_seen(history, "cut/asker", lambda seen: [*seen[:3], seen[4], seen[3], *seen[5:]])


@breaks("I3")
def an_answer_is_whole_though_its_end_is_missing_everywhere(history: History) -> History:
    def shortened(log: Log) -> Log:
        kept = [*log.entries[:3], *(entry for entry in log.entries[4:])]
        renumbered = tuple(replace(entry, id=f"7-{seq}") for seq, entry in enumerate(kept, 1))
        return replace(log, entries=renumbered, sealed_seq=3)

    def shortened_view(seen: list[Seen]) -> list[Seen]:
        kept = [*seen[:3], *seen[4:]]
        return [replace(one, id=f"1.{PLAIN}.7.{seq}") for seq, one in enumerate(kept, 1)]

    return with_seen(with_log(history, PLAIN, shortened), "plain/asker", shortened_view)


@breaks("I3")
def a_cursor_is_answered_with_another_stream(history: History) -> History:
    return with_attempt(history, "whole/asker", lambda one: replace(one, stream_id=HALF), 1)


@breaks("I2")
def what_was_seen_is_in_no_log(history: History) -> History:
    return replace(history, logs=tuple(one for one in history.logs if one.stream_id != RAW))


@breaks("I3")
def a_loss_is_not_on_record(history: History) -> History:
    return replace(history, losses=())


@breaks("I9")
def a_lost_tail_is_papered_over_with_204(history: History) -> History:
    return with_attempt(history, "lost/asker", lambda one: replace(one, status=204, reason="finished"), 1)


@breaks("I3")
def a_lost_tail_is_papered_over_with_what_came_instead(history: History) -> History:
    lost = next(one for one in history.attempts if one.viewer == "lost/asker+1")
    return with_attempt(
        history, "lost/asker", lambda one: replace(one, status=200, stream_id=LOST, seen=lost.seen[3:], reason=None), 1
    )


@breaks("I3")
def a_lost_tail_is_papered_over_with_its_end_alone(history: History) -> History:
    lost = next(one for one in history.attempts if one.viewer == "lost/asker+1")
    return with_attempt(
        history, "lost/asker", lambda one: replace(one, status=200, stream_id=LOST, seen=lost.seen[-1:], reason=None), 1
    )


@breaks("I9")
def a_cursor_that_the_log_holds_is_refused(history: History) -> History:
    return with_attempt(history, "whole/asker", lambda one: replace(one, status=410, reason="cursor_ahead", seen=()), 2)


@breaks("I9")
def the_rest_of_a_log_is_withheld(history: History) -> History:
    return with_attempt(history, "whole/asker", lambda one: replace(one, status=204, reason="finished", seen=()), 2)


@breaks("I9")
def a_stream_that_was_seen_is_said_never_to_have_been(history: History) -> History:
    return with_attempt(history, "plain/late", lambda one: replace(one, reason="none"))


@breaks("I9")
def half_an_answer_that_is_not_saved_is_said_to_be_finished(history: History) -> History:
    changed = with_log(history, HALF, lambda one: replace(one, persisted="no"))
    late = replace(next(one for one in history.attempts if one.viewer == "plain/late"), session="half", stream_id=HALF)
    return replace(changed, attempts=(*changed.attempts, replace(late, viewer="half/late")))


@breaks("I9")
def a_viewer_waits_in_silence(history: History) -> History:
    return with_attempt(history, "raw/asker", lambda one: replace(one, end=End.SILENT))


@breaks("I12")
def another_owner_is_shown_something(history: History) -> History:
    half = next(one for one in history.attempts if one.viewer == "half/asker")
    return with_attempt(history, "half/pry", lambda one: replace(one, status=200, reason=None, seen=half.seen))


@breaks("I12")
def another_owner_learns_that_there_is_something(history: History) -> History:
    return with_attempt(history, "half/pry", lambda one: replace(one, reason="finished"))


@breaks("I4")
def a_body_ends_cleanly_before_the_stream_does(history: History) -> History:
    return with_seen(history, "stopped/asker", lambda seen: seen[:-2])


@breaks("I4")
def an_event_follows_the_end(history: History) -> History:
    return with_seen(history, "raw/asker", lambda seen: [*seen, Seen(None, "message", '{"delta":""}')])


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


def test_every_promise_is_tampered_with() -> None:
    assert {promise for promise, _ in TAMPERINGS.values()} == {f"I{number}" for number in range(1, 13)}


def test_a_history_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    history = good_history()
    write_history(history, tmp_path / "history.json")
    assert read_history(tmp_path / "history.json") == history
