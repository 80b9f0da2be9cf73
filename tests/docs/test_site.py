"""The built site: it builds strictly, so no internal link is dead, its search finds what readers look for, and links to
elsewhere have the form of one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
import yaml  # type: ignore[import-untyped] # has none

from ..harness.tools import missing
from .samples import ROOT

SEARCHED: Final[Mapping[str, str]] = {
    "JWT": "how-to/jwt/",
    "gunicorn": "how-to/deploy/servers/",
    "langchain": "how-to/langchain/",
    "StreamGuard": "reference/python/",
    "CORS": "how-to/authentication/",
    "Kubernetes": "how-to/deploy/kubernetes/",
    "nginx": "how-to/deploy/nginx/",
    "Caddy": "how-to/deploy/caddy/",
    "Docker": "how-to/deploy/docker/",
    "useChat": "how-to/use-with-usechat/",
    "quota": "how-to/limit-usage/",
    "Idempotency-Key": "how-to/idempotency/",
    "Sentry": "how-to/monitor-with-sentry/",
    "Redis Cluster": "how-to/redis/",
    "Sentinel": "how-to/redis/",
    "EventSource": "how-to/front-ends/event-source/",
    "SQLAlchemy": "how-to/save-to-your-database/",
    "pydantic-ai": "how-to/pydantic-ai/",
    "OpenAI": "how-to/openai/",
    "204": "reference/http/",
    "Anthropic": "how-to/anthropic/",
    "Celery": "how-to/answers-from-a-job/",
    "cookie": "how-to/authentication/",
    "Depends": "how-to/fastapi/",
    "GDPR": "explanation/security/",
    "graceful shutdown": "how-to/deploy/",
    "heartbeat": "reference/wire/",
    "LangGraph": "how-to/langgraph/",
    "Last-Event-ID": "reference/http/",
    "Litestar": "how-to/litestar/",
    "messages table": "how-to/your-own-table/",
    "Next.js": "how-to/front-ends/proxies/",
    "PostgreSQL": "how-to/postgresql/",
    "Prometheus": "how-to/metrics/",
    "pytest": "how-to/test-your-app/",
    "rate limit": "how-to/limit-usage/",
    "regenerate": "how-to/keep-messages/",
    "sse-starlette": "how-to/migrate/sse-starlette/",
    "StreamingResponse": "how-to/return-a-response/",
    "tenant": "how-to/authentication/",
    "timeout": "how-to/deploy/timeouts/",
    "tool calls": "how-to/what-to-yield/",
    "uvicorn": "how-to/deploy/servers/",
    "webhook": "how-to/answers-from-a-job/",
    "WebSocket": "how-to/symptoms/",
}
"""What readers search for, and the page that they must find."""
SHOWN: Final = 3
"""How many pages a reader looks at."""

HOSTS: Final = {
    "ai-sdk.dev",  # the protocol of `useChat`
    "datatracker.ietf.org",  # the draft about RateLimit headers
    "fastapi.tiangolo.com",
    "github.com",  # what people use now
    "html.spec.whatwg.org",  # server-sent events
    "semver.org",
    "www.npmjs.com",
    "www.python-httpx.org",
    "www.w3.org",  # trace context
}
"""Hosts that pages link to. A new one is added here once somebody has looked at what it answers."""

_LINK: Final = re.compile(r"\]\((https?:[^)\s]+)\)|<(https?:[^>\s]+)>")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `mkdocs build --strict` makes. Dead links and anchors between pages are warnings, and so errors."""
    if shutil.which("mkdocs", path=str(Path(sys.executable).parent)) is None:
        missing("no mkdocs found: `pip install --group test`")
    built = tmp_path_factory.mktemp("site")
    ran = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(built)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return built


def found(site: Path, queries: Sequence[str]) -> list[list[str]]:
    """The pages that the site's own search shows for each query, in its order."""
    node = shutil.which("node") or missing("no Node found: install Node 20 or newer")
    command = [node, str(Path(__file__).with_name("search_site.mjs")), str(site)]
    ran = subprocess.run(command, input="\n".join(queries), capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.mark.slow
def test_the_search_finds_what_readers_look_for(site: Path) -> None:
    answers = found(site, list(SEARCHED))
    assert len(answers) == len(SEARCHED) >= 40
    shown = [(query, pages[:SHOWN], page) for (query, page), pages in zip(SEARCHED.items(), answers, strict=True)]
    assert [one for one in shown if one[2] not in one[1]] == []


def test_the_how_to_index_lists_the_pages_as_the_navigation_does() -> None:
    """Under the same headings, in the same order."""
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    (guides,) = (one["How-to guides"] for one in nav if "How-to guides" in one)
    groups = {name: pages for group in guides[1:] for name, pages in group.items()}
    text = (ROOT / "docs/how-to/index.md").read_text()
    listed: dict[str, list[str]] = {}
    for section in text.split("\n## ")[1:]:
        pages = re.findall(r"^- \[.+?\]\((.+?)\)$", section, re.M)
        if pages:
            listed[section.partition("\n")[0]] = [f"how-to/{page}" for page in pages]
    assert guides[0] == "how-to/index.md"
    assert list(listed.items()) == list(groups.items())


@pytest.mark.parametrize(("title", "folder"), [("Explanation", "explanation"), ("Reference", "reference")])
def test_an_index_lists_the_pages_in_the_order_of_the_navigation(title: str, folder: str) -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    (pages,) = (one[title] for one in nav if title in one)
    listed = re.findall(r"^- \[.+?\]\((.+?)\)", (ROOT / f"docs/{folder}/index.md").read_text(), re.M)
    assert [f"{folder}/{page}" for page in ("index.md", *listed)] == pages


def test_links_to_elsewhere_have_the_form_of_one() -> None:
    """Nothing is asked: whether they answer is looked at by hand, host by host."""
    seen = set()
    for page in [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for found in _LINK.finditer(page.read_text()):
            url = urlsplit(found[1] or found[2])
            seen.add(url.hostname)
            assert url.scheme == "https" or url.hostname in ("localhost", "127.0.0.1"), f"{page.name}: {url.geturl()}"
            assert url.hostname is not None, f"{page.name}: {url.geturl()}"
            assert re.fullmatch(r"[a-z0-9.-]+\.[a-z]{2,}|localhost|127\.0\.0\.1", url.hostname), url.geturl()
            assert "example" in url.hostname or not url.hostname.endswith(".local"), url.geturl()
    assert seen - {"localhost", "127.0.0.1"} == HOSTS
