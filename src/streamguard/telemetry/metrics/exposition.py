"""The page of metrics, of this process or of all workers that share `PROMETHEUS_MULTIPROC_DIR`."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.types import Receive, Scope, Send

from .multiprocess import DIRECTORY, is_multiprocess

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

__all__ = ["MetricsApp", "exposition"]

_LIVE_FILE: Final = re.compile(r"gauge_live[a-z]+_(\d+)\.db")


class MetricsApp:
    """Answers GET and HEAD with the metrics of a registry, uncompressed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. The metrics are read in a thread: with many workers that is many files."""
        if scope["type"] != "http":
            return
        status, kind, body = 405, "text/plain; charset=utf-8", b"only GET"
        if scope["method"] in ("GET", "HEAD"):
            accept = b",".join(value for name, value in scope["headers"] if name.lower() == b"accept")
            body, kind = await asyncio.to_thread(exposition, self._registry, accept.decode("latin-1"))
            status = 200
        headers = [
            (b"content-type", kind.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        if status == 405:
            headers.append((b"allow", b"GET, HEAD"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def exposition(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """The metrics in the format that `accept`, an HTTP header's text, asks for, and their media type."""
    shown = registry
    if is_multiprocess():
        directory = os.environ[DIRECTORY]
        _forget_the_dead(directory)
        shown = import_module("prometheus_client").CollectorRegistry()
        shown.register(_AllWorkers(directory))
    encode, kind = import_module("prometheus_client.exposition").choose_encoder(accept)
    return encode(shown), kind


class _AllWorkers:
    """Collects what the processes that share a directory have written.

    As `MultiProcessCollector`, but for a file that its process has just made and not filled yet: prometheus_client
    cannot read such a one, and the whole page would fail.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        """Every metric of every process."""
        merge = import_module("prometheus_client.multiprocess").MultiProcessCollector.merge
        found: Iterable[Metric] = merge([str(path) for path in Path(self._directory).glob("*.db") if _is_filled(path)])
        return found


def _is_filled(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:  # of a process that is gone
        return False


def _forget_the_dead(directory: str) -> None:
    """Remove what processes that are gone said of the moment, which no server does for all its workers."""
    for path in Path(directory).glob("gauge_live*.db"):
        if (found := _LIVE_FILE.fullmatch(path.name)) and not _lives(int(found[1])):
            path.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    """Whether a process runs. One that its server has not noticed the end of does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with suppress(OSError):  # where there is no such file, the system does not say
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] not in (b"Z", b"X")
    return True
