"""Every sample in TypeScript, TSX, Vue and Svelte type-checks in strict mode, with the packages that it imports.

By hand: `npm ci --prefix tests/docs/typescript`, then `pytest tests/docs/test_typescript.py`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from ..harness.tools import missing
from .samples import ROOT, run_page, serving

PACKAGES: Final = Path(__file__).parent / "typescript"
LANGUAGES: Final = ("ts", "tsx", "vue", "svelte")
FENCE: Final = re.compile(r"^```(?P<language>\w+) title=\"(?P<title>[^\"]+)\"\n(?P<body>.*?)^```$", re.M | re.S)
UNTITLED: Final = re.compile(rf"^```(?:{'|'.join(LANGUAGES)})\s*$", re.M)
OPTIONS: Final[dict[str, object]] = {
    "strict": True,
    "noUncheckedIndexedAccess": True,
    "exactOptionalPropertyTypes": True,
    "noEmit": True,
    "skipLibCheck": True,
    "target": "es2023",
    "lib": ["es2023", "dom", "dom.iterable", "dom.asynciterable"],
    "module": "esnext",
    "moduleResolution": "bundler",
    "jsx": "react-jsx",
    "types": ["node", "svelte"],
}
"""As Vite's and Next.js's templates have them, and stricter."""

slow = pytest.mark.slow
"""Of those that need the packages, which are installed on demand."""
pytestmark = [pytest.mark.processes, pytest.mark.timeout(400)]


def pages() -> Iterator[Path]:
    """The pages with samples that import public packages only. Those of our own package have a test of their own."""
    for page in sorted((ROOT / "docs").rglob("*.md")):
        if '"streamguard-client"' not in page.read_text():
            yield page


def samples() -> dict[Path, list[tuple[str, str, str]]]:
    """By page: each sample's language, title and text."""
    found = {}
    for page in pages():
        blocks = [(m["language"], m["title"], m["body"]) for m in FENCE.finditer(page.read_text())]
        blocks = [block for block in blocks if block[0] in LANGUAGES]
        if blocks:
            found[page] = blocks
    return found


def in_typescript(language: str, body: str) -> str:
    """The script of a component, as a module of its own."""
    if language in ("ts", "tsx"):
        return body
    script = re.search(r"<script[^>]*>\n(.*?)</script>", body, re.S)
    assert script is not None
    return script[1]


@pytest.fixture(scope="module")
def node() -> str:
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        missing("no Node.js 20 or later found: `apt-get install nodejs npm`, or see https://nodejs.org/")
    # Once for each lock file, by one of the processes that run tests.
    stamp, wanted = (
        PACKAGES / "node_modules" / ".installed",
        hashlib.sha256((PACKAGES / "package-lock.json").read_bytes()),
    )
    with (PACKAGES / "package.json").open() as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted.hexdigest():
            command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--omit=optional"]
            done = subprocess.run(command, cwd=PACKAGES, capture_output=True, timeout=240)
            if done.returncode != 0:
                said = done.stderr.decode(errors="replace")[-2000:]
                missing(f"the packages could not be installed: `npm ci --prefix tests/docs/typescript`\n{said}")
            stamp.write_text(wanted.hexdigest())
    return found


def check(node: str, place: Path, options: dict[str, object]) -> None:
    """Run the compiler on all files of a folder."""
    (place / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "include": ["**/*"]}))
    compiler = PACKAGES / "node_modules" / "typescript" / "bin" / "tsc"
    done = subprocess.run([node, str(compiler), "-p", "."], cwd=place, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_sample_has_a_title() -> None:
    """Its file's name, under which other samples of the pages import it."""
    for page in pages():
        assert not UNTITLED.search(page.read_text()), f'{page.name} has a sample without title="…"'


def test_the_pages_of_front_ends_have_samples() -> None:
    languages = Counter(language for blocks in samples().values() for language, _, _ in blocks)
    assert set(languages) == set(LANGUAGES)


@slow
def test_samples_type_check(node: str, tmp_path: Path) -> None:
    """In one project: the pages of one folder share their files, as a reader's do."""
    (tmp_path / "node_modules").symlink_to(PACKAGES / "node_modules")
    for page, blocks in samples().items():
        place = tmp_path / page.parent.relative_to(ROOT / "docs")
        for language, title, body in blocks:
            name = title if language in ("ts", "tsx") else f"{title}.ts"
            file = place / name
            file.parent.mkdir(parents=True, exist_ok=True)
            assert not file.exists(), f"{title} is on two pages of one folder"
            file.write_text(in_typescript(language, body))
    check(node, tmp_path, OPTIONS)


@slow
@pytest.mark.parametrize("major", [5, 6])
def test_the_samples_for_react_type_check_with_earlier_releases_of_ai_sdk(
    node: str, major: int, tmp_path: Path
) -> None:
    (tmp_path / "node_modules").symlink_to(PACKAGES / "node_modules")
    for _, title, body in samples()[ROOT / "docs/how-to/front-ends/usechat-in-full.md"]:
        (tmp_path / title).write_text(body)
    paths = {"ai": [f"./node_modules/ai-{major}"], "@ai-sdk/react": [f"./node_modules/react-for-{major}"]}
    check(node, tmp_path, {**OPTIONS, "paths": paths})


@slow
@pytest.mark.parametrize("language", ["vue", "svelte"])
def test_components_compile(node: str, language: str, tmp_path: Path) -> None:
    """Their templates too."""
    for blocks in samples().values():
        for of, title, body in blocks:
            if of == language:
                (tmp_path / title).write_text(body)
                command = [node, str(PACKAGES / "compile.mjs"), str(tmp_path / title)]
                done = subprocess.run(command, capture_output=True, text=True, timeout=60)
                assert done.returncode == 0, done.stdout + done.stderr


@slow
def test_the_plain_client_reads_an_answer_through_cuts(node: str, tmp_path: Path) -> None:
    """Against the page's own endpoint; the first connections break in mid-event."""
    page = "docs/how-to/front-ends/plain-javascript.md"
    (source,) = (body for _, title, body in samples()[ROOT / page] if title == "answer.ts")
    (tmp_path / "answer.ts").write_text(source)
    with run_page(page, redis_url="") as module, serving(module.app) as port:
        command = [node, str(PACKAGES / "read.mjs"), str(tmp_path / "answer.ts"), f"http://127.0.0.1:{port}/api/plain"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert "".join(told["pieces"]) == "an answer to 1 messages"
    assert len(told["requests"]) == 3
    assert told["nothing"] == []
    assert told["separators"] == ["a\u2028b\u2029"], "only CR and LF end lines"
    assert (told["refused"], told["repeated"]) == ("http_422", 1), "a request that FastAPI refuses is not repeated"
