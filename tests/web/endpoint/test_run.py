from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from streamguard import Fault, FaultCode, Phase, Run, Severity
from tests.harness.sse import EventReader

from ..serving import calling, make_guard

pytestmark = pytest.mark.anyio


async def test_what_a_run_knows_and_does() -> None:
    guard = make_guard()
    seen: dict[str, object] = {}

    @guard.stream("request.query_params.id", message_id="request.query_params.message", protocol="plain")
    async def chat(request: Request, run: Run) -> AsyncIterator[str]:
        seen.update(
            session=run.session_id,
            owner=run.owner,
            stream=run.stream_id,
            message=run.message_id,
            request=run.request_id,
            stopped=run.stopped,
            resumable=run.resumable,
        )
        yield "word"
        run.notice("quota_pending", message="Soon.", phase=Phase.TOOL, reason="why", retryable=False, actions=("ask",))
        run.notice(Fault.of(FaultCode.PROVIDER_ERROR))
        await asyncio.to_thread(run.notice, FaultCode.QUOTA_PENDING)
        run.usage(tokens=3)
        run.usage(tokens=4)
        with pytest.raises(ValueError, match="tokens"):
            run.usage(tokens=-1)
        with pytest.raises(ValueError, match="tokens"):
            run.usage(tokens=True)
        with pytest.raises(ValueError, match="nonsense"):
            run.notice("nonsense")

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])])
    async with calling(app, guard) as client:
        answer = await client.post("/chat?id=s&message=m", headers={"X-Request-Id": "r"})
    assert seen == {
        "session": "s",
        "owner": "ann",
        "stream": answer.headers["x-stream-id"],
        "message": "m",
        "request": "r",
        "stopped": False,
        "resumable": True,
    }
    events = EventReader().feed(answer.content)
    notices = [Fault.from_json(event.data.encode()) for event in events if event.event == "streamguard.notice"]
    assert [event.event for event in events if event.event == "streamguard.error"] == []
    mine, other, threaded = notices
    assert (mine.severity, mine.message, mine.phase, mine.reason) == (Severity.WARNING, "Soon.", Phase.TOOL, "why")
    assert (mine.retryable, mine.actions, mine.session_id, mine.request_id) == (False, ("ask",), "s", "r")
    assert other.severity is Severity.ERROR  # only its end ends a stream
    assert threaded.code is FaultCode.QUOTA_PENDING
    assert events[-1].event == "streamguard.end"
