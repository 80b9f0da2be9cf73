"""A history in which every promise is kept, with one stream of each kind that a soak meets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from benchmarks.soak.history import (
    Action,
    Attempt,
    End,
    Entry,
    History,
    Log,
    Loss,
    Question,
    Reserved,
    Saved,
    Seen,
    Standing,
)
from benchmarks.soak.places import place_of_entry
from benchmarks.soak.wire import shown

__all__ = ["CUT", "HALF", "LOST", "PLAIN", "RAW", "SILENT", "STOPPED", "WHOLE", "good_history", "seen_of"]

WHOLE, HALF, RAW, STOPPED, LOST, PLAIN, CUT, SILENT = (f"{number:024x}" for number in range(1, 9))
"""The streams: completed, taken over from a dead worker, opaque, stopped, of which a failover lost the tail, plain,
one that went on from memory, and a passed-on one that ended before its first block."""

LOSS_AT = 50.0


def cursor(stream_id: str, entry_id: str) -> str:
    place = place_of_entry(entry_id)
    assert place is not None
    return f"1.{stream_id}.{place.epoch}.{place.seq}"


def seen_of(log: Log) -> tuple[Seen, ...]:
    """What a viewer of a whole log sees."""
    found = []
    for one in shown(log):
        assert one.place is not None
        data = one.data
        if one.fault and log.protocol == "ui-message":
            data = json.dumps({"type": "data-streamguard-error", "id": "f", "data": json.loads(one.data)})
        entry_id = f"{one.place.epoch}-{one.place.seq}"
        found.append(Seen(cursor(log.stream_id, entry_id), one.event, data))
    return tuple(found)


def question(nonce: str, session: str, path: str, protocol: str, count: int = 4) -> Question:
    return Question(nonce, "ann", session, path, protocol, count, 0, None, 0.0)


QUESTIONS = {
    WHOLE: question("w", "whole", "counted", "ui-message"),
    HALF: question("h", "half", "ui", "ui-message"),
    RAW: question("r", "raw", "opaque", "opaque"),
    STOPPED: question("s", "stopped", "ui", "ui-message"),
    LOST: question("l", "lost", "ui", "ui-message"),
    PLAIN: question("p", "plain", "plain", "plain"),
    CUT: question("c", "cut", "ui", "ui-message"),
    SILENT: question("n", "silent", "opaque", "opaque"),
}


def ui_parts(stream_id: str, pieces: int) -> list[tuple[str, str]]:
    deltas = [
        ("d", json.dumps({"type": "text-delta", "id": "t0", "delta": QUESTIONS[stream_id].piece(number)}))
        for number in range(pieces)
    ]
    return [("d", '{"type":"start"}'), ("d", '{"type":"text-start","id":"t0"}'), *deltas]


def terminal(outcome: str, persisted: str, stream_id: str) -> tuple[str, str]:
    record = {"outcome": outcome, "persisted": persisted, "quota": "none", "message_id": f"m{stream_id}"}
    return "t", json.dumps(record, separators=(",", ":"))


def persisted_part(stream_id: str) -> tuple[str, str]:
    data = {"message_id": f"m{stream_id}", "stream_id": stream_id}
    return "c", json.dumps({"type": "data-streamguard-persisted", "data": data})


def numbered(parts: Iterable[tuple[str, str]], taken_over_after: int = 1_000) -> tuple[Entry, ...]:
    """Entries of epoch 7, and after so many of epoch 9."""
    return tuple(
        Entry(f"{7 if seq <= taken_over_after else 9}-{seq}", kind, data) for seq, (kind, data) in enumerate(parts, 1)
    )


def log(
    stream_id: str,
    entries: tuple[Entry, ...],
    outcome: str | None,
    sealed: int,
    *,
    persisted: str = "yes",
    usage: int | None = None,
    state: str = "c",
    lost: bool = False,
    protocol: str | None = None,
) -> Log:
    asked = QUESTIONS[stream_id]
    epoch = max((place.epoch for entry in entries if (place := place_of_entry(entry.id))), default=7)
    return Log(
        stream_id=stream_id,
        message_id=f"m{stream_id}",
        owner="ann",
        session=asked.session,
        protocol=protocol or asked.protocol,
        state=state,
        epoch=epoch,
        lost=lost,
        outcome=outcome,
        sealed_seq=sealed,
        usage=usage,
        persisted=persisted,
        quota="none",
        owes=False,
        dead=False,
        entries=entries,
    )


INTERRUPTED = json.dumps({"code": "interrupted", "severity": "error", "fault_id": "f"})
ERROR_PART = '{"type":"error","errorText":"interrupted"}'


def logs() -> dict[str, Log]:
    whole = [
        *ui_parts(WHOLE, 4),
        persisted_part(WHOLE),
        ("c", '{"type":"finish"}'),
        terminal("completed", "yes", WHOLE),
    ]
    half = [*ui_parts(HALF, 2), ("n", INTERRUPTED), ("c", ERROR_PART), terminal("interrupted", "yes", HALF)]
    raw = [
        *(
            ("d", "data: " + json.dumps({"delta": QUESTIONS[RAW].piece(number)}, separators=(",", ":")) + "\n\n")
            for number in range(4)
        ),
        ("c", "data: [DONE]\n\n"),
        terminal("completed", "yes", RAW),
    ]
    stopped = [*ui_parts(STOPPED, 3), ("c", '{"type":"abort"}'), terminal("stopped", "yes", STOPPED)]
    lost = [*ui_parts(LOST, 1), ("n", INTERRUPTED), ("c", ERROR_PART), terminal("interrupted", "yes", LOST)]
    plain = [*(("d", QUESTIONS[PLAIN].piece(number)) for number in range(4)), terminal("completed", "yes", PLAIN)]
    error = {"type": "error", "errorText": "stopped", "error": {"code": "stopped"}}
    silent = [("c", f"event: error\ndata: {json.dumps(error)}\n\n"), terminal("stopped", "not_asked", SILENT)]
    return {
        WHOLE: log(WHOLE, numbered(whole), "completed", 6, usage=4),
        HALF: log(HALF, numbered(half, 4), "interrupted", 4),
        RAW: log(RAW, numbered(raw), "completed", 4),
        STOPPED: log(STOPPED, numbered(stopped), "stopped", 5),
        LOST: log(LOST, numbered(lost, 3), "interrupted", 3),
        PLAIN: log(PLAIN, numbered(plain), "completed", 4),
        CUT: log(
            CUT,
            numbered([*ui_parts(CUT, 2), terminal("completed", "yes", CUT)]),
            "completed",
            4,
            lost=True,
        ),
        SILENT: log(SILENT, numbered(silent), "stopped", 0, persisted="not_asked", protocol="auto"),
    }


def attempt(
    stream_id: str,
    viewer: str,
    seen: Sequence[Seen] = (),
    *,
    action: Action = Action.RESUME,
    at: float = 1.0,
    status: int = 200,
    end: End = End.CLEAN,
    after: Seen | None = None,
    reason: str | None = None,
    key: str | None = None,
) -> Attempt:
    asked = QUESTIONS[stream_id]
    return Attempt(
        viewer=viewer,
        action=action,
        owner="ann",
        session=asked.session,
        begun=at,
        ended=at + 0.5,
        status=status,
        end=end,
        seen=tuple(seen),
        cursor=None if after is None else after.id,
        stream_id=stream_id if status == 200 else None,
        code=None if status in (200, 202, 204) else "resume_failed",
        reason=reason,
        nonce=asked.nonce if action is Action.ASK else None,
        request_key=key,
    )


def good_history() -> History:
    """The history. Viewers are named `<kind>/asker` and `<kind>/watcher`."""
    found = logs()
    seen = {stream_id: seen_of(one) for stream_id, one in found.items()}
    before_loss = log(LOST, numbered(ui_parts(LOST, 3)), None, 0, persisted="not_asked", state="o")
    saw = seen_of(before_loss)
    whole, degraded = seen[WHOLE], seen[CUT][:4]
    bare = [
        Seen(None, "message", json.dumps({"type": "text-delta", "id": "t0", "delta": QUESTIONS[CUT].piece(number)}))
        for number in (2, 3)
    ]
    rest = [*bare, Seen(None, "message", '{"type":"finish"}'), Seen(None, "message", "[DONE]")]
    attempts = [
        attempt(WHOLE, "whole/asker", whole[:4], action=Action.ASK, end=End.DROPPED, key="k"),
        attempt(WHOLE, "whole/asker", whole[4:6], at=2.0, after=whole[3], end=End.CUT),
        attempt(WHOLE, "whole/asker", whole[6:], at=3.0, after=whole[5]),
        attempt(WHOLE, "whole/asker", at=4.0, after=whole[-1], status=204, reason="finished"),
        attempt(WHOLE, "whole/repeat", whole, action=Action.ASK, at=4.0, key="k"),
        attempt(HALF, "half/asker", seen[HALF], action=Action.ASK),
        attempt(HALF, "half/pry", action=Action.PRY, status=204, reason="none"),
        attempt(RAW, "raw/asker", seen[RAW], action=Action.ASK),
        attempt(STOPPED, "stopped/asker", seen[STOPPED], action=Action.ASK),
        attempt(STOPPED, "stopped/stopper", action=Action.STOP, status=202),
        attempt(LOST, "lost/asker", saw, action=Action.ASK, at=49.0, end=End.CUT),
        attempt(LOST, "lost/asker", at=55.0, after=saw[-1], status=410, reason="cursor_ahead"),
        attempt(LOST, "lost/asker+1", seen[LOST], at=56.0),
        attempt(PLAIN, "plain/asker", seen[PLAIN], action=Action.ASK),
        attempt(PLAIN, "plain/late", at=99.0, status=204, reason="finished"),
        attempt(CUT, "cut/asker", [*degraded, *rest], action=Action.ASK),
        attempt(SILENT, "silent/asker", seen[SILENT], action=Action.ASK),
        attempt(SILENT, "silent/stopper", action=Action.STOP, status=202),
    ]
    said = {stream_id: question.answer for stream_id, question in QUESTIONS.items()}
    said[HALF] = "".join(map(QUESTIONS[HALF].piece, range(2)))
    said[STOPPED] = "".join(map(QUESTIONS[STOPPED].piece, range(3)))
    said[LOST] = QUESTIONS[LOST].piece(0)
    said[RAW] = "".join(entry.data for entry in found[RAW].entries if entry.kind in "dc")
    saved = tuple(
        Saved(
            "ann",
            QUESTIONS[stream_id].session,
            f"m{stream_id}",
            "assistant",
            "complete" if one.outcome == "completed" else "partial",
            said[stream_id],
            (stream_id,),
        )
        for stream_id, one in found.items()
        if stream_id != SILENT
    )
    return History(
        seed=1,
        seconds=60.0,
        questions=tuple(QUESTIONS.values()),
        attempts=tuple(attempts),
        logs=tuple(found.values()),
        losses=(Loss(LOSS_AT, (before_loss,), ()),),
        saved=saved,
        reserved=(Reserved(WHOLE, "ann", "committed", 10, 4),),
        standings=(Standing("ann", 12, 4, 0),),
    )
