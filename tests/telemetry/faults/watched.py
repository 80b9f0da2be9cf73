"""Everything that leaves the process, caught: Sentry's envelopes, log records, what structlog writes, and what else a
test notes."""

from __future__ import annotations

import contextvars
import gc
import json
import logging
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import sentry_sdk
import structlog
from sentry_sdk.integrations.asyncio import AsyncioIntegration
from sentry_sdk.integrations.logging import LoggingIntegration

from streamguard import ReportedFailureError
from streamguard.frames import raised_in
from tests.harness.sentry import sentry_client

from .canaries import Canaries
from .scenario import Provoked
from .sinks import Envelopes, Lines, Written

if TYPE_CHECKING:
    from sentry_sdk.integrations import Integration

__all__ = ["DRIVERS", "Watched", "texts_of_ours", "watching"]

DRIVERS: Final = (
    "aiosqlite",
    "sse_starlette",
    "sqlalchemy",
    "asyncpg",
    "asyncmy",
    "openai",
    "anthropic",
    "httpx",
    "httpcore",
    "httpx2",
    "httpcore2",
)
"""Loggers of others that show, at INFO or DEBUG, statements with their parameters, rows, URLs with their queries, or
requests with their bodies: whoever sets them so asks for that."""
_AROUND: Final = 160
"""Characters around a canary in a failure."""


class Watched:
    """What left the process, by sink."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self.envelopes = Envelopes()
        self.lines = Lines()
        self.written = Written()

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

    def note_errors(self, errors: Iterable[BaseException]) -> None:
        """What our own exceptions say wherever they are shown, in whatever chain they are."""
        for error in errors:
            self.note("exceptions", *texts_of_ours(error))

    def gather(self) -> None:
        """Note what sinks got since the last time. Exceptions that no task's owner has asked for are told of, too."""
        gc.collect()
        _capture_breadcrumbs()
        sentry_sdk.flush(2)
        self.note("sentry", *self.envelopes.taken())
        self.note("logging", *self.lines.taken())
        self.note("structlog", *self.written.taken())

    def leaks(self, canaries: Canaries) -> list[str]:
        """Which canary was found where."""
        found = []
        for sink, texts in self.texts.items():
            for text in texts:
                for name, at in canaries.places_in(text):
                    found.append(f"{sink}: {name}: {text[max(0, at - _AROUND) : at + 60]!r}")
        return found


def texts_of_ours(error: BaseException) -> Iterator[str]:
    """The texts, notes and attributes of those exceptions in a chain that this package made. The host's own, and its
    drivers', say what they want."""
    left: list[BaseException | None] = [error]
    seen: set[int] = set()
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        left += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            left += one.exceptions
        if _is_ours(one):
            yield f"{one} {one!r} {one.args!r} {one.__dict__!r} {getattr(one, '__notes__', ())!r}"


def _is_ours(error: BaseException) -> bool:
    """Made by this package; a `ReportedFailureError` has the provider's text on purpose."""
    if isinstance(error, ReportedFailureError) or type(error).__module__.partition(".")[0] != "streamguard":
        return False
    return raised_in(error) == "streamguard"


def _capture_breadcrumbs() -> None:
    """An event of the host's brings the breadcrumbs; from a stack without local variables of the test."""
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(sentry_sdk.capture_message, "the host's own", "error"))
    thread.start()
    thread.join()


@contextmanager
def watching(
    *, configured: bool, integrations: Sequence[Integration] = (), options: Mapping[str, Any] | None = None
) -> Iterator[Watched]:
    """Catch it all, with Sentry as the most careless host may have set it up and all loggers at DEBUG.

    The texts are there once the context is left, or `gather` was called.

    Args:
        configured: structlog is configured by the host, too.
        integrations: of Sentry's, besides those that can be undone. Others only in a process of its own.
        options: for `sentry_sdk.init`.
    """
    watched = Watched()
    noisy = ("", "asyncio", "streamguard", "sentry_sdk", "redis", "starlette", "uvicorn")
    levels = {name: logging.getLogger(name).level for name in (*noisy, *DRIVERS)}
    for name in noisy:
        logging.getLogger(name).setLevel(logging.DEBUG)
    for name in DRIVERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger().addHandler(watched.lines)
    if configured:
        structlog.configure(
            processors=[structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer(default=repr)],
            logger_factory=watched.written,
            cache_logger_on_first_use=False,
        )
    hosts = [AsyncioIntegration(), LoggingIntegration(level=logging.DEBUG, event_level=logging.ERROR), *integrations]
    try:
        with (
            warnings.catch_warnings(),
            sentry_client(
                integrations=hosts,
                dsn="http://key@127.0.0.1:9/1",
                transport=watched.envelopes,
                send_default_pii=True,
                include_local_variables=True,
                attach_stacktrace=True,
                max_request_body_size="always",
                max_value_length=1 << 20,
                traces_sample_rate=1.0,
                _experiments={"enable_logs": True},
                **(options or {}),
            ),
        ):
            # The integration wraps the coroutine of each task: that of one cancelled before it began never runs.
            warnings.filterwarnings("ignore", "coroutine '.*' was never awaited", RuntimeWarning)
            yield watched
            watched.gather()
    finally:
        structlog.reset_defaults()
        logging.getLogger().removeHandler(watched.lines)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
