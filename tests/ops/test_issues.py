"""Every issue of Sentry that the kit names comes from a fault of an application, as Sentry is told of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import pytest

from streamguard import Observation, Signal
from streamguard.telemetry.sentry.errors import fingerprint_of, is_captured

from ..telemetry.faults import ALL_SCENARIOS
from .rules import ALERTS, OPS

pytestmark = [pytest.mark.anyio]

PAGES: Final = sorted((OPS / "runbook").glob("*.md"))
_NAMED: Final = re.compile(r"`streamguard, ([^`]+)`")
SIGNALS: Final = (Signal.STORE_WARNING, Signal.MISUSE)
"""What is captured without a fault."""


def named() -> Iterator[tuple[str, str]]:
    """Who names it, and the fingerprint without its last word."""
    for page in PAGES:
        for words in _NAMED.findall(page.read_text()):
            yield page.name, words
    for alert in ALERTS.values():
        if not alert.annotations["sentry"].startswith("none: "):
            yield alert.name, alert.annotations["sentry"].removeprefix("streamguard, ")


@pytest.mark.long
async def test_each_issue_that_is_named_comes_to_sentry() -> None:
    comes = {str(signal) for signal in SIGNALS if is_captured(Observation(signal))}
    for scenario in ALL_SCENARIOS:
        for observation in (await scenario.run()).observations:
            if is_captured(observation):
                _, phase, code, _ = fingerprint_of(observation)
                comes.add(f"{phase}, {code}")
    missing = {
        (who, words) for who, words in named() if words not in comes and words != "phase, code, class of the error"
    }
    assert not missing, f"{sorted(missing)}; there come {sorted(comes)}"
