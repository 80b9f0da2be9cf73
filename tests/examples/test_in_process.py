"""The example in this process: what its endpoint does when its reader leaves, and when its store does."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from streamguard import Signal
from streamguard.testing import Ending, GuardedApp

from .live import EXAMPLE, chat_body, scripted_answer

pytestmark = pytest.mark.anyio


@pytest.fixture
def example_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """The example's main module, made anew: its settings come from the environment."""
    for name in ("DEMO_DATABASE_URL", "OPENAI_API_KEY", "SENTRY_DSN", "STREAMGUARD_URL", "STREAMGUARD_SETTINGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DEMO_GAP_MS", "0")
    monkeypatch.setenv("DEMO_TRUST_X_USER", "1")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path])
    modules = set(sys.modules)
    spec = importlib.util.spec_from_file_location("example_under_test", EXAMPLE / "main.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    for name in (spec.name, "model", "chats"):
        if name not in modules:
            sys.modules.pop(name, None)


@pytest.fixture
async def ann(example_module: ModuleType) -> AsyncIterator[GuardedApp]:
    async with GuardedApp(example_module.app, example_module.guard, headers={"X-User": "ann"}) as ann:
        yield ann


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


async def test_a_model_that_breaks_is_told_of_without_its_words(ann: GuardedApp) -> None:
    answer = await ann.post(chat_body("c1", "!crash"))
    await answer.rest()
    assert answer.text == scripted_answer("!crash")
    assert [fault.code for fault in answer.faults] == ["provider_error"]
    assert b"sk-secret" not in answer.body
    (seen,) = await ann.seen(Signal.FAULT)
    assert "sk-secret" in str(seen.error)


async def test_it_answers_without_its_store(ann: GuardedApp) -> None:
    ann.store.fail()
    answer = await ann.post(chat_body("c1", "Hello"))
    await answer.rest()
    assert answer.text == scripted_answer("Hello")
    assert [fault.code for fault in answer.faults] == ["not_resumable"]
    ann.store.heal()
    await ann.seen(Signal.BREAKER_CLOSED)
