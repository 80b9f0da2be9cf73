"""Each form that the page shows is sent as the page says. `python -m tests.docs.test_what_to_yield` writes it there."""

from __future__ import annotations

import asyncio
import json
import re
from types import ModuleType
from typing import Final

import pytest

from streamguard.testing import GuardedApp

from .samples import ROOT, run_page

pytestmark = pytest.mark.anyio

PAGE: Final = "docs/how-to/what-to-yield.md"
_SHOWN: Final = re.compile(
    r"^```python\n(?P<sample>(?:(?!```).)*?\"/api/(?P<path>[a-z]+)[^\n]*\n(?:(?!^```).)*?)^```\n\n"
    r"^```text\n(?P<sent>.*?)^```$",
    re.M | re.S,
)
_UNLIKE: Final = re.compile(
    r'(?P<name>"(?:fault_id|timestamp|session_id|stream_id|message_id|request_id|ended_at)":)"[^"]*"'
)


def shown() -> dict[str, str]:
    """What the page says is sent, by the path below `/api`."""
    return {found["path"]: found["sent"] for found in _SHOWN.finditer((ROOT / PAGE).read_text())}


async def sent(module: ModuleType, path: str) -> str:
    """What is sent, with `…` for what differs each time, without ids and blank lines."""
    target = "/api/starlette/c1" if path == "starlette" else f"/api/{path}"
    async with GuardedApp(module.app, module.guard) as client:
        answer = await client.post({"id": f"c-{path}"}, path=target)
        if not answer.is_stream:
            return f"HTTP {answer.status}\n{answer.body.decode() or json.dumps(answer.json())}\n"
        body = (await answer.whole()).decode()
    lines = [line for line in body.splitlines() if line and not re.match(r"id: 1\.[0-9a-f]{24}\.", line)]
    text = re.sub(r"msg_[0-9a-f]{24}", "msg_MESSAGE", "\n".join(lines) + "\n")
    text = re.sub(r"sg_[0-9a-f]{20}", "sg_FAULT", text)
    return _UNLIKE.sub(r'\g<name>"…"', text)


PATHS: Final = sorted(shown())


def test_every_form_is_shown() -> None:
    assert len(PATHS) == 15


@pytest.mark.parametrize("path", PATHS)
async def test_a_form_is_sent_as_shown(path: str) -> None:
    with run_page(PAGE, redis_url="memory://") as module:
        assert await sent(module, path) == shown()[path]


async def _write() -> None:
    page = ROOT / PAGE
    text = page.read_text()
    with run_page(PAGE, redis_url="memory://") as module:
        for found in reversed(list(_SHOWN.finditer(text))):
            text = text[: found.start("sent")] + await sent(module, found["path"]) + text[found.end("sent") :]
    page.write_text(text)


if __name__ == "__main__":
    asyncio.run(_write())
