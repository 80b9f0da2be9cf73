"""AI SDK's own client, and what is stored of its chats: results of tools, approvals, saves that fail."""

from __future__ import annotations

import json

from ..harness.workers import Worker
from .test_clients import node, run_script

__all__ = ["node"]


def test_what_the_client_holds_is_what_is_stored(node: str) -> None:
    with Worker("tests.apps.tools:app") as worker:
        nowhere = {"APP_URL": worker.url, "APP_WITHOUT_STORE_URL": worker.url, "ANSWERS": json.dumps({})}
        run_script(node, "saving.test.mjs", {"SAVING_URL": worker.url, **nowhere})
