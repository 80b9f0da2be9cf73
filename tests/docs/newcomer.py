"""Ways into streamguard, tried as somebody new would: each in a fresh virtual environment, from its page alone.

`scripts/newcomer` runs them and prints how long each took; `scripts/newcomer jwt postgresql` runs only some.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ..contrib.upstream import provider
from ..harness.postgres import PostgresServer
from ..harness.redis import RedisServer
from .first_steps import Reader
from .samples import ROOT, blocks

__all__ = ["WAYS", "try_way"]

LIMIT_SECONDS: Final = 600.0
"""How long each way may take."""
NO_URL: Final = "redis://localhost:6379/0"
STRICT: Final = """{"compilerOptions": {"strict": true, "noEmit": true, "jsx": "react-jsx", "module": "esnext",
 "target": "es2022", "lib": ["es2022", "dom", "dom.iterable"], "moduleResolution": "bundler", "skipLibCheck": true,
 "types": []}, "include": ["*.ts", "*.tsx"]}"""


@contextmanager
def _reader(
    redis_url: str = NO_URL, *, instead: Mapping[str, str] | None = None, variables: Mapping[str, str] | None = None
) -> Iterator[Reader]:
    """Somebody with an empty directory and a fresh virtual environment."""
    place = Path(tempfile.mkdtemp(prefix="streamguard-newcomer-"))
    try:
        subprocess.run([sys.executable, "-m", "venv", str(place / "environment")], check=True, timeout=120)
        (place / "work").mkdir()
        reader = Reader(
            place / "work", place / "environment", ROOT, redis_url=redis_url, instead=instead, variables=variables
        )
        try:
            yield reader
        finally:
            reader.close()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _jwt() -> None:
    with _reader() as reader:
        reader.follow("docs/how-to/jwt.md")


def _redis() -> None:
    with RedisServer() as redis, _reader(redis.url) as reader:
        reader.follow("docs/tutorial/index.md")


def _postgresql() -> None:
    with PostgresServer() as postgres:
        instead = {"postgresql+asyncpg://postgres@localhost/postgres": postgres.url()}
        with _reader(instead=instead) as reader:
            reader.follow("docs/how-to/postgresql.md")


def _library(page: str) -> Callable[[], None]:
    """From its page's first command to its first answer, which is saved. A stand-in answers for the provider."""

    def run() -> None:
        with provider() as upstream:
            variables = {
                "OPENAI_BASE_URL": f"{upstream.url}/v1",
                "OPENAI_API_KEY": "a key",
                "ANTHROPIC_BASE_URL": upstream.url,
                "ANTHROPIC_API_KEY": "a key",
            }
            with _reader(variables=variables) as reader:
                reader.follow(page, until="## Tools")
                assert (reader.served, reader.compared) == (1, 2), page

    return run


def _usechat() -> None:
    """The page's component and samples, in a strict project, with the packed client."""
    page = "docs/how-to/javascript-client.md"
    place = Path(tempfile.mkdtemp(prefix="streamguard-newcomer-"))
    try:
        shutil.copytree(ROOT / "clients/javascript", place / "client", ignore=shutil.ignore_patterns("node_modules"))
        project = place / "project"
        project.mkdir()
        (project / "package.json").write_text('{"name": "newcomer", "private": true, "type": "module"}')
        (project / "tsconfig.json").write_text(STRICT)
        for language in ("tsx", "ts"):
            for number, (_, text) in enumerate(blocks(page, language)):
                (project / f"{language}{number}.{language}").write_text(text)
        _npm(place / "client", "ci")
        _npm(place / "client", "pack")
        (packed,) = (place / "client").glob("*.tgz")
        _npm(project, "install", "ai", "@ai-sdk/react", "react", "@types/react", "typescript", str(packed))
        subprocess.run(["npx", "tsc"], cwd=project, check=True, timeout=LIMIT_SECONDS)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _npm(directory: Path, *words: str) -> None:
    command = ["npm", *words, "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(command, cwd=directory, check=True, timeout=LIMIT_SECONDS, stdout=subprocess.DEVNULL)


WAYS: Final[Mapping[str, tuple[str, Callable[[], None]]]] = MappingProxyType(
    {
        "jwt": ("FastAPI with JWT", _jwt),
        "redis": ("two workers and Redis", _redis),
        "postgresql": ("PostgreSQL", _postgresql),
        "usechat": ("useChat in a strict TypeScript project", _usechat),
        "pydantic-ai": ("pydantic-ai", _library("docs/how-to/pydantic-ai.md")),
        "langgraph": ("LangGraph", _library("docs/how-to/langgraph.md")),
        "langchain": ("LangChain", _library("docs/how-to/langchain.md")),
        "openai": ("openai", _library("docs/how-to/openai.md")),
        "openai-agents": ("OpenAI Agents SDK", _library("docs/how-to/openai-agents.md")),
        "anthropic": ("anthropic", _library("docs/how-to/anthropic.md")),
        "litellm": ("LiteLLM", _library("docs/how-to/litellm.md")),
    }
)
"""Each way by the name that the command takes: what it is, and what follows it."""


def try_way(name: str) -> float:
    """Follow one way. Gives how long it took, in seconds.

    Raises:
        AssertionError: a command of the page failed, said something else than is shown, or it all took too long.
    """
    began = time.monotonic()
    WAYS[name][1]()
    seconds = time.monotonic() - began
    assert seconds < LIMIT_SECONDS, f"{name} took {seconds:.0f} s"
    return seconds


def main(names: list[str]) -> int:
    """Try ways, and print a line for each. 1 if one failed."""
    unknown = set(names) - set(WAYS)
    if unknown:
        print(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(WAYS)}", file=sys.stderr)
        return 2
    failed = False
    for name in names or WAYS:
        try:
            print(f"{WAYS[name][0]:<45} {try_way(name):6.1f} s", flush=True)
        except (AssertionError, subprocess.SubprocessError, OSError) as error:
            failed = True
            print(f"{WAYS[name][0]:<45} FAILED\n{error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        os.environ.setdefault("NO_PROXY", "localhost,127.0.0.1")
        sys.exit(main(sys.argv[1:]))
