"""Every fault of the registry, provoked through the public surface of a guarded application."""

from __future__ import annotations

import json
from typing import Final

import pytest

from streamguard import FaultCode, Signal

from . import ALL_SCENARIOS, CANARIES, SCENARIOS, Scenario

pytestmark = pytest.mark.anyio

TELLING: Final = frozenset(
    {Signal.FAULT, Signal.RESUME_REFUSED, Signal.STREAM_SUPERSEDED, Signal.SAVE_BURIED, Signal.ORPHAN_SETTLED}
)
"""Signals with a fault that nobody was told of before."""


def test_every_code_has_a_scenario() -> None:
    assert set(SCENARIOS) == set(FaultCode), "give each code of the registry a scenario that provokes it"


def test_scenarios_are_told_apart() -> None:
    assert len({str(one) for one in ALL_SCENARIOS}) == len(ALL_SCENARIOS)


@pytest.mark.parametrize("scenario", ALL_SCENARIOS, ids=str)
async def test_a_fault_is_provoked(scenario: Scenario) -> None:
    provoked = await scenario.run()
    assert provoked.fault.code is scenario.code
    if scenario.observed:
        told = [one for one in provoked.observed if one.name in TELLING]
        assert told, f"observers were told {[str(one.name) for one in provoked.observations]}"
    for fault in provoked.sent:
        assert CANARIES.found_in(json.dumps(fault.as_dict())) == []
