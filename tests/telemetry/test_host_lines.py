"""The host's own log lines say which stream they are about, wherever the host logs them, and however it set logging up.

The answers here are of hosts that log in their endpoint, in its threads and tasks, in what saves and counts, and in the
body of `guard.start`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from io import StringIO
from typing import Final

import anyio.to_thread
import pytest
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from streamguard import Observation, Run, Settings, Signal, StreamGuard, StreamGuardMiddleware, StreamRule
from streamguard.quota import CallableQuota, Quota, QuotaCall
from streamguard.stores.memory import MemoryStore
from streamguard.telemetry.logging import StructlogObserver, stream_context
from streamguard.telemetry.stdlib import StreamContextFilter
from streamguard.testing import GuardedApp
from tests.web.serving import USER, user_of

from .observed import QUICK, Told

pytestmark = pytest.mark.anyio

IDS: Final = ("session_id", "stream_id", "message_id", "request_id")
Lines = list[dict[str, object]]
Say = Callable[[str], object]
"""Logs one line of the host's own."""


DRAIN: Final = Observation(Signal.DRAIN_STARTED, fields={"streams": 1})


class Written(StringIO):
    @property
    def lines(self) -> Lines:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@contextmanager
def structlog_host(*processors: object, cached: bool = False) -> Iterator[tuple[Say, Written]]:
    """A host whose lines are JSON."""
    written = Written()
    logger = structlog.get_logger("host")
    structlog.configure(
        processors=[*processors, structlog.processors.JSONRenderer()],  # type: ignore[list-item]
        logger_factory=structlog.PrintLoggerFactory(written),
        cache_logger_on_first_use=cached,
    )
    try:
        yield logger.info, written
    finally:
        structlog.reset_defaults()


def with_our_processor() -> AbstractContextManager[tuple[Say, Written]]:
    return structlog_host(stream_context)


def with_structlogs_own() -> AbstractContextManager[tuple[Say, Written]]:
    return structlog_host(structlog.contextvars.merge_contextvars)


def with_both_and_a_cache() -> AbstractContextManager[tuple[Say, Written]]:
    return structlog_host(structlog.contextvars.merge_contextvars, stream_context, cached=True)


class AsJson(logging.Formatter):
    """As python-json-logger does: the attributes that are not of every record."""

    def format(self, record: logging.LogRecord) -> str:
        plain = logging.makeLogRecord({}).__dict__
        own = {name: value for name, value in record.__dict__.items() if name not in plain and name != "streamguard"}
        return json.dumps({"event": record.getMessage().split()[0], **own})


@contextmanager
def with_the_standard_library() -> Iterator[tuple[Say, Written]]:
    written, logger, root = Written(), logging.getLogger("host"), logging.getLogger()
    handler = logging.StreamHandler(written)
    handler.addFilter(StreamContextFilter())
    handler.setFormatter(AsJson())
    levels = root.level, logging.getLogger("streamguard").level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield logger.info, written
    finally:
        root.removeHandler(handler)
        root.setLevel(levels[0])


