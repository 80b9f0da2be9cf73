"""`current_stream`: work on a stream says which stream it is about."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from fastapi import FastAPI, Request

from streamguard import Observation, StreamGuard
from streamguard.runtime.observers import Observers
from streamguard.scopes import StreamContext, Work, current_stream, scope
from streamguard.values import read_traceparent, trace_id_of
from tests.web.serving import calling, user_of

TRACE = f"00-{'ab' * 16}-{'cd' * 8}-01"
ABOUT = StreamContext(Work.SAVE, "ann", "s", "a" * 24, "msg_1", "req_1", TRACE)


class Scoped:
    """A sink that keeps which scopes were entered and left."""

    def __init__(self, fails: str = "") -> None:
        self.seen: list[str] = []
        self.fails = fails

    def __call__(self, observation: Observation) -> None:
        context = current_stream.get()
        if context is not None:
            self.seen.append(f"{observation.name} in {context.work}")

    @contextmanager
    def scope(self, context: StreamContext) -> Iterator[None]:
        if self.fails == "enter":
            raise ValueError
        self.seen.append(f"enter {context.work}")
        try:
            yield
        finally:
            self.seen.append(f"leave {context.work}")
            if self.fails == "leave":
                raise ValueError


def test_a_scope_is_left_with_what_it_was_entered() -> None:
    sink = Scoped()

    def fail() -> None:
        with scope(ABOUT, Observers((sink,))):
            assert current_stream.get() is ABOUT
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert current_stream.get() is None
    assert sink.seen == ["enter save", "leave save"]


@pytest.mark.parametrize("fails", ["enter", "leave"])
def test_a_sink_whose_scope_fails_hurts_nobody(fails: str) -> None:
    good = Scoped()
    observers = Observers((Scoped(fails), good))
    with scope(ABOUT, observers):
        pass
    assert observers.errors == 1
    assert good.seen == ["enter save", "leave save"]


@pytest.mark.anyio
async def test_all_work_on_a_stream_knows_the_stream_and_its_request() -> None:
    seen: list[StreamContext | None] = []
    sink = Scoped()
    guard = StreamGuard(authenticate=user_of, observers=(sink,))
    app = FastAPI()

    @app.post("/chat")
    @guard.stream("request.query_params.id", protocol="plain")
    async def chat(request: Request) -> AsyncIterator[str]:
        seen.append(current_stream.get())
        yield "hello"

    guard.install(app, "/chat")
    async with calling(app, guard) as client:
        answer = await client.post("/chat?id=s1", headers={"x-request-id": "req-7", "traceparent": TRACE})
        assert answer.status_code == 200
    (context,) = seen
    assert context is not None
    assert (context.session_id, context.request_id, context.trace) == ("s1", "req-7", TRACE)
    assert context.stream_id is not None
    assert context.message_id is not None
    for work in ("admit", "produce", "finalise", "view"):
        assert sink.seen.count(f"enter {work}") == sink.seen.count(f"leave {work}") == 1, work


@pytest.mark.parametrize(
    ("header", "trace_id"),
    [
        (TRACE, "ab" * 16),
        (None, None),
        ("", None),
        (TRACE.upper(), None),
        (f"00-{'0' * 32}-{'cd' * 8}-01", None),
        (f"00-{'ab' * 16}-{'0' * 16}-01", None),
        (TRACE + "\n", None),
        (TRACE + "-more", None),
    ],
)
def test_only_a_traceparent_names_a_trace(header: str | None, trace_id: str | None) -> None:
    assert trace_id_of(header) == trace_id


@pytest.mark.parametrize(
    ("header", "read"),
    [
        (TRACE, TRACE),
        (TRACE.removesuffix("01") + "ff", TRACE),
        (TRACE.removesuffix("01") + "02", TRACE.removesuffix("01") + "00"),
        ("cc" + TRACE[2:], TRACE),
        ("cc" + TRACE[2:] + "-what-a-later-version-has" * 500, TRACE),
        ("ff" + TRACE[2:], None),
        (TRACE + "-more", None),
        (TRACE[:-1], None),
        (TRACE[:-2] + "é1", None),
        ("00-" + "0" * 10_000, None),
        ("cc" + TRACE[2:] + "more", None),
        (None, None),
    ],
)
def test_a_traceparent_is_kept_as_version_00(header: str | None, read: str | None) -> None:
    assert read_traceparent(header) == read
