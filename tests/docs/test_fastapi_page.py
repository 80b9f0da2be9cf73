"""The page about FastAPI: its exception handler answers, and its transaction commits what a whole answer did."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import ModuleType

import pytest

from streamguard.testing import GuardedApp

from .samples import run_page

pytestmark = pytest.mark.anyio


@pytest.fixture
def page() -> Iterator[ModuleType]:
    with run_page("docs/how-to/fastapi.md", redis_url="memory://") as module:
        yield module


async def test_a_failure_is_handled_and_rolled_back(page: ModuleType) -> None:
    async with GuardedApp(page.app, page.guard, prefix="/api/chat") as visitor:
        refused = await visitor.post({"id": "c1", "messages": []}, path="/api/orders")
        assert (refused.status, json.loads(refused.body)) == (402, {"detail": "Your trial has ended."})
        assert page.done == ["rollback"]
        answered = await visitor.post({"id": "c1", "messages": [{}]}, path="/api/orders")
        await answered.rest()
        assert answered.text == "ordered"
        await visitor.idle()
    assert page.done == ["rollback", "commit"]
