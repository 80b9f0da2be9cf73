"""Every signal, provoked through the public surface: an observer that is given to a guard is told each."""

from __future__ import annotations

import ast
import inspect
import re
from itertools import pairwise
from typing import Final

import pytest

from streamguard import Signal

from .signal_scenarios import SCENARIOS

pytestmark = pytest.mark.anyio

OF_A_STREAM: Final = frozenset(Signal) - {
    Signal.RESUME_EMPTY,
    Signal.RESUME_REFUSED,
    Signal.SESSION_ERASED,
    Signal.BREAKER_OPENED,
    Signal.BREAKER_CLOSED,
    Signal.STORE_WARNING,
    Signal.MISUSE,
    Signal.RECORD_UNREADABLE,
    Signal.DRAIN_STARTED,
    Signal.DRAIN_ENDED,
    Signal.TASK_RESTARTED,
    Signal.RECONCILE_STARTED,
    Signal.RECONCILED,
    Signal.LOG_WRITTEN,
    Signal.PROCESS_MEASURED,
    Signal.STORE_MEASURED,
}
"""What is always told of one stream, which it names."""


WITHOUT_A_RECORD: Final = frozenset({Signal.RESERVATION_EXPIRED})
"""What may be told of a stream of which nothing is known but its name."""


def notes() -> dict[str, str]:
    """The docstrings under the members of `Signal`."""
    (definition,) = ast.parse(inspect.getsource(Signal)).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for member, note in pairwise(definition.body):
        if isinstance(member, ast.Assign) and isinstance(note, ast.Expr) and isinstance(note.value, ast.Constant):
            found[ast.unparse(member.targets[0])] = str(note.value.value)
    return found


NOTES: Final = notes()


def test_every_signal_has_a_scenario() -> None:
    assert set(SCENARIOS) == set(Signal), "give each signal a scenario that provokes it"


@pytest.mark.parametrize("signal", Signal)
def test_every_signal_says_when_it_is_told(signal: Signal) -> None:
    assert signal.name in NOTES, "a docstring under the member says when, and names the fields"


@pytest.mark.parametrize(
    "signal",
    [
        pytest.param(signal, id=signal.name, marks=[pytest.mark.long] if signal is Signal.ENDPOINT_ABANDONED else [])
        for signal in Signal
    ],
)
async def test_an_observer_is_told(signal: Signal) -> None:
    seen = await SCENARIOS[signal](signal)
    assert seen.name is signal
    names = {re.sub("^(reserved|spent)_.*", r"\1_UNIT", name) for name in seen.fields}
    unsaid = names - set(re.findall(r"\w+", NOTES[signal.name]))
    unsaid |= seen.samples.keys() - set(re.findall(r"\w+", NOTES[signal.name]))
    assert not unsaid, f"the docstring of {signal!r} names no field {unsaid}"
    if signal in OF_A_STREAM:
        assert seen.ref is not None, "name the stream, or take the signal out of OF_A_STREAM"
        assert seen.ref.key.owner == "ann"
        if signal not in WITHOUT_A_RECORD:
            assert seen.message_id
