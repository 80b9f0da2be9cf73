"""Sentry is imported by the host or not at all, and served also if that happens while a guard runs."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.processes, pytest.mark.repeats]

APPLICATION = """
import asyncio, logging, sys, types
import httpx
from fastapi import FastAPI
from streamguard import StreamGuard

async def user(connection):
    return "ann"

guard = StreamGuard(authenticate=user)
app = FastAPI()
"""

FAILS_BEFORE_AND_AFTER = """
@app.post("/api/chat")
@guard.stream("id")
async def chat(id: str):
    yield "half"
    raise RuntimeError("gone")

guard.install(app, "/api/chat")

async def main():
    async with guard, httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        await client.post("/api/chat?id=first")
        await guard.idle()
        assert "sentry_sdk" not in sys.modules
        import sentry_sdk
        events = []
        sentry_sdk.init("http://key@127.0.0.1:9/1", before_send=lambda event, hint: events.append(event))
        await client.post("/api/chat?id=second")
        await guard.idle()
        print(len(events), events[0]["tags"]["code"] if events else "")

asyncio.run(main())
"""


STUBBED = """
logging.basicConfig(stream=sys.stdout, format="%(message)s")

@app.post("/api/chat")
@guard.stream("id")
async def chat(id: str):
    yield "whole"

guard.install(app, "/api/chat")

async def answer(id):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answered = await client.post(f"/api/chat?id={id}")
        assert "whole" in answered.text, answered.text
    await guard.idle()

async def main():
    STUB_BEFORE
    async with guard:
        await answer("first")
        STUB_LATER
        await answer("second")
        await answer("third")

asyncio.run(main())
"""


def run(script: str) -> str:
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_importing_the_package_does_not_import_sentry() -> None:
    assert run("import sys, streamguard; print('sentry_sdk' in sys.modules)") == "False\n"


def test_sentry_that_is_set_up_after_a_guard_has_started() -> None:
    assert run(APPLICATION + FAILS_BEFORE_AND_AFTER).startswith("1 ")


def test_an_unknown_name_is_refused() -> None:
    script = "import streamguard.telemetry as t; print(hasattr(t, 'Other'), t.SentryObserver.__name__)"
    assert run(script) == "False SentryObserver\n"


@pytest.mark.parametrize("when", ["STUB_BEFORE", "STUB_LATER"])
@pytest.mark.parametrize("stub", ["None", "types.ModuleType('sentry_sdk')"])
def test_a_stub_in_its_place_breaks_no_stream_and_is_told_of_once(when: str, stub: str) -> None:
    """Tests of hosts put one there, so that nothing is sent."""
    script = APPLICATION + STUBBED.replace(when, f"sys.modules['sentry_sdk'] = {stub}")
    said = run(script.replace("STUB_BEFORE", "pass").replace("STUB_LATER", "pass"))
    assert said.count("observer_failed") == (0 if stub == "None" else 1)
