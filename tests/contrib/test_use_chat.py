"""What `useChat` shows of answers that adapters made is what is saved, in every release of `ai`.

All ways and cases of one adapter are read by one process of Node.
"""

from __future__ import annotations

import importlib
import json
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from ..clients.test_clients import node
from .guarded import Adapter, Case, Held, Told, answered

__all__ = ["node"]

pytestmark = pytest.mark.anyio

SCRIPT: Final = Path(__file__).parents[1] / "clients" / "shown.mjs"

WAYS: Final = {
    "pydantic_ai": ["events", "nodes", "stream", "chunks"],
    "langchain": ["loop", "events", "values", "modes"],
    "openai_agents": [""],
}
"""By adapter; see its module of runs."""

FIELDS: Final = ("type", "text", "toolName", "toolCallId", "state", "input", "output", "errorText", "data")
"""What of a part a page shows. Releases differ in what else they keep."""

Json = Any


def visible(message: Mapping[str, Json] | None) -> list[dict[str, Json]]:
    """The message's parts, as far as a page shows them."""
    parts = [] if message is None else message["parts"]
    return [{name: part[name] for name in FIELDS if part.get(name) is not None} for part in parts]


@pytest.mark.parametrize("adapter", WAYS)
async def test_what_is_shown_is_what_is_saved(adapter: str, node: str, tmp_path: Path) -> None:
    runs: Adapter = importlib.import_module(f"tests.contrib.{adapter}_runs")
    told: dict[str, tuple[Case, Told]] = {}
    for way in WAYS[adapter]:
        for case in Case:
            held = Held()
            stop_at = held.reached if case is Case.STOPPED else None
            told[f"{way}: {case}"] = case, await answered(partial(runs.items, case, way, held), stop_at=stop_at)
    recorded = [
        {
            "name": name,
            "status": one.status,
            "contentType": "text/event-stream" if one.parts else "application/json",
            "body": one.body.decode(),
        }
        for name, (_, one) in told.items()
    ]
    (tmp_path / "recorded.json").write_text(json.dumps(recorded))
    command = [node, str(SCRIPT), str(tmp_path / "recorded.json"), str(tmp_path / "shown.json")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    for release, shown in json.loads((tmp_path / "shown.json").read_text()).items():
        for name, (case, one) in told.items():
            seen = shown[name]
            where = f"{name}, in AI SDK {release}"
            failed = case in (Case.FAILS_FIRST, Case.FAILS_LATER)
            assert seen["status"] == ("error" if failed else "ready"), f"{where}: {seen['error']}"
            assert (seen["error"] is not None) is failed, where
            assert "own" not in str(seen["error"]), where  # what the provider said is none of the user's business
            assert visible(seen["message"]) == visible(one.message), where
