"""Everything that leaves the process, caught: Sentry's envelopes, log records, what structlog writes, observations."""

from __future__ import annotations

import contextvars
import gc
import io
import json
import logging
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import sentry_sdk
import structlog
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.asyncio import AsyncioIntegration
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.transport import Transport

from tests.harness.sentry import sentry_client

from .canaries import Canaries
from .scenario import Provoked

__all__ = ["Watched", "watching"]

NOISY: Final = ("asyncio", "streamguard", "sentry_sdk", "redis", "")
"""Loggers that have to be at DEBUG."""


class Envelopes(Transport):
    """Keeps the bytes of every envelope that would be sent."""

    def __init__(self) -> None:
        super().__init__({})
        self.sent: list[bytes] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        buffer = io.BytesIO()
        envelope.serialize_into(buffer)
        self.sent.append(buffer.getvalue())


class Lines(logging.Handler):
    """Keeps what a careless formatter would write: the message, all of the record, and its traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{record.name} {record.getMessage()} {record.__dict__!r}"
        if record.exc_info and record.exc_info[1] is not None:
            text += "".join(traceback.format_exception(record.exc_info[1]))
        self.lines.append(text)


class Written:
    """What structlog writes, as a host with JSON lines and tracebacks has it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, *args: object) -> Written:
        return self

    def msg(self, line: str) -> None:
        self.lines.append(line)

    debug = info = warning = error = critical = exception = log = msg


class Watched:
    """What left the process, by sink. A sink that joins adds its texts."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}

    def note(self, sink: str, *texts: str | bytes) -> None:
        plain = [text.decode("utf-8", "replace") if isinstance(text, bytes) else text for text in texts]
        self.texts.setdefault(sink, []).extend(plain)

    def note_answers(self, provoked: Provoked) -> None:
        """What clients were told besides the answer itself: every fault, every refusal, every header."""
        for answer in provoked.answers:
            self.note("headers", repr(answer.headers))
            self.note("faults", *(json.dumps(fault.as_dict()) for fault in answer.faults))
            if not answer.is_stream and answer.faults:
                self.note("refusals", answer.body)

    def leaks(self, canaries: Canaries) -> list[str]:
        """Which canary was found where."""
        found = []
        for sink, texts in self.texts.items():
            for text in texts:
                for name in canaries.found_in(text):
                    at = text.index(getattr(canaries, name))
                    found.append(f"{sink}: {name}: {text[max(0, at - 160) : at + 60]!r}")
        return found


def _capture_breadcrumbs() -> None:
    """An event of the host's brings the breadcrumbs; from a stack without local variables of the test."""
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(sentry_sdk.capture_message, "the host's own", "error"))
    thread.start()
    thread.join()


@contextmanager
def watching(*, configured: bool) -> Iterator[Watched]:
    """Catch it all, with Sentry as the most careless host may have set it up and all loggers at DEBUG.

    `configured`: structlog is configured by the host, too. The texts are there once the context is left.
    """
    watched, envelopes, lines, written = Watched(), Envelopes(), Lines(), Written()
    levels = {name: logging.getLogger(name).level for name in NOISY}
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.DEBUG)
    logging.getLogger().addHandler(lines)
    if configured:
        structlog.configure(
            processors=[structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer(default=repr)],
            logger_factory=written,
            cache_logger_on_first_use=False,
        )
    hosts = [AsyncioIntegration(), LoggingIntegration(level=logging.DEBUG, event_level=logging.ERROR)]
    try:
        with (
            warnings.catch_warnings(),
            sentry_client(
                integrations=hosts,
                dsn="http://key@127.0.0.1:9/1",
                transport=envelopes,
                send_default_pii=True,
                include_local_variables=True,
                attach_stacktrace=True,
                max_request_body_size="always",
                traces_sample_rate=1.0,
                _experiments={"enable_logs": True},
            ),
        ):
            # The integration wraps the coroutine of each task: that of one cancelled before it began never runs.
            warnings.filterwarnings("ignore", "coroutine '.*' was never awaited", RuntimeWarning)
            yield watched
            gc.collect()  # which tells of exceptions that no task's owner has asked for
            _capture_breadcrumbs()
            sentry_sdk.flush(2)
    finally:
        structlog.reset_defaults()
        logging.getLogger().removeHandler(lines)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    watched.note("sentry", *envelopes.sent)
    watched.note("logging", *lines.lines)
    watched.note("structlog", *written.lines)
