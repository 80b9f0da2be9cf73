"""What clients see, tampered with in every way that a promise excludes."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.soak.history import End, History, Log, Seen

from .good import HALF, LOST, PLAIN, RAW
from .tampering import Tamperings, breaking, with_attempt, with_log, with_seen

__all__ = ["VIEWS"]

VIEWS: Tamperings = {}
breaks = breaking(VIEWS)


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
