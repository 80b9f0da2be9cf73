"""What observers cost a stream: one process with every sink on, or with none set up. Without a server.

    python -m benchmarks.telemetry all|none STREAMS EVENTS PORT DIRECTORY

It prints one `Measured` as JSON. Every sink is the real one: Sentry sends to a receiver on the loopback, in the
parent process, with every transaction sampled and its logs on; structlog writes JSON lines to a file, debug level too;
the audit trail writes another; spans go through OpenTelemetry's batch processor to an exporter that keeps none.
Counted is the CPU time of all threads of the process, so what sinks do in the background is in it too.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.routing import Route
from starlette.types import Message, Scope

from streamguard import Observer, Settings, StreamGuard

from .pieces import piece
from .plan import Measured

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExportResult

__all__ = ["main", "measure_telemetry"]

ROUNDS: Final = 12
LEAST_STREAMS: Final = 4
"""Streams of a round."""
FLUSH_SECONDS: Final = 10.0
_MEASURED: Final = TypeAdapter(Measured)


# -- the parent --------------------------------------------------------------------------------------------------------


class _Receiver(BaseHTTPRequestHandler):
    """Takes Sentry's envelopes and forgets them."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args: object) -> None:
        """Not to standard error."""


def measure_telemetry(*, observed: bool, streams: int, events: int) -> Measured:
    """The cost of an event, and of a stream, with every sink or with none, in a process of its own.

    Args:
        streams: how many run at a time. A lone one waits after each event, so that hardly two share a commit.
        events: of each long stream. Streams of one event are measured beside them: what these cost is the stream's,
            and only the rest is the events'.
    """
    with ThreadingHTTPServer(("127.0.0.1", 0), _Receiver) as receiver, tempfile.TemporaryDirectory() as directory:
        thread = threading.Thread(target=receiver.serve_forever)
        thread.start()
        try:
            numbers = map(str, (streams, events, receiver.server_port))
            arguments = ["all" if observed else "none", *numbers, directory]
            child = subprocess.run(
                [sys.executable, "-m", "benchmarks.telemetry", *arguments],
                cwd=Path(__file__).resolve().parent.parent,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
        finally:
            receiver.shutdown()
            thread.join()
    if child.returncode:
        return Measured(problems=[f"the process failed: {child.stderr.decode(errors='replace')[-3000:]}"])
    return _MEASURED.validate_json(child.stdout)


# -- the child ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Sinks:
    """What a host set up: `observers` are those that the guard does not have by itself."""

    observers: tuple[Observer, ...]
    flush: Callable[[], None]


def _all_sinks(port: int, directory: Path) -> _Sinks:
    """Set up every sink as a host does."""
    import sentry_sdk  # noqa: PLC0415 -- a process without sinks is one that never imported them
    import structlog  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult  # noqa: PLC0415
    from prometheus_client import CollectorRegistry  # noqa: PLC0415

    from streamguard.telemetry.audit import AuditTrail, JsonLinesAudit  # noqa: PLC0415
    from streamguard.telemetry.metrics import PrometheusMetrics  # noqa: PLC0415
    from streamguard.telemetry.tracing import OpenTelemetryTracing  # noqa: PLC0415

    class Forgetful(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    # Sentry's own integrations are off: a request costs what they cost with or without streamguard.
    sentry_sdk.init(
        dsn=f"http://key@127.0.0.1:{port}/1", traces_sample_rate=1.0, enable_logs=True, default_integrations=False
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory((directory / "log.jsonl").open("w")),
        cache_logger_on_first_use=True,
    )
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Forgetful()))
    audit = JsonLinesAudit(directory / "audit.jsonl")

    def flush() -> None:
        sentry_sdk.flush(FLUSH_SECONDS)
        provider.force_flush()
        audit.flush(FLUSH_SECONDS)

    metrics = PrometheusMetrics(registry=CollectorRegistry())
    return _Sinks((metrics, OpenTelemetryTracing(provider), AuditTrail(audit)), flush)


async def _owner(connection: HTTPConnection) -> str | None:
    return "somebody"


def _application(observers: tuple[Observer, ...]) -> tuple[StreamGuard, Starlette]:
    guard = StreamGuard(authenticate=_owner, observers=observers, settings=Settings(max_streams_per_owner=10_000))

    async def chat(request: Request) -> AsyncIterator[str]:
        alone = request.query_params["alone"] == "1"
        for seq in range(int(request.query_params["events"])):
            yield piece(0, seq)
            if alone:
                await asyncio.sleep(0)

    app = Starlette(routes=[Route("/chat", guard.stream(protocol="plain")(chat), methods=["POST"])])
    guard.install(app, "/chat")
    return guard, app


async def _answer(app: Starlette, events: int, *, alone: bool) -> bool:
    """One request to its end. Returns whether the answer was whole."""
    sent = b""
    asked = False

    async def receive() -> Message:
        nonlocal asked
        if asked:
            await asyncio.Event().wait()
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal sent
        sent += message.get("body", b"")

    query = f"events={events}&alone={alone:d}".encode()
    scope: Scope = {"type": "http", "method": "POST", "path": "/chat", "headers": [], "query_string": query}
    await app(scope, receive, send)
    return sent.count(b" e0") == events and b"streamguard.end" in sent


async def _measure(sinks: _Sinks, streams: int, events: int) -> Measured:
    guard, app = _application(sinks.observers)
    whole = True

    async def run(events: int) -> None:
        nonlocal whole
        for _ in range(max(1, LEAST_STREAMS // streams)):
            answers = await asyncio.gather(*(_answer(app, events, alone=streams == 1) for _ in range(streams)))
            whole = whole and all(answers)

    async def seconds(events: int, *, flushed: bool) -> float:
        """CPU time of one stream of so many."""
        sinks.flush()
        gc.collect()
        began = time.process_time()
        await run(events)
        if flushed:  # what sinks still have to do is a part of a stream's cost
            sinks.flush()
        return (time.process_time() - began) / max(streams, LEAST_STREAMS)

    async with guard:
        await run(1)
        costs = [
            (await seconds(1, flushed=True), await seconds(1, flushed=False), await seconds(events, flushed=False))
            for _ in range(ROUNDS)
        ]
    if not whole:
        return Measured(problems=["an answer was not whole"])
    stream, short, long = (list(column) for column in zip(*costs, strict=True))
    per_event = (min(long) - min(short)) / (events - 1)  # the least: everything else is other load
    return Measured(events=events, seconds=sum(long), server_cpu_us=per_event * 1e6, stream_cpu_us=median(stream) * 1e6)


def main(arguments: list[str]) -> int:
    """Measure in this process, and print it."""
    sinks, streams, events, port, directory = arguments
    chosen = _all_sinks(int(port), Path(directory)) if sinks == "all" else _Sinks((), lambda: None)
    measured = asyncio.run(_measure(chosen, int(streams), int(events)))
    sys.stdout.buffer.write(_MEASURED.dump_json(measured))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
