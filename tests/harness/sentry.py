"""Sentry in a test: a client that is on while the test runs, and of which nothing is left.

`sentry_sdk.init` as applications call it changes the process for good: its default integrations replace
`threading.Thread.start`, `logging.Logger.callHandlers`, `sys.excepthook` and more, register what runs when the process
ends, and start threads. So no test calls it in the process of the tests; see `test_sentry.py` beside this module.
"""

from __future__ import annotations

import asyncio
import http.client
import inspect
import logging
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

import httpx
import sentry_sdk
from sentry_sdk import integrations as sentry_integrations
from sentry_sdk.integrations import Integration
from sentry_sdk.scope import Scope
from starlette.applications import Starlette

__all__ = ["leftovers", "sentry_client", "sentry_off"]

_END_SECONDS: Final = 20.0
"""How long a thread of the SDK may take to end; on a busy machine."""
_REPLACED: Final[Sequence[tuple[Any, str]]] = (
    (threading.Thread, "start"),
    (threading.Thread, "run"),
    (logging.Logger, "callHandlers"),
    (http.client.HTTPConnection, "putrequest"),
    (http.client.HTTPConnection, "getresponse"),
    (sys, "excepthook"),
    (asyncio.BaseEventLoop, "create_task"),
    (Starlette, "__call__"),
    (httpx.Client, "send"),
    (httpx.AsyncClient, "send"),
)
"""What the integrations of the SDK replace in Python's own modules, and the first things that they do in others."""
_LIBRARIES: Final = frozenset({"starlette", "fastapi", "httpx", "litestar", "openai", "redis", "sqlalchemy"})
"""Those whose integrations tests may name: what they replace there is put back too."""
_QUIET: Final[dict[str, Any]] = {
    "default_integrations": False,
    "auto_session_tracking": False,  # a thread that sleeps for a minute, in early versions
    "enable_backpressure_handling": False,  # a thread that sleeps for ten seconds
    "release": "1",  # otherwise the SDK asks git, in a process
    "shutdown_timeout": 1,
}


@contextmanager
def sentry_client(*, integrations: Sequence[Integration] = (), **options: Any) -> Iterator[None]:
    """A client with these integrations only, as `sentry_sdk.init` makes it, and scopes of its own.

    On leaving, the client before it is there again, what the integrations replaced is as it was, and all threads of the
    client have ended: it sends what it still has, so a receiver that hangs has to be let go before.

    Raises:
        AssertionError: on leaving, if a thread of the SDK does not end.
    """
    before, scope = sentry_sdk.get_client(), Scope.get_global_scope()
    threads = set(_threads())
    with _undone(integrations):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # options of today's hosts
            sentry_sdk.init(**{**_QUIET, "integrations": list(integrations), **options})
        client = sentry_sdk.get_client()
        try:
            with sentry_sdk.isolation_scope() as isolated, sentry_sdk.new_scope() as current:
                isolated.clear()
                current.clear()
                yield
        finally:
            client.flush(_END_SECONDS)  # with a full queue the SDK cannot tell its thread to end
            mine = [thread for thread in _threads() if thread not in threads]
            client.close(timeout=0)
            scope.set_client(before if before.is_active() else None)
            for thread in mine:
                thread.join(_END_SECONDS)
    left = [thread.name for thread in mine if thread.is_alive()]
    assert not left, f"threads of Sentry's that do not end: {left}"


@contextmanager
def sentry_off() -> Iterator[None]:
    """No client, as in an application that never initialises Sentry."""
    before, scope = sentry_sdk.get_client(), Scope.get_global_scope()
    scope.set_client(None)
    try:
        yield
    finally:
        scope.set_client(before)


@contextmanager
def _undone(integrations: Sequence[Integration]) -> Iterator[None]:
    """Afterwards these have replaced nothing, and would do it anew."""
    originals = [(owner, name, getattr(owner, name)) for owner, name in _REPLACED]
    libraries = _LIBRARIES & {integration.identifier for integration in integrations}
    if libraries & {"starlette", "fastapi"}:
        libraries |= {"starlette", "fastapi"}
    functions = list(_functions_of(libraries))
    known = (sentry_integrations._processed_integrations, sentry_integrations._installed_integrations)
    installed = [set(names) for names in known]
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    factory = None if loop is None else loop.get_task_factory()
    try:
        yield
    finally:
        if loop is not None and loop.get_task_factory() is not factory:
            loop.set_task_factory(factory)
            for name in ("close", "_sentry_flush_patched"):
                vars(loop).pop(name, None)
        for owner, name, original in originals:
            setattr(owner, name, original)
        for owner, before in functions:
            for name, original in before.items():
                if getattr(owner, name, None) is not original and vars(owner).get(name) is not original:
                    setattr(owner, name, original)
        for names, ones in zip(known, installed, strict=True):
            names.clear()
            names.update(ones)


def _functions_of(libraries: AbstractSet[str]) -> Iterator[tuple[Any, dict[str, object]]]:
    """The functions of each module and class of the libraries, as far as they are imported."""
    for module_name, module in list(sys.modules.items()):
        if module_name.partition(".")[0] in libraries and isinstance(module, ModuleType):
            owners = [module, *(one for one in vars(module).values() if isinstance(one, type))]
            for owner in owners:
                if owner is module or owner.__module__ == module_name:
                    yield owner, {name: one for name, one in vars(owner).items() if inspect.isfunction(one)}


def leftovers() -> list[str]:
    """What Sentry has left in this process: a client, a thread, something that it replaced."""
    found = ["an active client"] if sentry_sdk.get_client().is_active() else []
    found += [f"the thread {thread.name}" for thread in _threads()]
    for owner, name in _REPLACED:
        code = getattr(getattr(owner, name), "__code__", None)
        if code is not None and "sentry_sdk" in code.co_filename:
            found.append(f"{owner.__name__}.{name} is replaced")
    return found


def _threads() -> list[threading.Thread]:
    """The threads that run the SDK's code."""
    found = []
    for thread in threading.enumerate():
        target = getattr(thread, "_target", None)  # gone when it has ended
        if str(getattr(target, "__module__", "")).startswith("sentry_sdk"):
            found.append(thread)
    return found
