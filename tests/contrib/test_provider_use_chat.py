"""What `useChat` shows of the chats of the how-to pages on providers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamguard.wire.ui_message.client_versions import VERSIONS

from ..clients.test_clients import node, run_script
from .provider_chats import CHATS, NOISE_OF_LIBRARIES, WITH_TOOLS, Chat, chats
from .upstream import provider

__all__ = ["node"]

pytestmark = [pytest.mark.filterwarnings(*NOISE_OF_LIBRARIES), pytest.mark.repeats]


@pytest.fixture
def served() -> Iterator[dict[str, Chat]]:
    """All chats."""
    with (
        provider() as upstream,
        chats("openai", upstream) as one,
        chats("anthropic", upstream) as two,
        chats("litellm", upstream) as three,
    ):
        yield one | two | three


def test_what_every_release_of_use_chat_shows(node: str, served: dict[str, Chat], tmp_path: Path) -> None:
    """Text, a loop of tools, stops and failures, as each release of `ai` reads them."""
    answers: list[dict[str, object]] = []
    for name, chat in served.items():
        for script in ("Hello", "!tools", "!hold", "!reset"):
            if script == "!tools" and name not in WITH_TOOLS:
                continue
            for version in VERSIONS.values():
                if script != "!tools" and version.name not in ("5.0.0", "7.0.173"):
                    continue
                stop_at = "tool-input-delta" if script == "!hold" else ""
                answer = chat.ask(script, stop_at=stop_at, version=version.name)
                answers.append(
                    {
                        "name": f"{name}: {script}",
                        "version": version.name,
                        "wire": answer.body + "\n\n",
                        "parts": answer.reply["parts"],
                        "outcome": answer.reply["outcome"],
                    }
                )
    assert len(answers) == 2 * 3 * len(CHATS) + 6 * len(WITH_TOOLS)
    found = tmp_path / "answers.json"
    found.write_text(json.dumps(answers))
    run_script(node, "contrib.test.mjs", {"ANSWERS": str(found)})