@contextmanager
def with_structlog_on_the_standard_library() -> Iterator[tuple[Say, Written]]:
    """As structlog's documentation renders both: https://www.structlog.org/en/stable/standard-library.html."""
    written, root = Written(), logging.getLogger()
    handler = logging.StreamHandler(written)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[stream_context],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(default=str),
            ],
        )
    )
    structlog.configure(
        processors=[stream_context, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield logging.getLogger("host").info, written
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        structlog.reset_defaults()


HOSTS: Final = (
    with_our_processor,
    with_structlogs_own,
    with_both_and_a_cache,
    with_the_standard_library,
    with_structlog_on_the_standard_library,
)


class Clearing:
    """A host's middleware that begins each request without the context variables of another."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(path=scope.get("path", ""))
        await self._app(scope, receive, send)


class Host:
    """A host that logs everywhere. Its database is away at first: the reply is saved by the reconciler."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.told = Told()
        self.away = True
        self.guard = StreamGuard(
            MemoryStore(),
            authenticate=user_of,
            messages=self.save,
            quota=CallableQuota(self.reserve, self.settle, self.settle),
            observers=(self.told,),
            settings=Settings.model_validate(QUICK),
        )

        @self.guard.stream("request.query_params.id", quota=Quota(10, "day", "requests"))
        async def chat(request: Request, run: Run) -> AsyncIterator[str]:
            say("host.endpoint")
            yield "one"
            await anyio.to_thread.run_sync(say, "host.thread")
            await asyncio.create_task(self.work())
            yield "two"

        @self.guard.stream("request.query_params.id")
        def answer(request: Request) -> Iterator[str]:
            say("host.sync_endpoint")
            yield "one"
            say("host.sync_endpoint_goes_on")

        self.app = Starlette(
            routes=[Route("/api/chat", chat, methods=["POST"]), Route("/api/answer", answer, methods=["POST"])],
            lifespan=self.guard.lifespan,
        )
        self.app.add_middleware(Clearing)
        self.guard.install(self.app, "/api/chat")

    async def work(self) -> None:
        self.say("host.task")

    async def save(self, _: object) -> None:
        self.say("host.save")
        if self.away:
            raise OSError("the database is away")
        self.say("host.saved")

    async def reserve(self, _: QuotaCall) -> None:
        self.say("host.reserve")

    async def settle(self, _: QuotaCall) -> None:
        self.say("host.settle")


SAID: Final = {
    "host.endpoint",
    "host.thread",
    "host.task",
    "host.save",
    "host.saved",
    "host.reserve",
    "host.settle",
    "host.sync_endpoint",
    "host.sync_endpoint_goes_on",
    "host.body",
}


async def play(host: Host) -> None:
    async with GuardedApp(host.app, host.guard, headers=USER) as chat:
        for path in ("/api/chat?id=s1", "/api/answer?id=s2"):
            answer = await chat.post({}, path=path)
            await answer.rest()
            await chat.ended(answer)
        await host.told.of(Signal.SAVE_OWED)
        host.away = False
        async with host.guard.start("ann", "s3") as run:
            host.say("host.body")
            await run.send("one")
        host.say("host.outside")
        await host.told.of(Signal.SAVE_RECOVERED)


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.__name__)
async def test_each_line_says_which_stream(host: Callable[[], AbstractContextManager[tuple[Say, Written]]]) -> None:
    with host() as (say, written):
        await play(Host(say))
        lines = written.lines
    said = [line for line in lines if str(line["event"]).startswith("host.")]
    assert {line["event"] for line in said} == {*SAID, "host.outside"}
    sessions = {"host.body": "s3", "host.sync_endpoint": "s2", "host.sync_endpoint_goes_on": "s2"}
    for line in said:
        ids = {name: line.get(name, "-") for name in IDS}
        if line["event"] == "host.outside":
            assert set(ids.values()) == {"-"}
        else:
            assert "-" not in ids.values(), line
            assert ids["session_id"] == sessions.get(str(line["event"]), ids["session_id"])
    ours = [line for line in lines if str(line["event"]).startswith("streamguard.")]
    of_one = {name: {line[name] for line in lines if line.get("session_id") == "s1"} for name in IDS}
    assert {name: len(values) for name, values in of_one.items()} == dict.fromkeys(IDS, 1)
    opened = [line for line in ours if line["event"] == Signal.STREAM_OPENED]
    assert len(opened) == 3, "each is logged once"
    assert all(line[name] for line in opened for name in IDS)


async def test_the_lines_of_an_application_behind_a_rule_do_too() -> None:
    """It knows nothing of its guard."""

    async def chat(request: Request) -> StreamingResponse:
        say("host.endpoint")

        async def chunks() -> AsyncIterator[str]:
            yield 'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'
            say("host.body")
            yield "data: [DONE]\n\n"

        return StreamingResponse(chunks(), media_type="text/event-stream")

    async def owner(_: object) -> str:
        say("host.owner")
        return "ann"

    async def session(_: object) -> str:
        return "s1"

    guard = StreamGuard(MemoryStore(), authenticate=owner, settings=Settings.model_validate(QUICK))
    inner = Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
    app = StreamGuardMiddleware(inner, guard=guard, rules=[StreamRule("/chat", session=session)])
    with with_our_processor() as (say, written):
        async with GuardedApp(app, guard) as visitor:
            answer = await visitor.post({}, path="/chat")
            await answer.rest()
            await visitor.ended(answer)
        lines = {str(line["event"]): line for line in written.lines}
    for event in ("host.endpoint", "host.body", Signal.STREAM_ENDED):
        assert all(lines[event].get(name) for name in IDS), lines[event]
    assert lines["host.owner"]["request_id"] == lines["host.endpoint"]["request_id"]


async def test_nothing_is_printed_where_nobody_set_logging_up(capsys: pytest.CaptureFixture[str]) -> None:
    await play(Host(lambda _: None))
    printed = capsys.readouterr()
    assert printed.out == ""


def test_a_host_that_undoes_its_set_up_is_logged_for_with_the_standard_library(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    observer = StructlogObserver()
    with structlog_host(stream_context, cached=True) as (_, written):
        observer(DRAIN)
        assert len(written.lines) == 1
    with caplog.at_level(logging.INFO):
        observer(DRAIN)
    assert caplog.messages == ["streamguard.drain_started streams=1"]
    with structlog_host(stream_context) as (_, again):
        observer(DRAIN)
    assert len(again.lines) == 1
    assert capsys.readouterr().out == ""


def fails(*_: object) -> str:
    raise RuntimeError("a processor of the host's")


@pytest.mark.parametrize(
    "broken",
    [
        {"processors": [fails]},
        {"processors": [structlog.processors.JSONRenderer()], "logger_factory": structlog.PrintLogger},
    ],
    ids=["processor", "factory"],
)
def test_a_structlog_that_cannot_log_costs_no_line(broken: dict[str, object], caplog: pytest.LogCaptureFixture) -> None:
    structlog.configure(**broken)  # type: ignore[arg-type]
    try:
        with caplog.at_level(logging.INFO):
            StructlogObserver()(DRAIN)
    finally:
        structlog.reset_defaults()
    assert caplog.messages == ["streamguard.drain_started streams=1"]


async def test_loggers_whose_methods_are_coroutines_are_used_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    structlog.configure(
        processors=[stream_context, structlog.stdlib.render_to_log_kwargs],
        wrapper_class=structlog.stdlib.AsyncBoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    try:
        with caplog.at_level(logging.INFO):
            StructlogObserver()(DRAIN)
    finally:
        structlog.reset_defaults()
    assert caplog.messages == ["streamguard.drain_started"]


def test_a_filter_keeps_what_a_record_has_and_names_what_is_missing() -> None:
    record = logging.makeLogRecord({"request_id": "the host's own"})
    assert StreamContextFilter().filter(record)
    assert (record.__dict__["request_id"], record.__dict__["stream_id"]) == ("the host's own", "-")
    record = logging.makeLogRecord({})
    StreamContextFilter(missing=None).filter(record)
    assert record.__dict__["stream_id"] is None
