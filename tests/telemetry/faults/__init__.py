"""One scenario, or more, for each code of the fault registry: `await SCENARIOS[code].run(observers=(sink,))`."""

from __future__ import annotations

from typing import Final

from streamguard import FaultCode

from . import of_answers, of_ends, of_requests
from .application import Application
from .canaries import CANARIES, Canaries
from .scenario import Provoked, Scenario, Stage

__all__ = ["ALL_SCENARIOS", "CANARIES", "SCENARIOS", "Application", "Canaries", "Provoked", "Scenario", "Stage"]

ALL_SCENARIOS: Final[tuple[Scenario, ...]] = (
    *of_requests.SCENARIOS,
    *of_answers.SCENARIOS,
    *of_ends.SCENARIOS,
)
"""Every way to a fault: several where a code has several paths."""

SCENARIOS: Final[dict[FaultCode, Scenario]] = {one.code: one for one in reversed(ALL_SCENARIOS)}
"""The first way to each code."""
