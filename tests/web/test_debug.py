"""Development mode: the developer sees what went wrong; otherwise nobody reads an exception's text."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from streamguard import Settings, StreamGuard
from streamguard.faults import FaultCode
from streamguard.testing import GuardedApp

pytestmark = pytest.mark.anyio


class Body(BaseModel):
    id: str
    late: bool = False


def chatting(*, debug: bool | None = None, settings: Settings | None = None) -> GuardedApp:
    guard = StreamGuard(
        authenticate=lambda connection: "ann", settings=settings or Settings(drain_seconds=0.5), debug=debug
    )
    app = FastAPI(lifespan=guard.lifespan)

    @app.post("/api/chat")
    @guard.stream(session="body.id")
    async def chat(body: Body) -> AsyncIterator[str]:
        if body.late:
            yield "hello"
            await asyncio.sleep(0)
        users: dict[str, str] = {}
        yield users["secret-of-ann"]

    guard.install(app, "/api/chat")
    return GuardedApp(app, guard)


async def asked(visitor: GuardedApp) -> list[object]:
    """The `debug` of the fault, before the first byte and after it."""
    first = await visitor.post({"id": "c1"})
    late = await visitor.post({"id": "c2", "late": True})
    await late.rest()
    for answer in (first, late):
        (fault,) = answer.faults
        assert (fault.code, fault.status, fault.retryable) == (FaultCode.INTERNAL, 500, False)
    assert first.status == 500
    error = first.json()["error"]
    assert isinstance(error, dict)
    return [error.get("debug"), late.faults[0].debug]


async def test_without_it_the_log_names_class_and_own_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "streamguard")
    async with chatting() as visitor:
        assert await asked(visitor) == [None, None]
    assert "secret-of-ann" not in caplog.text
    assert "Traceback" not in caplog.text
    (first, *_) = [record.getMessage() for record in caplog.records if "streamguard.fault" in record.getMessage()]
    assert "error=KeyError" in first
    assert f'error_at="{__file__}:' in first
    assert "in chat" in first


@pytest.mark.parametrize("how", ["argument", "settings", "environment"])
async def test_with_it_log_and_fault_tell_everything(
    how: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "environment":
        monkeypatch.setenv("STREAMGUARD_DEBUG", "1")
    caplog.set_level(logging.WARNING, "streamguard")
    debug, settings = how == "argument" or None, Settings(drain_seconds=0.5, debug=how == "settings")
    async with chatting(debug=debug, settings=settings) as visitor:
        assert await asked(visitor) == ["KeyError: 'secret-of-ann'"] * 2
    assert 'yield users["secret-of-ann"]' in caplog.text
    assert "not for production" in caplog.text, "the operator is warned"


async def test_the_argument_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMGUARD_DEBUG", "1")
    async with chatting(debug=False) as visitor:
        assert await asked(visitor) == [None, None]
    monkeypatch.setenv("STREAMGUARD_DEBUG", "0")
    async with chatting() as visitor:
        assert await asked(visitor) == [None, None]
