"""Streams that endpoints return, as every release of AI SDK reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from streamguard.messages import MemoryMessageStore
from streamguard.testing import GuardedApp

from ..web.endpoint.returned_kinds import KINDS, QUESTION, Kind
from ..web.endpoint.test_recognised_responses import worker_of
from .test_clients import node, run_script

__all__ = ["node"]

VERSIONS: Final = ("5.0.0", "5.0.277", "6.0.0", "6.0.322", "7.0.0", "7.0.173")
OF_PARTS: Final = {name: kind for name, kind in KINDS.items() if kind.protocol.startswith("ui-message")}


async def body_of(app: GuardedApp, session: str, version: str, **query: str) -> str:
    path = "/chat?" + "&".join(f"{name}={value}" for name, value in {"id": session, **query}.items())
    headers = {"content-type": "application/json", "X-AI-SDK-Version": version}
    answer = await app.request("POST", path, body=json.dumps(QUESTION).encode(), headers=headers)
    return (await answer.whole()).decode()


async def answers_of(name: str, kind: Kind) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    async with worker_of("memory://", kind, MemoryMessageStore()) as app:
        for end, query in (("completed", {}), ("failed", {"fail": "1"})):
            bodies = {version: await body_of(app, f"{end}-{version}", version, **query) for version in VERSIONS}
            found.append({"kind": name, "end": end, "bodies": bodies, "text": kind.text})
        replayed = {}
        for version in VERSIONS:
            resumed = await app.request("GET", f"/api/chat/completed-{version}/stream")
            replayed[version] = (await resumed.whole()).decode()
        found.append({"kind": name, "end": "resumed", "bodies": replayed, "text": kind.text})
    return found


@pytest.mark.anyio
async def test_no_release_refuses_what_was_returned(node: str, tmp_path: Path) -> None:
    answers = [answer for name, kind in OF_PARTS.items() for answer in await answers_of(name, kind)]
    found = tmp_path / "answers.json"
    found.write_text(json.dumps(answers))
    run_script(node, "returned.test.mjs", {"ANSWERS": str(found)})
