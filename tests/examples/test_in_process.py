"""The example in this process: what its endpoint does when its reader leaves, and when its store does."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType

import httpx
import pytest

from streamguard import Signal
from streamguard.testing import Ending, GuardedApp

from ..harness.workers import ROOT
from .live import FRAMEWORKS, chat_body, directory_of, scripted_answer

pytestmark = pytest.mark.anyio


ON_BOTH = pytest.mark.parametrize("example_module", FRAMEWORKS, indirect=True)


@pytest.fixture
def example_module(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[ModuleType]:
    """The example's main module, made anew: its settings come from the environment."""
    for name in ("DEMO_DAILY_TOKENS", "DEMO_DATABASE_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL", "SENTRY_DSN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("STREAMGUARD_URL", "STREAMGUARD_SETTINGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DEMO_GAP_MS", "0")
    monkeypatch.setenv("DEMO_TRUST_X_USER", "1")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path])
    modules = set(sys.modules)
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)  # Litestar sets its own
    spec = importlib.util.spec_from_file_location(
        "example_under_test", directory_of(getattr(request, "param", "fastapi")) / "main.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    root.setLevel(level)
    root.handlers[:] = handlers
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(ROOT / "examples")):
            del sys.modules[name]


@pytest.fixture
async def ann(example_module: ModuleType) -> AsyncIterator[GuardedApp]:
    async with GuardedApp(example_module.app, example_module.guard, headers={"X-User": "ann"}) as ann:
        yield ann


@ON_BOTH
async def test_a_reader_that_leaves_misses_nothing(ann: GuardedApp) -> None:
    answer = await ann.post(chat_body("c1", "Hello"))
    await answer.read(10)
    answer.drop()
    again = await ann.resume("c1", after=answer.cursor)
    await again.rest()
    assert again.ending is Ending.CLEAN
    assert answer.text + again.text == scripted_answer("Hello")
    await ann.ended(answer)
    assert (await ann.visitor({"X-User": "bob"}).status("c1")).last is None


@ON_BOTH
async def test_a_model_that_breaks_is_told_of_without_its_words(ann: GuardedApp) -> None:
    answer = await ann.post(chat_body("c1", "!crash"))
    await answer.rest()
    assert answer.text == scripted_answer("!crash")
    assert [fault.code for fault in answer.faults] == ["provider_error"]
    assert b"sk-secret" not in answer.body
    (seen,) = await ann.seen(Signal.FAULT)
    assert "sk-secret" in str(seen.error)


async def test_saves_that_fail_twice_are_told_of_as_saved(ann: GuardedApp) -> None:
    answer = await ann.post(chat_body("c1", "!persist-flaky"))
    await answer.rest()
    assert answer.faults == []
    assert "data-streamguard-persisted" in [part["type"] for part in answer.parts]
    question, reply = await ann.messages("c1")
    assert (question.id, question.text, reply.text) == ("m1", "!persist-flaky", scripted_answer("!persist-flaky"))


async def test_saves_that_all_fail_are_told_of_and_owed(ann: GuardedApp) -> None:
    answer = await ann.post(chat_body("c1", "!persist-fail"))
    await answer.rest()
    assert answer.text == scripted_answer("!persist-fail")
    (fault,) = answer.faults
    assert (fault.code, fault.phase, fault.user_message_id) == ("persistence_failed", "persistence", "m1")
    assert fault.retryable
    assert fault.actions == ("resend", "download")
    assert answer.parts[-1]["type"] == "finish"
    await ann.seen(Signal.SAVE_OWED)
    last = (await ann.status("c1")).last
    assert last is not None
    assert last.persisted == "pending"


async def test_a_slow_save_is_told_of_before_it_is_done(ann: GuardedApp) -> None:
    answer = await ann.post(chat_body("c1", "!persist-slow 3500"))
    await answer.rest()
    assert [fault.code for fault in answer.faults] == ["persistence_pending"]
    await ann.seen(Signal.SAVE_RECOVERED)
    assert [message.persisted for message in await ann.messages("c1")] == ["yes", "yes"]


@ON_BOTH
async def test_what_is_not_text_is_kept_too(ann: GuardedApp) -> None:
    file = {"type": "file", "mediaType": "text/plain", "url": "data:,x"}
    text = {"type": "text", "text": "What is this?"}
    await (await ann.post({"id": "c1", "messages": [{"id": "q", "role": "user", "parts": [file, text]}]})).rest()
    question, _ = await ann.messages("c1")
    assert question.parts == (file, text)


async def test_it_answers_without_its_store(ann: GuardedApp) -> None:
    ann.store.fail()
    answer = await ann.post(chat_body("c1", "Hello"))
    await answer.rest()
    assert answer.text == scripted_answer("Hello")
    assert [fault.code for fault in answer.faults] == ["not_resumable"]
    ann.store.heal()
    await ann.seen(Signal.BREAKER_CLOSED)


@ON_BOTH
async def test_metrics_are_shown(ann: GuardedApp, example_module: ModuleType) -> None:
    answer = await ann.post(chat_body("c1", "Hello"))
    await answer.rest()
    await ann.ended(answer)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(example_module.app), base_url="http://x") as client:
        page = await client.get("/metrics/")
    assert page.headers["content-type"].startswith("text/plain; version=")
    assert 'outcome="completed"' in page.text
