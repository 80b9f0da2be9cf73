"""Every task of the package is known, with who is told when it ends, however it ends.

A task that others wait for, and that dies without telling them, is a hang. So whoever begins one says here what becomes
of those who wait; where that is more than an `await` of the task itself, a test ends it with an unexpected exception.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import streamguard

from .harness.sources import modules_with

ROOT = Path(streamguard.__file__).parent

CONTAINERS: Final = frozenset({"Contained", "gathered"})
"""Keep what the work raises until it is asked for: see `streamguard.contained`."""
OTHERS: Final = frozenset(
    {"create_task", "ensure_future", "gather", "start_soon", "Thread", "run_coroutine_threadsafe"}
)
BEGINNERS: Final = CONTAINERS | OTHERS

KNOWN: Final = {
    "contained.Contained.__init__": "whoever made it, which is one of those below",
    "contained.gathered": "awaited by its caller",
    "quota.redis.reservation_index.ReservationIndex.counts": "awaited by its caller",
    "quota.redis.store.RedisQuotaStore.due": "awaited by its caller",
    "quota.redis.store.RedisQuotaStore.renew": "awaited by its caller",
    "messages.sql.transactions.Transactions.run": "awaited by its one caller, shielded",
    "reconcile.orphans.OrphanSweep._end_all": "in the caller's task group",
    "reconcile.outbox.OutboxWorker._attempt_due": "in the caller's task group",
    "runtime.ending.drain.Drain.begin": "awaited by whoever drains, shielded: all get what it raises",
    "runtime.upkeep.tasks.Tasks.start_containing": "observed, and its owner's `finally` tells who waits",
    "runtime.upkeep.tasks.Tasks.open": "awaited by `close`; `opened` ends with it (tests/runtime/test_upkeep.py)",
    "runtime.upkeep.tasks.Tasks.supervise": "observed and begun again (tests/runtime/test_upkeep.py)",
    "stores.redis.cluster._first": "awaited by its caller, which takes what they raise",
    "stores.redis.cluster_appends.ClusterAppends.append": "awaited by its caller",
    "stores.redis.cluster_connections.ClusterConnections.load_scripts": "awaited by its caller",
    "stores.redis.cluster_connections.ClusterConnections.run": "awaited by its caller",
    "stores.redis.permissions.Permissions.lacks": "awaited by its caller",
    "stores.redis.pipelined_connection.PipelinedConnection._wake_task": "fails callers (stores/redis/test_tasks.py)",
    "stores.redis.server_facts.inspect_servers": "awaited by its caller",
    "stores.redis.shard_subscriptions.ShardSubscriptions._place_all": "awaited by its caller",
    "stores.redis.shard_subscriptions.ShardSubscriptions.entered": "begun again (stores/redis/test_tasks.py)",
    "stores.redis.subscriptions.Subscriptions._join": "fails the new, hints to others (stores/redis/test_tasks.py)",
    "web.middleware.application_call.ApplicationCall.__init__": "resolves `wait` when done (test_application_call.py)",
    "web.endpoint.called_response.CalledResponse._receive": "awaited beside what it is about, and cancelled",
    "web.endpoint.called_response.CalledResponse.start": "fails who iterates (test_returned_lifetimes.py)",
    "web.routes.download.LogDownload.__call__": "in the response's task group",
    "web.middleware.request_reader.RequestReader.keep_for": "tells its readers how it ended (test_request_reader.py)",
    "web.middleware.body_too_large.TooLargeResponse.send_when_late": "awaited by `finish`, which raises what it raised",
    "web.rules.inner_call.InnerCall.head": "fails who iterates, or whose response it is (tests/web/rules)",
    "web.response.disconnect_watch.DisconnectWatch._start": "tells the response, which waits for its end",
    "web.response.stream_response.StreamResponse._send_stream": "raised by its response (test_sending_task.py)",
    "web.endpoint.returned_response._items_beside": "fails who iterates (test_returned_lifetimes.py)",
    "telemetry.audit.line_writer.LineWriter._start": "tells of what fails in the log (telemetry/test_audit_file.py)",
    "web.endpoint.threaded_call.threaded_call": "awaited by its caller; one that is left closes what comes of it",
    "web.endpoint.threaded_iterator.ThreadedIterator.__init__": "its `finally` tells the loop (tests/web/endpoint)",
}
"""Where tasks and threads are begun: who is told of their end."""

UNCONTAINED: Final = {
    "contained.Contained.__init__": "it is the one that contains",
    "contained.gathered": "what is gathered returns what it raised",
    "reconcile.orphans.OrphanSweep._end_all": "each of its works catches every exception",
    "reconcile.outbox.OutboxWorker._attempt_due": "each of its works catches every exception",
    "runtime.ending.drain.Drain.begin": "calls nothing of the host's but observers, which are contained",
    "runtime.upkeep.tasks.Tasks.start_containing": "its work observes what is raised",
    "runtime.upkeep.tasks.Tasks.open": "only waits",
    "runtime.upkeep.tasks.Tasks.supervise": "observes what is raised",
    "stores.redis.pipelined_connection.PipelinedConnection._wake_task": "hands what the driver raises to its callers",
    "stores.redis.shard_subscriptions.ShardSubscriptions.entered": "keeps what the store raises, and tries again",
    "stores.redis.subscriptions.Subscriptions._join": "hands what the driver raises to its subscribers",
    "telemetry.audit.line_writer.LineWriter._start": "catches what the file system raises, and works on ids alone",
    "web.endpoint.called_response.CalledResponse._receive": "reads the request, of which all errors are the server's",
    "web.endpoint.threaded_iterator.ThreadedIterator.__init__": "hands what the iterator raises to the loop",
    "web.middleware.body_too_large.TooLargeResponse.send_when_late": "sends a constant",
    "web.middleware.request_reader.RequestReader.keep_for": "keeps what the server raises for its readers",
    "web.response.disconnect_watch.DisconnectWatch._start": "keeps what the server raises for the response to raise",
    "web.routes.download.LogDownload.__call__": "keeps what the server raises, and raises it later",
}
"""Tasks and threads that are no `Contained`: why nothing that the host, a client of a provider or a driver raises can
leave them. An error tracker takes what leaves a task, with the local variables of all frames."""


OUTLIVES_LOOPS: Final = ("guard", "backends", "stores", "messages", "quota", "wire")
"""Rooms whose objects are made when a module is imported."""
LOOP_BOUND: Final = frozenset(
    f"{module}.{name}"
    for module in ("asyncio", "anyio")
    for name in ("Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore", "Queue", "CapacityLimiter")
)
"""Belong to the event loop they were first waited for in."""
KNOWN_LOOP_BOUND: Final = frozenset(
    {
        "messages.sql.loops.Engines._begin",  # for a `PerLoop`
        "stores.breaker.Breaker.__init__",  # one runtime's, made in its loop
        "stores.log_reads.LogReads.paced",  # likewise
        "stores.redis.shard_subscriptions.ShardSubscriptions.__init__",  # in a `PerLoop`
        "stores.redis.subscriptions.Subscriptions.__init__",  # in a `PerLoop`
        "stores.redis.subscriptions._Channel.__init__",  # in a `Subscriptions`
    }
)


class _Beginnings(ast.NodeVisitor):
    """Finds the functions in which one of some names is called."""

    def __init__(self, module: str, wanted: frozenset[str]) -> None:
        self.found: set[str] = set()
        self._wanted = wanted
        self._ends = {name.rpartition(".")[2] for name in wanted}
        self._names = [module]

    def _enter(self, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._names.append(node.name)
        self.generic_visit(node)
        self._names.pop()

    visit_ClassDef = visit_FunctionDef = visit_AsyncFunctionDef = _enter  # noqa: N815 -- as `ast` calls them

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
        if called in self._wanted:
            self.found.add(".".join(self._names))
        # To write the whole name costs most, so only where its end fits.
        if isinstance(node.func, ast.Attribute) and called in self._ends and ast.unparse(node.func) in self._wanted:
            self.found.add(".".join(self._names))
        self.generic_visit(node)


def callers(wanted: frozenset[str]) -> set[str]:
    found: set[str] = set()
    for path, module in modules_with({name.rpartition(".")[2] for name in wanted}, ROOT):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[0] in ("testing", "cli"):
            continue
        visitor = _Beginnings(".".join(parts), wanted)
        visitor.visit(module)
        found |= visitor.found
    return found


def test_every_task_is_known() -> None:
    assert callers(BEGINNERS) == set(KNOWN)


def test_nothing_that_has_texts_leaves_a_task() -> None:
    assert callers(OTHERS) == set(UNCONTAINED)


def test_what_outlives_event_loops_holds_nothing_of_one() -> None:
    found = {name for name in callers(LOOP_BOUND) if name.partition(".")[0] in OUTLIVES_LOOPS}
    assert found == KNOWN_LOOP_BOUND
