"""Every line that is logged about a stream says which, and for which request."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import streamguard
from streamguard import Signal
from streamguard.event_times import EVENTS_LOGGER
from streamguard.log_lines import LogEvent
from streamguard.observations import MEASUREMENTS
from streamguard.telemetry.vocabulary import LOG_KEYS

from ..harness.sources import modules_with
from .faults import ALL_SCENARIOS, Scenario
from .logged import Line, logged, what_is_missing
from .signal_scenarios import SCENARIOS
from .test_every_signal import notes

SOURCE = Path(streamguard.__file__).parent
EVENTS = {*Signal, *LogEvent}


@pytest.mark.anyio
@pytest.mark.parametrize("scenario", ALL_SCENARIOS, ids=str)
async def test_about_every_fault(scenario: Scenario) -> None:
    with logged() as lines:
        await scenario.run()
    assert lines
    assert unknown_keys(lines) == set()
    assert [(line, missing) for line in lines if (missing := what_is_missing(line))] == []
    assert {line["event"] for line in lines} <= EVENTS


@pytest.mark.anyio
@pytest.mark.parametrize(
    "signal",
    [
        pytest.param(signal, id=signal.name, marks=[pytest.mark.long] if signal is Signal.ENDPOINT_ABANDONED else [])
        for signal in Signal
        if signal not in MEASUREMENTS
    ],
)
async def test_about_every_signal(signal: Signal) -> None:
    with logged() as lines:
        await SCENARIOS[signal](signal)
    assert signal in {line["event"] for line in lines}
    assert unknown_keys(lines) == set()
    assert [(line, missing) for line in lines if (missing := what_is_missing(line))] == []


@pytest.mark.anyio
async def test_about_single_events_where_somebody_wants_them() -> None:
    """They are logged by the writer of all streams, which is in no stream's scope, and by each connection."""
    logger = logging.getLogger(EVENTS_LOGGER)
    logger.setLevel(logging.DEBUG)
    try:
        with logged() as lines:
            await SCENARIOS[Signal.STREAM_ENDED](Signal.STREAM_ENDED)
    finally:
        logger.setLevel(logging.NOTSET)
    of_events = [line for line in lines if line["event"] in (LogEvent.EVENTS_APPENDED, LogEvent.EVENTS_SENT)]
    assert {line["event"] for line in of_events} == {LogEvent.EVENTS_APPENDED, LogEvent.EVENTS_SENT}
    assert [(line, missing) for line in lines if (missing := what_is_missing(line))] == []


def unknown_keys(lines: list[Line]) -> set[str]:
    """Keys that the reference does not name."""
    keys = {key for line in lines for key in line} - {"event", "level"}
    keys -= {"repeated"}  # of LogEvent, whose docstrings name their fields
    return {re.sub("^(reserved|spent|used)_.*", r"\1_UNIT", key) for key in keys} - LOG_KEYS.keys()


def test_the_reference_names_no_key_that_no_line_has() -> None:
    """A key is a field of a signal, which its docstring names, or one of those that every fault or stream has."""
    fields = {word for note in notes().values() for word in re.findall(r"\w+", note)}
    of_streams = {"owner_hash", "session_id", "stream_id", "message_id", "user_message_id", "request_id", "trace_id"}
    of_faults = {"code", "phase", "severity", "status", "fault_id", "reason"}
    of_errors = {"error", "error_at", "raised_at", "error_text", "error_reason", "cause", "cause_at", "operation"}
    assert LOG_KEYS.keys() - fields - of_streams - of_faults - of_errors == set()


# -- the names of events are constants ---------------------------------------------------------------------------------


def calls(*names: str) -> Iterator[tuple[Path, ast.Call]]:
    """The calls of functions of these names, in the whole package."""
    for path, module in modules_with(names, SOURCE):
        for node in ast.walk(module):
            if isinstance(node, ast.Call):
                called = node.func
                name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", None)
                if name in names:
                    yield path, node


def test_events_are_constants() -> None:
    """No name of an event is made of values: whoever searches or counts a log needs to know them all."""
    found = 0
    for path, call in calls("log_line"):
        event = ast.unparse(call.args[2])
        assert event.startswith("LogEvent.") or event in ("observation.name", "event"), f"{path}: {event}"
        found += 1
    assert found >= 5
    for path, call in calls("Observation"):
        name = call.args[0] if call.args else next(word.value for word in call.keywords if word.arg == "name")
        assert ast.unparse(name).startswith("Signal.") or isinstance(name, ast.Name), f"{path}: {ast.unparse(name)}"


def test_one_place_logs() -> None:
    """All else goes through it: what is logged beside it would have neither its ids nor its place in the reference."""
    for path, call in calls("getLogger", "get_logger", "print"):
        if path.relative_to(SOURCE).parts[0] in ("cli", "testing") or path.name == "log_lines.py":
            continue
        raise AssertionError(f"{path}:{call.lineno}: {ast.unparse(call)}")
