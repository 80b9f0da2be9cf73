"""The page of metrics of servers with several workers: each worker answers for all, also for one that is gone."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import httpx
import psutil
import pytest

from streamguard.telemetry.metrics import PREFIX, TABLE, Merging
from tests.harness.ports import free_port
from tests.harness.starting import serving
from tests.harness.waiting import wait_until

from .meter import Meter, accepted

pytestmark = [pytest.mark.processes, pytest.mark.long]

PROGRAM: Final = """
import asyncio, os
from collections.abc import AsyncIterator
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from streamguard import Settings, StreamGuard
from streamguard.runtime.upkeep import measuring
from streamguard.telemetry.metrics import PrometheusMetrics

measuring.MEASURE_ROUNDS = 1  # a second instead of five

async def user(connection: HTTPConnection) -> str:
    return "ann"

metrics = PrometheusMetrics(variant="stable")
settings = Settings(lease_seconds=1.0, heartbeat_seconds=0.2, sweep_seconds=0.2, drain_seconds=0.5)
guard = StreamGuard(os.environ["SHOP_REDIS"], authenticate=user, observers=(metrics,), settings=settings)

@guard.stream("request.query_params.id", binding="chat")
async def chat(request: Request) -> AsyncIterator[str]:
    yield str(os.getpid())
    while "endless" in request.query_params:
        await asyncio.sleep(0.05)
        yield "and so on"

async def pid(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(os.getpid()))

routes = [Route("/api/chat", chat, methods=["POST"]), Route("/pid", pid), Mount("/metrics", metrics.asgi_app())]
app = Starlette(routes=routes, lifespan=guard.lifespan)
guard.install(app, "/api/chat")
"""

SERVERS: Final = {
    "uvicorn": "uvicorn shop:app --workers 2 --port {port} --no-access-log",
    "gunicorn": "gunicorn shop:app -k uvicorn_worker.UvicornWorker -w 2 -b 127.0.0.1:{port} --no-control-socket",
    "gunicorn-preload": "gunicorn shop:app -k uvicorn_worker.UvicornWorker -w 2 -b 127.0.0.1:{port} --preload "
    "--no-control-socket",
}


class Server:
    """A server of two workers, on a port. `directory` is where they keep their metrics."""

    def __init__(self, port: int, parent: int, directory: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._parent = parent
        self._directory = directory

    def workers(self) -> set[int]:
        """The processes that have metrics, and live."""
        found = {int(file.stem.partition("_")[2]) for file in self._directory.glob("counter_*.db")}
        return {pid for pid in found - {self._parent} if _runs(pid)}

    @contextmanager
    def only(self, worker: int) -> Iterator[None]:
        """Let one worker take the connections: which of several does is left to chance otherwise."""
        others = self.workers() - {worker}
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)

    def worker(self) -> int:
        """The process that answers a new connection."""
        return int(httpx.get(f"{self.url}/pid").text)

    def page(self) -> str:
        """The metrics, from whichever worker."""
        answer = httpx.get(f"{self.url}/metrics/")
        assert answer.status_code == 200
        return answer.text

    def pages(self) -> list[str]:
        """The metrics from each worker."""
        found = []
        for worker in self.workers():
            with self.only(worker):
                assert self.worker() == worker
                found.append(self.page())
        return found


@contextmanager
def running(command: str, directory: Path, redis_url: str) -> Iterator[Server]:
    port = free_port()
    (directory / "shop.py").write_text(PROGRAM)
    metrics = directory / "metrics"
    metrics.mkdir()
    words = shlex.split(command.format(port=port))
    env = {
        **os.environ,
        "PYTHONPATH": str(directory),
        "SHOP_REDIS": redis_url,
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),
    }

    def ready(server: psutil.Process) -> bool:
        shop = Server(port, server.pid, metrics)
        return _answers(shop) and len(shop.workers()) == 2

    with serving(words, directory, env=env, ready=ready) as server:
        yield Server(port, server.pid, metrics)


def _runs(pid: int) -> bool:
    """Whether a process is there, and not only waits for its parent to notice that it has ended."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _answers(shop: Server) -> bool:
    try:
        shop.worker()
    except httpx.TransportError:
        return False
    return True


@contextmanager
def streaming(shop: Server, session: str) -> Iterator[int]:
    """An endless answer, and the worker that gives it."""
    with httpx.stream("POST", f"{shop.url}/api/chat?id={session}&endless=1", json={}, timeout=20) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if '"delta":"' in line:
                yield int(line.partition('"delta":"')[2].partition('"')[0])
                return


@pytest.mark.parametrize("name", SERVERS)
def test_any_worker_answers_for_all(name: str, redis_url: str, tmp_path: Path) -> None:
    with running(SERVERS[name], tmp_path, redis_url) as shop, ExitStack() as open_answers:
        meter = Meter(shop.page)
        dying, living = sorted(shop.workers())
        for session, worker in enumerate((dying, living, dying)):
            with shop.only(worker):
                assert open_answers.enter_context(streaming(shop, f"s{session}")) == worker
        for page in shop.pages():
            assert 'streamguard_streams_opened_total{binding="chat",degraded="no",protocol="ui-message",' in page
            assert 'variant="stable"} 3.0' in page
        wait_until(lambda: meter.gauge("streams_active") == 3, description="all streams are measured")
        wait_until(lambda: meter.gauge("viewers") == 3, description="all viewers are measured")
        wait_until(lambda: meter.times("append_seconds") > 0, description="what was written was told")
        wait_until(lambda: "streamguard_expired_leases{" in shop.page(), description="the store was measured")

        os.kill(dying, signal.SIGKILL)
        wait_until(lambda: not _runs(dying), description="the worker is gone")
        # At once: what the worker said of the moment is gone, what it counted stays.
        assert meter.gauge("streams_active") == 1
        assert meter.total("streams_opened_total") == 3
        wait_until(lambda: meter.total("orphans_ended_total") == 2, description="its streams were ended")
        wait_until(lambda: len(shop.workers()) == 2, description="another worker begins in its place", timeout=45)
        _whole(shop.pages())


def _whole(pages: list[str]) -> None:
    for page in pages:
        accepted(page.encode())
        for metric in TABLE:
            if not metric.label_names:  # the others are there once they have moved
                assert f"# TYPE {PREFIX}{metric.name} {metric.kind}" in page
                if metric.merging is not Merging.LAST:
                    assert f'\n{PREFIX}{metric.name}{"_count" if metric.buckets else ""}{{variant="stable"}} ' in page
        assert 'pid="' not in page
