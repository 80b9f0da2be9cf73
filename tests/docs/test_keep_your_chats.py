"""The tutorial about kept chats, step by step: what its reader does, and is promised to see."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from ..harness.waiting import wait_until
from .samples import blocks, run_page, serving

PAGE = "docs/tutorial/keep-your-chats.md"


def _parts(answer: httpx.Response) -> list[dict[str, object]]:
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]


def test_the_reader_sees_what_the_tutorial_promises(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    ((_, question),) = blocks(PAGE, "json")
    another = question.replace("c1", "c2").replace("m1", "m2")
    json_type = {"content-type": "application/json"}
    with (
        run_page(PAGE, redis_url=redis_url) as module,
        serving(module.app) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as reader,
    ):
        first, again = (
            reader.post("/api/chat", content=question, headers=json_type | {"Idempotency-Key": "first"})
            for _ in range(2)
        )
        assert first.text == again.text
        assert [part["type"] for part in _parts(first)][-2:] == ["data-streamguard-persisted", "finish"]
        kept = reader.get("/api/chat/c1/messages").json()["messages"]
        assert [(message["role"], message["persisted"]) for message in kept] == [("user", "yes"), ("assistant", "yes")]
        assert kept[1]["parts"][0]["text"].startswith("1 2 3 ")

        with closing(sqlite3.connect("chats.db", isolation_level=None)) as locker:
            locker.execute("BEGIN IMMEDIATE")
            answer = reader.post("/api/chat", content=another, headers=json_type | {"Idempotency-Key": "second"})
            assert '"code":"persistence_pending"' in answer.text
            assert _parts(answer)[-1] == {"type": "finish"}
            assert reader.get("/api/chat/c2").json()["last"]["persisted"] == "pending"
        wait_until(
            lambda: reader.get("/api/chat/c2").json()["last"]["persisted"] == "yes",
            description="it is saved",
            timeout=30,
        )
        with closing(sqlite3.connect("chats.db")) as connection:
            rows = connection.execute("SELECT role FROM streamguard_messages WHERE session_id = 'c2' ORDER BY position")
            assert rows.fetchall() == [("user",), ("assistant",)]
        raw = reader.get(f"/api/chat/c2/streams/{answer.headers['x-stream-id']}/raw")
        assert raw.text == kept[1]["parts"][0]["text"]
