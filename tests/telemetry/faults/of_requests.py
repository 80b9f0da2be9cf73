"""Requests that are refused before a stream begins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from starlette.exceptions import HTTPException

from streamguard import FaultCode, Run, Signal
from streamguard.quota import CallableQuota, Quota, QuotaCall
from streamguard.testing import GuardedApp

from .application import SESSION, Application
from .scenario import Scenario, Stage

__all__ = ["SCENARIOS"]

ONE_A_DAY: Final = Quota(1, "day", "requests")


async def bad_key(stage: Stage) -> None:
    app = stage.application()
    async with app.running() as chat:
        await stage.ask(app, chat, idempotency_key=f"two words {stage.canaries.key}")


async def bad_version(stage: Stage) -> None:
    app = stage.application()
    async with app.running() as chat:
        await stage.ask(app, chat, x_ai_sdk_version=f"one {stage.canaries.key}")


async def hosts_refusal(stage: Stage) -> None:
    async def refuse(app: Application, run: Run) -> AsyncIterator[object]:
        yield "one"  # before its first item this would be an answer of the framework's, and no fault
        raise HTTPException(422, detail=stage.canaries.bug)

    app = stage.application(script=refuse)
    async with app.running() as chat:
        await stage.ask(app, chat)


async def bad_session(stage: Stage) -> None:
    app = stage.application()
    async with app.running() as chat:
        await stage.ask(app, chat, session="..")


async def nobody(stage: Stage) -> None:
    app = stage.application()
    async with app.running() as chat:
        headers = {name: value for name, value in app.headers.items() if name != "x-user"}
        stranger = chat.visitor(headers)
        path = f"/api/chat?id={SESSION}&token={stage.canaries.query}"
        stage.keep(await stranger.post({"prompt": stage.canaries.prompt}, path=path))


async def other_site(stage: Stage) -> None:
    app = stage.application()
    async with app.running() as chat:
        await stage.ask(app, chat, origin="https://evil.example")


async def nothing_there(stage: Stage) -> None:
    app = stage.application()
    async with app.running() as chat:
        stage.keep(await chat.request("GET", f"/api/chat/{SESSION}/streams/unknown/raw?token={stage.canaries.query}"))


async def answering_already(stage: Stage) -> None:
    app = stage.application()
    async with app.running() as chat:
        await (await stage.ask(app, chat)).read(2)
        await stage.ask(app, chat)


async def key_of_another_request(stage: Stage) -> None:
    app = stage.application()
    async with app.running() as chat:
        await (await stage.ask(app, chat, idempotency_key=stage.canaries.key)).read(2)
        await stage.ask(app, chat, prompt=" again", idempotency_key=stage.canaries.key)


async def many_streams(stage: Stage) -> None:
    app = stage.application(max_streams_per_owner=1)
    async with app.running() as chat:
        await (await stage.ask(app, chat)).read(2)
        await stage.ask(app, chat, session="another")


async def full_process(stage: Stage) -> None:
    app = stage.application(max_streams_per_process=1)
    async with app.running() as chat:
        await (await stage.ask(app, chat)).read(2)
        await stage.ask(app, chat, session="another")


async def many_viewers(stage: Stage) -> None:
    app = stage.application(max_viewers_per_owner=1)
    async with app.running() as chat:
        await (await stage.ask(app, chat)).read(2)
        stage.keep(await chat.resume(SESSION))


async def many_resumes(stage: Stage) -> None:
    app = stage.application(max_resumes_per_minute=1)
    async with app.running() as chat:
        stage.keep(await chat.resume(SESSION))
        stage.keep(await chat.resume(SESSION))


async def long_prompt(stage: Stage) -> None:
    app = stage.application(max_request_bytes=10)
    async with app.running() as chat:
        await stage.ask(app, chat)


async def used_up(stage: Stage) -> None:
    app = stage.application(quota=ONE_A_DAY)
    async with app.running() as chat:
        await stage.ask(app, chat, whole=True)
        await stage.ask(app, chat)


def _refusing(error: Exception) -> CallableQuota:
    """A service of the host's that reserves nothing."""

    async def reserve(_: QuotaCall) -> None:
        raise error

    async def done(_: QuotaCall) -> None:
        """Nothing to do."""

    return CallableQuota(reserve, done, done)


