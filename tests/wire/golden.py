"""The golden logs in `tests/data/golden`, and the hashes they fold to.

`python -m tests.wire.golden` rewrites the hashes and prints which changed: for a change of the fold that is meant.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streamguard.values import EventKind, Outcome
from streamguard.wire import UIMessage, protocol_named

__all__ = ["GOLDEN", "GoldenLog", "GoldenStream", "digest", "fold_streams", "load", "recorded_hashes", "write_hashes"]

DIRECTORY: Final = Path(__file__).resolve().parents[1] / "data" / "golden"
HASHES: Final = DIRECTORY / "hashes.json"
GOLDEN: Final = sorted(str(path.relative_to(DIRECTORY).with_suffix("")) for path in DIRECTORY.rglob("*.jsonl"))
"""Every log by name: `ui-message/answer`."""


@dataclass(frozen=True, slots=True)
class GoldenStream:
    """One stream of a reply."""

    outcome: Outcome
    last_seq: int
    """The last event before the closing parts."""
    held: tuple[bytes, ...]
    """Closing parts, as the seal has them."""
    events: tuple[tuple[EventKind, bytes], ...]
    """The whole log, its terminal record included."""

    @property
    def payloads(self) -> list[bytes]:
        """What the saved message is folded from."""
        said = [data for kind, data in self.events[: self.last_seq] if kind is EventKind.DATA]
        return [*said, *self.held]


@dataclass(frozen=True, slots=True)
class GoldenLog:
    """One reply: a stream, or several that continue one message."""

    protocol: str
    message_id: str
    streams: tuple[GoldenStream, ...]


def load(name: str) -> GoldenLog:
    """Read a golden log."""
    head, *lines = [json.loads(line) for line in (DIRECTORY / f"{name}.jsonl").read_text("utf-8").splitlines()]
    streams: list[GoldenStream] = []
    for line in lines:
        if isinstance(line, dict):
            held = tuple(part.encode() for part in line["held"])
            streams.append(GoldenStream(Outcome(line["outcome"]), line["last_seq"], held, ()))
        else:
            kind, data = line
            last = streams.pop()
            events = (*last.events, (EventKind(kind), data.encode()))
            streams.append(GoldenStream(last.outcome, last.last_seq, last.held, events))
    return GoldenLog(head["protocol"], head["message_id"], tuple(streams))


def fold_streams(log: GoldenLog, streams: Sequence[Sequence[bytes]]) -> UIMessage:
    """The message of some streams' payloads, one stream after the other, through storage in between."""
    protocol = protocol_named(log.protocol)
    message: UIMessage | None = None
    for payloads in streams:
        folding = protocol.folding(log.message_id, message)
        for payload in payloads:
            folding.add(payload)
        message = UIMessage.from_dict(json.loads(json.dumps(folding.message().as_dict())))
    assert message is not None
    return message


def digest(message: UIMessage) -> str:
    """SHA-256, in hex, of the message as JSON with sorted keys."""
    text = json.dumps(message.as_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def folded_hashes() -> dict[str, str]:
    """What each log folds to now."""
    logs = {name: load(name) for name in GOLDEN}
    return {name: digest(fold_streams(log, [one.payloads for one in log.streams])) for name, log in logs.items()}


def recorded_hashes() -> dict[str, str]:
    """What each log is to fold to."""
    hashes: dict[str, str] = json.loads(HASHES.read_text("utf-8"))
    return hashes


def write_hashes() -> list[str]:
    """Record what the logs fold to now. Returns the names whose hash changed."""
    before = recorded_hashes() if HASHES.exists() else {}
    after = folded_hashes()
    HASHES.write_text(json.dumps(after, indent=1, sort_keys=True) + "\n", "utf-8")
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


if __name__ == "__main__":
    for changed in write_hashes():
        print(changed)
