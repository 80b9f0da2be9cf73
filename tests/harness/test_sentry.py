"""A test's Sentry client leaves nothing behind, and no test makes another one in the process of the tests."""

from __future__ import annotations

import ast
import logging
import threading
from pathlib import Path
from typing import Final

import fastapi.routing
import httpx
import pytest
import sentry_sdk
from sentry_sdk.integrations.asyncio import AsyncioIntegration
from sentry_sdk.integrations.fastapi import FastApiIntegration
from sentry_sdk.integrations.httpx import HttpxIntegration
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.integrations.starlette import StarletteIntegration
from sentry_sdk.integrations.stdlib import StdlibIntegration
from sentry_sdk.integrations.threading import ThreadingIntegration
from starlette.applications import Starlette

from tests.telemetry.receiver import receiving, sent_to

from .sentry import leftovers, sentry_client, sentry_off
from .sources import python_files

TESTS: Final = Path(__file__).parent.parent
MAY: Final = {"harness/sentry.py", "apps/with_sentry.py"}
"""What may call `sentry_sdk.init`: the one ends what it began, the other is an application, run in processes."""


def test_nothing_is_left_of_a_client() -> None:
    ours = [LoggingIntegration(), ThreadingIntegration(), StdlibIntegration()]
    start, handlers = threading.Thread.start, logging.Logger.callHandlers
    with receiving() as receiver, sent_to(receiver, integrations=ours, traces_sample_rate=1.0):
        assert threading.Thread.start is not start
        with sentry_sdk.start_transaction(name="work"):
            logging.getLogger("a.host").error("as ever")
        assert {item.type for item in receiver.items()} >= {"event", "transaction"}
        assert leftovers() != []
    assert leftovers() == []
    assert threading.Thread.start is start
    assert logging.Logger.callHandlers is handlers


def test_integrations_work_each_time() -> None:
    for _ in range(2):
        with receiving() as receiver, sent_to(receiver, integrations=[LoggingIntegration()]):
            logging.getLogger("a.host").error("as ever")
            assert [event["logger"] for event in receiver.events()] == ["a.host"]


def test_libraries_are_as_they_were() -> None:
    before = (vars(Starlette)["__call__"], fastapi.routing.get_request_handler, httpx.AsyncClient.send)
    for _ in range(2):
        with sentry_client(integrations=[StarletteIntegration(), FastApiIntegration(), HttpxIntegration()]):
            assert leftovers() != []
        assert leftovers() == []
        assert (vars(Starlette)["__call__"], fastapi.routing.get_request_handler, httpx.AsyncClient.send) == before


@pytest.mark.anyio
async def test_a_loop_is_as_it_was() -> None:
    with sentry_client(integrations=[AsyncioIntegration()]):
        pass
    assert leftovers() == []


def test_threads_end_when_the_receiver_hangs() -> None:
    with receiving(hangs=True) as receiver, sent_to(receiver):
        for number in range(200):  # more than the SDK's queue holds
            sentry_sdk.capture_message(str(number))
        receiver.wait_for(bool)
    assert leftovers() == []


def test_clients_may_be_nested() -> None:
    with receiving() as outer, receiving() as inner, sent_to(outer):
        with sent_to(inner):
            sentry_sdk.capture_message("inner")
        with sentry_off():
            sentry_sdk.capture_message("nowhere")
        sentry_sdk.capture_message("outer")
        assert [event["message"] for event in outer.events()] == ["outer"]
        assert len(inner.envelopes) == 1


def test_no_test_initialises_sentry_by_itself() -> None:
    """In the process of the tests it would change threads, logging and libraries for every later test."""
    found = {
        str(path.relative_to(TESTS))
        for path in python_files(TESTS)
        if "sentry_sdk" in (text := path.read_text())
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("sentry_sdk.init", "sentry_sdk.Client")
    }
    assert found == MAY, "use `sentry_client` of tests/harness/sentry.py"
