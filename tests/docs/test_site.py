"""The built site: it builds strictly, so no internal link is dead, its search finds what readers look for, and links to
elsewhere have the form of one."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
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
    "EventSource": "how-to/what-to-yield/",
    "SQLAlchemy": "how-to/save-to-your-database/",
    "pydantic-ai": "how-to/pydantic-ai/",
    "OpenAI": "how-to/openai/",
    "204": "reference/http/",
}
"""What readers search for, and the page that they must find."""
SHOWN: Final = 5
"""How many pages a reader looks at."""
TITLE_BOOST: Final = 1_000
"""Of a word in a heading, as the theme's search has it."""

_SEPARATOR: Final = re.compile(r"[\s\-]+")
_TAG: Final = re.compile(r"<[^>]+>")
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


def ranked(sections: Sequence[Mapping[str, str]], query: str) -> list[str]:
    """Pages by their best section that has every word, as lunr's index finds them: in a heading first."""
    words = _SEPARATOR.split(query.lower())
    best: dict[str, int] = defaultdict(int)
    for section in sections:
        title = html.unescape(section["title"]).lower()
        text = html.unescape(_TAG.sub(" ", section["text"])).lower()
        if all(word in title or word in text for word in words):
            score = sum(TITLE_BOOST * (word in title) + text.count(word) for word in words)
            page = section["location"].partition("#")[0]
            best[page] = max(best[page], score)
    return sorted(best, key=lambda page: -best[page])


@pytest.mark.slow
def test_the_search_finds_what_readers_look_for(site: Path) -> None:
    sections = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    assert len(SEARCHED) == 20
    found = {query: ranked(sections, query)[:SHOWN] for query in SEARCHED}
    assert [(query, found[query]) for query, page in SEARCHED.items() if page not in found[query]] == []


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
    """Nothing is asked: whether they answer is looked at by hand."""
    seen = 0
    for page in [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for found in _LINK.finditer(page.read_text()):
            url = urlsplit(found[1] or found[2])
            seen += 1
            assert url.scheme == "https" or url.hostname in ("localhost", "127.0.0.1"), f"{page.name}: {url.geturl()}"
            assert url.hostname is not None, f"{page.name}: {url.geturl()}"
            assert re.fullmatch(r"[a-z0-9.-]+\.[a-z]{2,}|localhost|127\.0\.0\.1", url.hostname), url.geturl()
            assert "example" in url.hostname or not url.hostname.endswith(".local"), url.geturl()
    assert seen > 5
