"""Every line that is logged about a stream says which, and for which request."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import streamguard
from streamguard import Signal
from streamguard.log_lines import LogEvent
from streamguard.observations import MEASUREMENTS

from .faults import ALL_SCENARIOS, Scenario
from .logged import logged, what_is_missing
from .signal_scenarios import SCENARIOS

SOURCE = Path(streamguard.__file__).parent
EVENTS = {*Signal, *LogEvent}


@pytest.mark.anyio
@pytest.mark.parametrize("scenario", ALL_SCENARIOS, ids=str)
async def test_about_every_fault(scenario: Scenario) -> None:
    with logged() as lines:
        await scenario.run()
    assert lines
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
    assert [(line, missing) for line in lines if (missing := what_is_missing(line))] == []


# -- the names of events are constants ---------------------------------------------------------------------------------


def calls(*names: str) -> Iterator[tuple[Path, ast.Call]]:
    """The calls of functions of these names, in the whole package."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
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
