"""What a client must see of a log's entries, for each protocol. It is written independently of the package."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.harness.sse import EventReader

from .history import Entry, Log, Seen
from .places import Place, place_of_entry

__all__ = [
    "BLOCKS",
    "PROTOCOLS",
    "Shown",
    "announces_saved",
    "fault_in",
    "is_terminal",
    "shown",
    "text_of_log",
    "text_seen",
]

PROTOCOLS: Final = ("ui-message", "plain", "opaque")
BLOCKS: Final = ("opaque", "auto")
"""Protocols whose entries are whole blocks. A passed-on stream that ended before its first block is `auto`: what it
would have spoken was not decided."""
DONE: Final = "[DONE]"
END_EVENT: Final = "streamguard.end"
FAULT_EVENTS: Final = ("streamguard.error", "streamguard.notice")
FAULT_PART: Final = "data-streamguard-error"


@dataclass(frozen=True, slots=True)
class Shown:
    """An entry of a log as a client sees it."""

    place: Place | None
    event: str
    data: str
    fault: bool = False
    """Whether `data` is the fault inside the event that the client sees."""

    def is_seen_as(self, seen: Seen) -> bool:
        """Whether this is what the client saw, apart from the id."""
        if not self.fault or self.event != "message":
            return (self.event, self.data) == (seen.event, seen.data)
        part = _json(seen.data)
        return part.get("type") == FAULT_PART and part.get("data") == _json(self.data)


def shown(log: Log) -> list[Shown]:
    """Everything that a viewer of the whole log sees, in order."""
    return [one for entry in log.entries for one in _shown(entry, log.protocol)]


def _shown(entry: Entry, protocol: str) -> Iterable[Shown]:
    place = place_of_entry(entry.id)
    if protocol in BLOCKS:
        if entry.kind in "dc":
            for event in EventReader().feed(entry.data.encode()):
                yield Shown(place, event.event, event.data)
    elif entry.kind == "n":
        severity = _json(entry.data).get("severity")
        name = "message" if protocol == "ui-message" else FAULT_EVENTS[0 if severity == "fatal" else 1]
        yield Shown(place, name, entry.data, fault=True)
    elif entry.kind == "t":
        yield Shown(place, "message", DONE) if protocol == "ui-message" else Shown(place, END_EVENT, entry.data)
    else:
        yield Shown(place, "message", entry.data)


def is_terminal(seen: Seen, protocol: str) -> bool:
    """Whether no event may follow this one."""
    if protocol == "plain":
        return seen.event == END_EVENT
    if protocol in BLOCKS:
        return seen.data == DONE or seen.event == "error"
    return seen.data == DONE


def text_of_log(log: Log) -> str:
    """The part of the model's text that the log holds before the closing parts."""
    entries = log.entries[: log.sealed_seq] if log.state != "o" else log.entries
    said = (entry.data for entry in entries if entry.kind == "d")
    return "".join(_said(data, log.protocol) for data in said)


def text_seen(seen: Sequence[Seen], protocol: str) -> str:
    """The part of the model's text that a client saw."""
    if protocol in BLOCKS:
        return "".join(_json(one.data).get("delta", "") for one in seen if one.data.startswith('{"delta"'))
    return "".join(_said(one.data, protocol) for one in seen if one.event == "message" and one.data != DONE)


def _said(data: str, protocol: str) -> str:
    match protocol:
        case "plain":
            return data
        case "opaque" | "auto":
            return text_seen([Seen(None, one.event, one.data) for one in EventReader().feed(data.encode())], protocol)
        case _:
            part = _json(data)
            return str(part.get("delta", "")) if part.get("type") == "text-delta" else ""


def fault_in(seen: Seen, protocol: str) -> dict[str, Any] | None:
    """The fault that an event reports; None for any other event."""
    if protocol == "plain":
        return _json(seen.data) if seen.event in FAULT_EVENTS else None
    part = _json(seen.data)
    if protocol in BLOCKS:
        return dict(part["error"]) if seen.event == "error" and isinstance(part.get("error"), dict) else None
    return dict(part["data"]) if part.get("type") == FAULT_PART else None


def announces_saved(seen: Seen, protocol: str) -> str | None:
    """The id of the message that an event says is saved."""
    part = _json(seen.data)
    if protocol == "ui-message" and part.get("type") == "data-streamguard-persisted":
        return str(part["data"]["message_id"])
    if protocol == "plain" and seen.event == END_EVENT and part.get("persisted") == "yes":
        return str(part["message_id"])
    return None


def _json(text: str) -> dict[str, Any]:
    if not text.startswith("{"):
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
