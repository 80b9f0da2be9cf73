"""How labels and values are read from observations, and the buckets of histograms."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from ...faults import FaultCode, Phase
from ...observations import Observation, Signal
from ...unavailable import UnavailableReason
from ...values import Outcome
from ..reasons import told_reason
from ..safety import class_name, told_error_reason
from .metric import Label

__all__ = [
    "ANSWER",
    "BINDING",
    "BREAKING",
    "BYTES",
    "CODES",
    "ERROR_REASON",
    "FAST",
    "FAULT_REASON",
    "NOT_DURABLE",
    "OUTCOME",
    "PROTOCOL",
    "REASON",
    "RESUMED",
    "SAVED",
    "WHOLE",
    "YES_NO",
    "added_seconds",
    "breaker_open",
    "breaker_store",
    "code_of",
    "error_of",
    "field",
    "flag",
    "is_not_durable",
    "is_of_provider",
    "now",
    "number",
    "phase_of",
    "resume_reason",
]

FAST: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
"""For one round trip to a store, in seconds. 5 ms is the objective's mark for appends."""
ANSWER: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)
"""For what a visitor waits for, in seconds."""
WHOLE: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
"""For a whole answer, in seconds."""
BYTES: Final = (64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0)


def field(name: str) -> Callable[[Observation], object]:
    return lambda seen: seen.fields.get(name)


def number(name: str) -> Callable[[Observation], float | None]:
    def read(seen: Observation) -> float | None:
        value = seen.fields.get(name)
        with suppress(OverflowError):  # an integer that no float can be
            return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
        return None

    return read


def flag(name: str) -> Callable[[Observation], str]:
    return lambda seen: "yes" if seen.fields.get(name) else "no"


def breaker_open(store: str, measured: str) -> Callable[[Observation], float | None]:
    """1 while the breaker of a kind of store is open: as it said itself, and as is measured now and then."""

    def read(seen: Observation) -> float | None:
        if seen.name is Signal.PROCESS_MEASURED:
            return 1.0 if seen.fields.get(measured) == "open" else 0.0
        if breaker_store(seen) != store:
            return None
        return 1.0 if seen.name is Signal.BREAKER_OPENED else 0.0

    return read


def breaker_store(seen: Observation) -> object:
    return seen.fields.get("breaker") or "streams"


def code_of(seen: Observation) -> str | None:
    return None if seen.fault is None else str(seen.fault.code)


def phase_of(seen: Observation) -> str | None:
    return None if seen.fault is None else str(seen.fault.phase)


def error_of(seen: Observation) -> str | None:
    return None if seen.error is None else class_name(seen.error)


def _fault_reason(seen: Observation) -> str | None:
    return None if seen.fault is None else told_reason(seen.fault) or str(seen.fault.code)


def resume_reason(seen: Observation) -> object:
    if seen.name is Signal.RESUME_REFUSED:
        return _fault_reason(seen)
    return seen.fields.get("reason" if seen.name is Signal.RESUME_EMPTY else "state")


def added_seconds(seen: Observation) -> float | None:
    whole, provider = number("seconds")(seen), number("provider_seconds")(seen)
    return None if whole is None or provider is None else max(whole - provider, 0.0)


def now(_: Observation) -> float:
    return time.time()


YES_NO: Final = ("yes", "no")
ERROR_REASON: Final = Label("error_reason", lambda seen: told_error_reason(seen.error), tuple(UnavailableReason))
BINDING: Final = Label("binding", field("binding"))
PROTOCOL: Final = Label("protocol", field("protocol"))
OUTCOME: Final = Label("outcome", field("outcome"), tuple(Outcome))
REASON: Final = Label("reason", field("reason"))
FAULT_REASON: Final = Label("reason", _fault_reason)
CODES: Final = tuple(FaultCode)
RESUMED: Final = {Signal.STREAM_RESUMED: "resumed", Signal.RESUME_EMPTY: "empty", Signal.RESUME_REFUSED: "failed"}
SAVED: Final = {
    Signal.REPLY_SAVED: "saved",
    Signal.SAVE_FAILED: "failed",
    Signal.SAVE_OWED: "owed",
    Signal.SAVE_RECOVERED: "recovered",
    Signal.SAVE_BURIED: "buried",
}
BREAKING: Final = (Signal.PROCESS_MEASURED, Signal.BREAKER_OPENED, Signal.BREAKER_CLOSED)
NOT_DURABLE: Final = {
    Signal.STREAM_DEGRADED: "log",
    Signal.STREAM_ENDED: "message",
    Signal.SAVE_FAILED: "message",
    Signal.SAVE_BURIED: "message",
}
_FOR_GOOD: Final = ("conflict", "forbidden")
"""Reasons of a save that no attempt follows, and no dead letter."""


def is_not_durable(seen: Observation) -> bool:
    """Whether an answer is lost with this. A save that is owed is not, before it is given up; nor is one whose session
    was erased, or that was superseded, since its user wanted that; a settlement that is given up is no message."""
    match seen.name:
        case Signal.STREAM_ENDED:
            return bool(seen.fields.get("unsaved"))
        case Signal.SAVE_FAILED:
            return seen.fields.get("reason") in _FOR_GOOD
        case Signal.SAVE_BURIED:
            return seen.fault is None or seen.fault.code is FaultCode.PERSISTENCE_FAILED
        case _:
            return True


def is_of_provider(seen: Observation) -> bool:
    return seen.fault is not None and seen.fault.phase is Phase.PROVIDER
