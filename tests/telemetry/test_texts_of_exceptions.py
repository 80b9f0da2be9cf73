"""Whoever reads the text of an exception says where it goes: it may hold a prompt, a key or a password.

Found in the syntax tree, so that a new reader cannot be overlooked: it fails here until it has a line in `KNOWN`.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import pytest

import streamguard
from tests.harness.sources import python_files

ROOT: Final = Path(streamguard.__file__).parent

_OURS: Final = "an error of ours, raised by us"
_COMPARED: Final = "looked through for a word; what is found is ours"
_MISTAKE: Final = "a mistake of ours, with its traceback, for Python's handler of what nobody catches"
_DECORATED: Final = "while the application is put together: no request has been"
_CLIENTS: Final = "to the program that reads a stream as a client; nothing of a server's"

KNOWN: Final = {
    "cli.checks.check_life": _OURS,
    "cli.exits.failure_of": _OURS,
    "cli.options.Place.opened": "looked through for credentials, to leave it out",
    "cli.options._redis_address": _OURS,
    "cli.reconcile._guard_of": "to the operator whose application cannot be imported",
    "client.event_stream.EventStream._read": _OURS,
    "client.event_stream._PassingError.__init__": _CLIENTS,
    "client.http_requests.HttpRequests.send": _CLIENTS,
    "client.reconnection.Reconnection.pause": _CLIENTS,
    "client.stream_client.StreamClient.__init__": _CLIENTS,
    "client.stream_client._json": _CLIENTS,
    "client.stream_client._read": _OURS,
    "contrib.litestar.request.StarletteRequest.body": "Litestar's, of a request whose client left; to the endpoint",
    "frames.described": "for the callers that are listed here",
    "frames.traceback_of": "for the callers that are listed here",
    "log_lines._through_structlog": "logs a traceback in debug mode",
    "log_lines.log_line": "logs a traceback in debug mode",
    "messages.sql.__main__.main": _OURS,
    "messages.sql.failures._code": "a number that the driver gives",
    "messages.sql.failures._refused": _COMPARED,
    "messages.sql.store.SQLMessageStore.start": _OURS,
    "overrides._difference": "Python's, of the parameters of a host's own method; it has no values",
    "runtime.producing.failures._fault_of": _COMPARED,
    "runtime.producing.failures.fault_of": "to the client in debug mode",
    "runtime.producing.trouble.Trouble.remember": _OURS,
    "saving.folding.PayloadSource.batches": _OURS,
    "script_errors.ScriptErrors.calling": _OURS,
    "stores.redis.address.ClusterAddress.__init__": _COMPARED,
    "stores.redis.errors.concerns_record": _COMPARED,
    "stores.redis.errors.mapped_error": "which of our own texts says why Sentinel names no master",
    "stores.redis.pipelined_connection.PipelinedConnection._mistaken": _MISTAKE,
    "stores.redis.refusals._forbidden": "looked through for the name of a command, which is one of those that we sent",
    "stores.redis.refusals.error_code": "the first word of an error reply: told only if it is a code that is listed",
    "stores.redis.refusals.reason_of_reply": _COMPARED,
    "stores.redis.sentinel.SentinelAddress.connect": _COMPARED,
    "stores.redis.server_facts.unusable": _OURS,
    "stores.redis.shard_subscriptions.ShardSubscriptions._kept_placed": _MISTAKE,
    "stores.redis.subscriptions.Subscriptions._confirmed": _OURS,
    "stores.redis.subscriptions.Subscriptions._kept": _MISTAKE,
    "stores.redis.subscriptions.Subscriptions.tell": _MISTAKE,
    "stores.schemes._refused": "of another package's store, unless it has credentials; while it is made",
    "stores.schemes._text": "as above",
    "telemetry.metrics.prometheus._made": "names of metrics",
    "telemetry.safety.error_fields": _OURS,
    "unavailable._numbers_of": "looked through for numbers of errors",
    "web.endpoint.arguments.bind_arguments": "names of parameters",
    "web.endpoint.client_version.protocol_for": "what the client sent, back to it alone",
    "web.endpoint.demand_source.DemandSource.__init__": _DECORATED,
    "web.endpoint.demand_source.DemandSource.demand_of": _OURS,
    "web.endpoint.options.StreamOptions.protocol_for_clients": _DECORATED,
    "web.endpoint.signature._resolved": _DECORATED,
    "web.guard_context.GuardContext.started": _COMPARED,
}
"""Where the text of an exception is read, and what becomes of it."""

_WRITERS: Final = frozenset({"str", "repr", "format", "ascii", "print"})
_LOGGERS: Final = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log", "warn", "msg"})
_TEXTS: Final = frozenset({"args", "__notes__", "exc_info"})


class Readers(ast.NodeVisitor):
    """Finds the functions that read the text of an exception.

    An exception is: what an `except` names, a parameter or variable whose annotation names an exception, and an
    attribute called `error`, `__cause__`, `__context__` or `orig`.
    """

    def __init__(self, module: str) -> None:
        self.found: set[str] = set()
        self._names = [module]
        self._errors: list[set[str]] = [set()]

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._names.append(node.name)
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        self._errors.append(self._errors[-1] | {one.arg for one in every if _names_exception(one.annotation)})
        self.generic_visit(node)
        self._errors.pop()
        self._names.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = _function  # noqa: N815 -- as `ast` calls them

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._names.append(node.name)
        self.generic_visit(node)
        self._names.pop()

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name is not None:
            self._errors[-1].add(node.name)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if isinstance(node.target, ast.Name) and _names_exception(node.annotation):
            self._errors[-1].add(node.target.id)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        """`cause = error.__cause__` is one, too."""
        if self._is_error(node.value):
            self._errors[-1].update(target.id for target in node.targets if isinstance(target, ast.Name))
        self.generic_visit(node)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> None:
        if self._is_error(node.value):
            self._note()
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in _TEXTS and (node.attr != "args" or self._is_error(node.value)):
            self._note()
        if isinstance(node.value, ast.Name) and node.value.id == "traceback" and node.attr.startswith(("f", "pr")):
            self._note()  # format_exception, print_exc…
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.Mod):
            values = node.right.elts if isinstance(node.right, ast.Tuple) else [node.right]
            if any(map(self._is_error, values)):
                self._note()
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        given = [*node.args, *(keyword.value for keyword in node.keywords)]
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        writes = name in _WRITERS or (isinstance(node.func, ast.Attribute) and name in {*_LOGGERS, "format", "warn"})
        if writes and any(map(self._is_error, given)):
            self._note()
        if any(keyword.arg == "exc_info" for keyword in node.keywords) or name in ("described", "traceback_of"):
            self._note()
        if isinstance(node.func, ast.Attribute) and name == "exception" and _is_logger(node.func.value):
            self._note()
        if name == "call_exception_handler":
            self._note()
        self.generic_visit(node)

    def _is_error(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self._errors[-1]
        return isinstance(node, ast.Attribute) and node.attr in ("error", "__cause__", "__context__", "orig")

    def _note(self) -> None:
        self.found.add(".".join(self._names))


def _names_exception(annotation: ast.expr | None) -> bool:
    if annotation is None:
        return False
    text = ast.unparse(annotation)
    return "Exception" in text or any(word.endswith("Error") for word in text.replace("|", " ").split())


def _is_logger(node: ast.expr) -> bool:
    return "log" in ast.unparse(node)


def readers(source: str, module: str = "module") -> set[str]:
    visitor = Readers(module)
    visitor.visit(ast.parse(source))
    return visitor.found


def test_every_reader_is_known() -> None:
    found: set[str] = set()
    for path in python_files(ROOT):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[0] != "testing":
            found |= readers(path.read_text(), ".".join(parts))
    assert found == set(KNOWN)


@pytest.mark.parametrize(
    "statement",
    [
        "log.error('failed: %s', exc)",
        "log.warning('failed', error=exc)",
        "log.error('failed', exc_info=True)",
        "log.exception('failed')",
        "observe(fields={'reason': str(exc)})",
        "observe(fields={'reason': repr(exc)})",
        "fields['reason'] = f'{exc}'",
        "fields['reason'] = f'{exc!r}'",
        "fields['reason'] = '%s' % exc",
        "fields['reason'] = '{}'.format(exc)",
        "fields['reason'] = exc.args[0]",
        "fields['reason'] = exc.__notes__",
        "fields['reason'] = traceback.format_exc()",
        "fields['reason'] = str(exc.__cause__)",
        "cause = exc.__cause__; print(cause)",
        "warnings.warn(exc)",
        "Fault.of(code, reason=described(exc))",
    ],
)
def test_a_reader_is_found(statement: str) -> None:
    source = f"def work():\n    try:\n        begin()\n    except Exception as exc:\n        {statement}\n"
    assert readers(source) == {"module.work"}
    given = f"class Sink:\n    def work(self, exc: BaseException | None) -> None:\n        {statement}\n"
    assert readers(given) == {"module.Sink.work"}


def test_what_reads_no_text_is_not() -> None:
    source = """
def work(exc: Exception):
    observe(error=exc, reason=class_name(exc))
    raise StoreError("failed", operation=operation) from exc
"""
    assert readers(source) == set()
