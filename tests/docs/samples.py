"""The Python samples of a page, run as one program, and a server in this process for the application they make.

A page whose samples import streamguard is a whole program. On other pages they are fragments, run after the preamble.
Samples titled `test_….py` and `before.py` are apart: a test of that program, which `test_provider_pages.py` runs, and
what a reader has before migrating, which `test_migrating.py` runs with the library that it is written for.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
import textwrap
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from ..harness.waiting import wait_until

__all__ = ["ASKED_ELSEWHERE", "PAGES", "PROGRAMS", "ROOT", "SETS_UP_THE_PROCESS", "blocks", "run_page", "serving"]

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = [
    str(page.relative_to(ROOT))
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if "```python" in page.read_text()
]
"""Every page with a Python sample, as a path from the project's directory."""

_FENCE: Final = re.compile(
    r"^(?P<indent> *)```(?P<language>[a-z]+)(?P<info>[^\n]*)\n(?P<body>.*?)^(?P=indent)```$", re.M | re.S
)


_APART: Final = re.compile(r'title="(test_|before)')


def blocks(page: str, language: str, *, apart: bool = False) -> Iterator[tuple[int, str]]:
    """The line number and the text of each fenced block of one language: those that are apart with `apart`, and all
    others without."""
    text = (ROOT / page).read_text()
    for fence in _FENCE.finditer(text):
        if fence["language"] == language and (_APART.search(fence["info"]) is not None) is apart:
            yield text.count("\n", 0, fence.start("body")) + 1, textwrap.dedent(fence["body"])


_WHOLE: Final = [page for page in PAGES if any("from streamguard import" in text for _, text in blocks(page, "python"))]
"""The pages whose samples are a whole program."""

ASKED_ELSEWHERE: Final = (
    "docs/how-to/authentication.md",  # an application for each way to sign in
    "docs/how-to/jwt.md",  # answers only with a token
    "docs/how-to/postgresql.md",  # keeps its messages in PostgreSQL
    "docs/how-to/your-own-table.md",  # likewise
    "docs/how-to/litellm.md",  # LiteLLM blocks the loop now and then, which asynchronous tests refuse
    "docs/how-to/migrate/sse-starlette.md",  # speaks its own, as before
    "docs/how-to/proxy-a-provider.md",  # speaks a provider's protocol
)
"""Those whose program is asked by tests in `tests/contrib`, or by one of its own beside this module."""

_SETTING_UP: Final = ("sentry_sdk.init(", "structlog.configure(", "logging.basicConfig(")
SETS_UP_THE_PROCESS: Final = [page for page in PAGES if any(call in (ROOT / page).read_text() for call in _SETTING_UP)]
"""Those that run in a process of their own, which they change for good."""

PROGRAMS: Final = [page for page in _WHOLE if page not in ASKED_ELSEWHERE]
"""The pages whose program answers a chat of AI SDK's."""


@contextmanager
def run_page(
    page: str, *, redis_url: str, sections: MutableMapping[str, dict[str, object]] | None = None
) -> Iterator[ModuleType]:
    """Run a page's Python samples in order, in one module: a later sample may use what an earlier one made.

    The Redis that samples name by its usual address is replaced by `redis_url`. `sections` gets all names as they are
    at the end of each section, by its heading.
    """
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)  # an application of Litestar's sets its own
    events = logging.getLogger("streamguard.events")
    events_level = events.level
    module = ModuleType("sample_" + re.sub(r"\W", "_", page))
    if page not in _WHOLE:
        preamble = importlib.reload(importlib.import_module("tests.docs.preamble"))  # an application for each page
        vars(module).update({name: getattr(preamble, name) for name in preamble.__all__})
    sys.modules[module.__name__] = module  # annotations are resolved through it
    secrets = {
        "CHAT_SECRET": "made once for all workers",
        "CHAT_SECRET_BEFORE": "until last week it was this",
        "JWT_SECRET": "made once, of 32 bytes and a few more",
    }
    os.environ.update(secrets)
    try:
        for line, source in blocks(page, "python"):
            source = source.replace("redis://localhost:6379/0", redis_url)
            # Blank lines in front make tracebacks point at the page's own line.
            exec(compile("\n" * (line - 1) + source, str(ROOT / page), "exec"), vars(module))
            if sections is not None:
                sections[_heading_above(page, line)] = dict(vars(module))
        yield module
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
        events.setLevel(events_level)
        for name in secrets:
            os.environ.pop(name, None)  # the page beside which this one was run may have done so
        del sys.modules[module.__name__]
        app = getattr(module, "app", None)
        if getattr(app, "_is_instrumented_by_opentelemetry", False):  # which replaced a method of Starlette's
            importlib.import_module("opentelemetry.instrumentation.fastapi").FastAPIInstrumentor.uninstrument_app(app)


def _heading_above(page: str, line: int) -> str:
    lines = (ROOT / page).read_text().splitlines()[:line]
    return next(text.lstrip("# ") for text in reversed(lines) if text.startswith(("# ", "## ")))


@contextmanager
def serving(app: ASGIApp) -> Iterator[int]:
    """Serve `app` with uvicorn in a thread of this process; gives the port."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run, name="documentation-server")
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), description="the sample's server listens")
        assert server.started, "the sample's lifespan failed"
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive(), "the sample's server did not end"


if __name__ == "__main__":
    with run_page(sys.argv[1], redis_url=sys.argv[2]):
        pass
