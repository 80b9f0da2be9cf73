"""The pages about providers and frameworks have one shape, and the test that each shows passes beside its program."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import httpx
import pytest

from ..contrib.provider_chats import KEYS, NOISE_OF_LIBRARIES, pointed_at
from ..contrib.upstream import provider
from ..examples.live import chat_body
from .samples import ROOT, blocks, run_page, serving

SHAPE = (
    "Install",
    "A minimal endpoint",
    "Run it",
    "Tools",
    "Usage and quota",
    "Errors",
    "What the client sees",
    "Messages",
    "Test it",
)
PAGES = ("openai", "anthropic", "litellm", "pydantic-ai", "langchain", "langgraph", "openai-agents")
OTHER = "docs/how-to/providers/any-other.md"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_every_part_in_its_place(page: str) -> None:
    text = (ROOT / f"docs/how-to/{page}.md").read_text()
    found = [heading for heading in re.findall(r"^## (.+)$", text, re.M) if heading in SHAPE]
    assert sorted(found) == sorted(SHAPE)
    assert (found[:4], found[-1]) == (["Install", "A minimal endpoint", "Run it", "Tools"], "Test it")


@pytest.mark.parametrize("page", PAGES)
def test_the_index_leads_to_every_page(page: str) -> None:
    assert f"](../{page}.md)" in (ROOT / "docs/how-to/providers/index.md").read_text()


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.timeout(260)
@pytest.mark.parametrize("page", [*PAGES, "providers/any-other"])
def test_the_test_that_a_page_shows_passes(page: str, tmp_path: Path) -> None:
    """As a reader runs it: the program in `chat.py`, the test beside it, and no provider."""
    path = f"docs/how-to/{page}.md"
    program = "\n\n".join(text for _, text in blocks(path, "python"))
    (shown,) = (text for _, text in blocks(path, "python", apart=True))
    (tmp_path / "chat.py").write_text(program)
    (tmp_path / "test_chat.py").write_text(shown)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-c", "/dev/null", "."],
        cwd=tmp_path,
        env={**os.environ, **dict.fromkeys(KEYS, "none"), "PYTHONPATH": ".", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        capture_output=True,
        text=True,
        timeout=240,  # a few seconds, on a machine that has nothing else to do
    )
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    assert "1 passed" in ran.stdout


@pytest.mark.filterwarnings(*NOISE_OF_LIBRARIES)  # that of the process's first use of a library
@pytest.mark.parametrize("page", [*PAGES, "providers/any-other"])
def test_the_first_program_saves_question_and_answer(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        provider() as upstream,
        pointed_at(upstream),
        run_page(f"docs/how-to/{page}.md", redis_url="") as module,
        serving(module.app) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as visitor,
    ):
        visitor.post("/api/chat", json=chat_body("c1", "Hello"))
        saved = visitor.get("/api/chat/c1/messages").json()["messages"]
    assert [message["role"] for message in saved] == ["user", "assistant"]


class _Run:
    """Counts what a sample tells of usage."""

    def __init__(self) -> None:
        self.tokens = 0

    def usage(self, *, tokens: int) -> None:
        self.tokens += tokens


@pytest.fixture
def other() -> Iterator[ModuleType]:
    with provider() as upstream, pointed_at(upstream), run_page(OTHER, redis_url="") as module:
        yield module


def _gemini(text: str, reason: str | None, tokens: int) -> SimpleNamespace:
    return SimpleNamespace(
        text=text,
        candidates=[SimpleNamespace(finish_reason=reason)],
        usage_metadata=SimpleNamespace(total_token_count=tokens),
    )


async def _each(*chunks: object) -> AsyncIterator[object]:
    for chunk in chunks:
        yield chunk


@pytest.mark.anyio
async def test_geminis_chunks_become_text_and_usage(other: ModuleType) -> None:
    run = _Run()
    chunks = _gemini("Good ", None, 5), _gemini("morning.", "STOP", 9)
    assert [part async for part in other.gemini_parts(_each(*chunks), run)] == ["Good ", "morning."]
    assert run.tokens == 9
    with pytest.raises(ConnectionError):
        async for _ in other.gemini_parts(_each(chunks[0]), run):
            pass


def test_bedrocks_events_become_text_and_usage(other: ModuleType) -> None:
    run = _Run()
    events: list[dict[str, object]] = [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockDelta": {"delta": {"text": "Good "}, "contentBlockIndex": 0}},
        {"contentBlockDelta": {"delta": {"text": "morning."}, "contentBlockIndex": 0}},
        {"contentBlockStop": {"contentBlockIndex": 0}},
        {"messageStop": {"stopReason": "end_turn"}},
        {"metadata": {"usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}}},
    ]
    assert list(other.converse_parts({"stream": events}, run)) == ["Good ", "morning."]
    assert run.tokens == 7
    with pytest.raises(ConnectionError):
        list(other.converse_parts({"stream": events[:3]}, run))


@pytest.mark.anyio
async def test_ollamas_lines_become_text_and_usage(other: ModuleType) -> None:
    lines = [
        '{"message":{"role":"assistant","content":"Good "},"done":false}',
        '{"message":{"role":"assistant","content":"mor\u0085ni\u2028ng."},"done":false}',
        '{"message":{"role":"assistant","content":""},"done":true,"prompt_eval_count":3,"eval_count":4}',
    ]

    def client(answer: list[str]) -> httpx.AsyncClient:
        transport = httpx.MockTransport(lambda request: httpx.Response(200, text="\n".join(answer)))
        return httpx.AsyncClient(transport=transport, base_url="http://localhost:11434")

    run = _Run()
    async with client(lines) as whole:
        assert [part async for part in other.ollama_parts(whole, "qwen3", [], run)] == ["Good ", "mor\u0085ni\u2028ng."]
    assert run.tokens == 7
    for answer in (lines[:1], ['{"error":"out of memory"}']):
        async with client(answer) as broken:
            with pytest.raises(ConnectionError):
                async for _ in other.ollama_parts(broken, "qwen3", [], run):
                    pass