async def service_away(stage: Stage) -> None:
    quotas = _refusing(OSError(f"https://user:{stage.canaries.quota_service}@quota.example is away"))
    app = stage.application(quota=ONE_A_DAY, quotas=quotas)
    async with app.running() as chat:
        await stage.ask(app, chat)


async def registration_fails(stage: Stage) -> None:
    app = stage.application(on_store_failure="fail")
    async with app.running() as chat:
        chat.store.fail("register")
        await stage.ask(app, chat)


async def resume_without_store(stage: Stage) -> None:
    app = stage.application()
    async with app.running() as chat:
        chat.store.fail("session")
        stage.keep(await chat.resume(SESSION))


async def stream_gone(stage: Stage) -> None:
    app = stage.application()
    async with app.running() as chat:
        await _resume_after(stage, chat, f"1.{'0' * 24}.1.7")


async def cursor_ahead(stage: Stage) -> None:
    app = stage.application()
    async with app.running() as chat:
        answer = await stage.ask(app, chat)
        await answer.read(2)
        assert answer.stream_id is not None
        await _resume_after(stage, chat, f"1.{answer.stream_id}.1.70000")


async def bad_cursor(stage: Stage) -> None:
    app = stage.application()
    async with app.running() as chat:
        await _resume_after(stage, chat, f"not a cursor {stage.canaries.cursor}")


async def _resume_after(stage: Stage, chat: GuardedApp, cursor: str) -> None:
    answer = stage.keep(await chat.resume(SESSION, after=cursor))
    if answer.is_stream:
        await answer.whole()


async def while_draining(stage: Stage) -> None:
    """A new question while an answer may still go on."""
    app = stage.application(drain_seconds=5.0)
    async with app.running() as chat:
        first = await stage.ask(app, chat)
        await first.read(2)
        stopping = asyncio.ensure_future(app.guard.drain())
        await chat.seen(Signal.DRAIN_STARTED)
        await stage.ask(app, chat, session="another")
        app.go.set()
        await stopping


SCENARIOS: Final = (
    Scenario(FaultCode.REQUEST_INVALID, "bad_key", bad_key),
    Scenario(FaultCode.REQUEST_INVALID, "bad_version", bad_version),
    Scenario(FaultCode.REQUEST_INVALID, "hosts_refusal", hosts_refusal),
    Scenario(FaultCode.SESSION_INVALID, "bad_session", bad_session),
    Scenario(FaultCode.UNAUTHENTICATED, "nobody", nobody),
    Scenario(FaultCode.FORBIDDEN_ORIGIN, "other_site", other_site),
    Scenario(FaultCode.NOT_FOUND, "nothing_there", nothing_there),
    Scenario(FaultCode.CONFLICT_ACTIVE, "answering_already", answering_already),
    Scenario(FaultCode.IDEMPOTENCY_CONFLICT, "key_of_another_request", key_of_another_request),
    Scenario(FaultCode.LIMIT_STREAMS, "many_streams", many_streams),
    Scenario(FaultCode.LIMIT_STREAMS, "full_process", full_process),
    Scenario(FaultCode.LIMIT_VIEWERS, "many_viewers", many_viewers),
    Scenario(FaultCode.LIMIT_RATE, "many_resumes", many_resumes),
    Scenario(FaultCode.PAYLOAD_TOO_LARGE, "long_prompt", long_prompt),
    Scenario(FaultCode.QUOTA_EXCEEDED, "used_up", used_up),
    Scenario(FaultCode.QUOTA_UNAVAILABLE, "service_away", service_away),
    Scenario(FaultCode.STORE_UNAVAILABLE, "registration_fails", registration_fails),
    Scenario(FaultCode.STORE_UNAVAILABLE, "resume_without_store", resume_without_store),
    Scenario(FaultCode.RESUME_FAILED, "cursor_ahead", cursor_ahead),
    Scenario(FaultCode.RESUME_FAILED, "stream_gone", stream_gone),
    Scenario(FaultCode.CURSOR_INVALID, "bad_cursor", bad_cursor),
    Scenario(FaultCode.SHUTTING_DOWN, "while_draining", while_draining),
)
