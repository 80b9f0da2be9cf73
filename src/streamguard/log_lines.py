"""How this package logs: constant events with fields, through structlog as the host set it up, or else `logging`."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import structlog

from .frames import traceback_of

__all__ = ["AUDIT_LOGGER", "LOGGER", "LogEvent", "is_debugging", "is_logged", "log_line", "one_word", "standard_logger"]

LOGGER: Final = "streamguard"
"""The logger of everything but the audit trail."""
AUDIT_LOGGER: Final = "streamguard.audit"

_METHODS: Final[Mapping[int, str]] = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warning",
    logging.ERROR: "error",
}
_FLAT: Final = ("owner_hash", "session_id", "stream_id", "message_id", "request_id", "fault_id")
"""Fields that are attributes of the standard library's record too, for formatters that look for attributes."""
_NO_WORD: Final = re.compile(r'[\s"=]|^$')


class LogEvent(StrEnum):
    """What is logged beside the signals, at level `error` where nothing else is said."""

    AUDIT = "streamguard.audit"
    """A record of the audit trail, from `StructlogAudit`, at level `info`. Fields: those of the record."""
    AUDIT_FAILED = "streamguard.audit_failed"
    """The file of an audit trail cannot be written; once a minute while that lasts. Fields: path, error, errno,
    waiting, dropped."""
    AUDIT_DROPPED = "streamguard.audit_dropped"
    """No more audit records can wait for their file; once a minute while that lasts. Fields: path, dropped."""
    AUDIT_RECOVERED = "streamguard.audit_recovered"
    """The file of an audit trail is written again, at level `warning`. Fields: path, dropped."""
    AUDIT_LEFT = "streamguard.audit_left"
    """A guard stopped before all audit records were written; they wait for the end of the process. Fields: path,
    waiting."""
    AUDIT_LOST = "streamguard.audit_lost"
    """Audit records were dropped at the end of their sink or of the process. Fields: path, lost."""
    OBSERVER_FAILED = "streamguard.observer_failed"
    """An observer raised; once for each. Fields: observer, error, at: the signal that it was told, or what it did."""
    OBSERVER_SLOW = "streamguard.observer_slow"
    """An observer took more than 0.1 s for one call, during which this process did nothing else; once for each, at
    level `warning`. Fields: observer, at, seconds."""
    EVENTS_APPENDED = "streamguard.events_appended"
    """Events of a stream are in the log, at level `debug` of the logger `streamguard.events`. Fields: first_seq,
    last_seq; at, the Unix time; seconds, how long their append took."""
    EVENTS_SENT = "streamguard.events_sent"
    """Events of a stream were sent on one connection; level `debug`, of the same logger. Fields: first_seq,
    last_seq; woken_at, the Unix time when the connection's viewer learned of them; at, when they were handed to the
    server; seconds, how long it took them."""
    STORE_UNREACHABLE = "streamguard.store_unreachable"
    """Two probes of the stream store in a row failed, or the first of all did, though no request had noticed that it
    was away; once, at level `warning`. Fields: error, error_reason."""
    STORE_REACHABLE = "streamguard.store_reachable"
    """The stream store answers again, after `STORE_UNREACHABLE`, at level `info`."""
    REPEATED = "streamguard.repeated"
    """Lines at `warning` or above that were left out because many alike had been logged. It has their level. Fields:
    repeated: the event, code, reason and error that they had in common; count; and seconds, since the first of them."""


_loggers: Final[dict[str, logging.Logger]] = {}


def standard_logger(name: str) -> logging.Logger:
    """The standard library's logger of that name, which is one object for good: finding it takes a lock.

    Not before the guard runs: `logging.config.dictConfig` switches loggers off that there are already.
    """
    found = _loggers.get(name)
    if found is None:
        found = _loggers[name] = logging.getLogger(name)
    return found


def is_debugging(logger: str) -> bool:
    """Whether the host set that logger, by its own name, to `DEBUG`."""
    return 0 < (_loggers.get(logger) or standard_logger(logger)).level <= logging.DEBUG


def is_logged(logger: str, level: int) -> bool:
    """Whether a line of this level may go anywhere: what is not logged need not be made. structlog does not say."""
    return structlog.is_configured() or (_loggers.get(logger) or standard_logger(logger)).isEnabledFor(level)


def log_line(
    logger: str,
    level: int,
    event: str,
    fields: Mapping[str, object],
    *,
    error: BaseException | None = None,
    text: str | None = None,
) -> None:
    """Log one event. Never raises because of how the host set up structlog.

    Where it configured structlog, the event goes there, in whatever way it was configured at this moment; otherwise, or
    if that cannot log, to the standard library's logger, with the fields in the line and as `streamguard` on the
    record. structlog's own default is not used: it prints to standard output.

    Args:
        logger: the logger's name.
        level: one of the standard library's.
        event: a constant.
        fields: what the line has besides.
        error: whose traceback is logged too, as text, so that no formatter adds local variables: behind the line, or
            for structlog as `exception`, which is where its own processors put it.
        text: the fields as the line has them, in place of `name=value`.
    """
    event = str(event)
    if structlog.is_configured() and _through_structlog(logger, level, event, fields, error):
        return
    standard = standard_logger(logger)
    if standard.isEnabledFor(level):
        if text is None:
            text = " ".join(f"{name}={one_word(value)}" for name, value in fields.items())
        extra: dict[str, object] = {"streamguard": dict(fields), "streamguard_event": event}
        extra |= {name: fields[name] for name in _FLAT if name in fields}
        if error is not None:
            text = f"{text}\n{traceback_of(error)}"
        standard.log(level, "%s %s", event, text, extra=extra)


def one_word(value: object) -> str:
    """A value in a line of `name=value`: in quotes where it would not be one word."""
    text = str(value)
    if not text.isprintable():
        return json.dumps(text)
    return json.dumps(text, ensure_ascii=False) if _NO_WORD.search(text) else text


def _through_structlog(
    logger: str, level: int, event: str, fields: Mapping[str, object], error: BaseException | None
) -> bool:
    """Whether structlog logged it. A new logger each time: one that a host has cached keeps an old configuration."""
    try:
        bound = structlog.get_logger(logger).bind()
        if isinstance(bound, structlog.stdlib.AsyncBoundLogger):
            bound = bound.sync_bl  # its own methods are coroutines
        more = {} if error is None else {"exception": traceback_of(error)}
        getattr(bound, _METHODS[level])(event, **fields, **more)
    except BaseException as exc:  # a host's processor that raises must not cost the line
        if isinstance(exc, KeyboardInterrupt):
            raise
        return False
    return True
