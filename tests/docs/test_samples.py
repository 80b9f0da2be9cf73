"""Every Python sample runs, every application made by one answers a chat, and the README shows what it really says."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from ..contrib.provider_chats import pointed_at
from ..contrib.upstream import Upstream, provider
from ..harness.sse import Ending, post_chat, resume, ui_text
from .samples import ASKED_ELSEWHERE, PAGES, PROGRAMS, ROOT, SETS_UP_THE_PROCESS, blocks, run_page, serving

pytestmark = pytest.mark.anyio


def _without_ids(text: str) -> str:
    text = re.sub(r"\b1\.[0-9a-f]{24}\.[0-9]{16}\.", "1.STREAM.EPOCH.", text)
    return re.sub(r"msg_[0-9a-f]{24}", "msg_MESSAGE", text)


def _cookies(headers: dict[str, str]) -> dict[str, str]:
    return {"Cookie": headers["set-cookie"].partition(";")[0]} if "set-cookie" in headers else {}


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page not in (*PROGRAMS, *ASKED_ELSEWHERE, *SETS_UP_THE_PROCESS)]
)
def test_fragments_run(page: str, redis_url: str) -> None:
    """Without a loop, as a module is imported: what samples construct may read files."""
    with run_page(page, redis_url=redis_url):
        pass


@pytest.mark.parametrize("page", SETS_UP_THE_PROCESS)
def test_fragments_run_in_a_process_of_their_own(page: str, redis_url: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.docs.samples", page, redis_url], cwd=ROOT, capture_output=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr.decode()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with provider() as one:
        yield one


@pytest.fixture
def program(
    request: pytest.FixtureRequest,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    upstream: Upstream,
) -> Iterator[ModuleType]:
    """A page's program, run without a loop too. The model of those that ask one is scripted."""
    monkeypatch.chdir(tmp_path)  # where it keeps its files
    with pointed_at(upstream), run_page(request.param, redis_url=redis_url) as module:
        yield module


@pytest.mark.parametrize("program", PROGRAMS, indirect=True)
async def test_programs_answer_a_chat_and_resume_it(program: ModuleType) -> None:
    with serving(program.app) as port:
        async with post_chat(port, "docs", "Hello") as whole:
            events = await whole.read_rest()
            assert whole.status == 200, bytes(whole.body)
            assert whole.ending is Ending.CLEAN
            assert events[-1].data == "[DONE]"
            assert ui_text(events)
        async with resume(port, "docs", events[1].id, headers=_cookies(whole.headers)) as rest:
            assert await rest.read_rest() == events[2:]


async def test_the_readme_shows_what_its_example_answers(redis_url: str) -> None:
    shown = "".join(text for _, text in blocks("README.md", "console"))
    with run_page("README.md", redis_url=redis_url) as module, serving(module.app) as port:
        async with post_chat(port, "c1", "Hello") as response:
            await response.read_rest()
        body = bytes(response.body).decode()
    assert _without_ids(body).strip() in _without_ids(shown)


def test_links_between_pages_lead_somewhere() -> None:
    """mkdocs checks its own pages; the README and the changelog are ours to check."""
    for name in ("README.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", (ROOT / name).read_text()):
            assert (ROOT / target).exists(), f"{name} links to {target}"
