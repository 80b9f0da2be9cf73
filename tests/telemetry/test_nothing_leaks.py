"""Nothing that a user, a provider or a driver wrote leaves the process through telemetry, on any path to a fault."""

from __future__ import annotations

import dataclasses

import pytest
from prometheus_client import CollectorRegistry

from streamguard import Observation
from streamguard.messages import MemoryMessageStore
from streamguard.telemetry.metrics import PrometheusMetrics

from .faults import ALL_SCENARIOS, CANARIES, Scenario, Stage
from .faults.watched import watching

pytestmark = pytest.mark.anyio


def shown(observation: Observation) -> str:
    """What any sink may write of an observation: all but the exception and the owner, who is to be hashed."""
    plain = dataclasses.replace(observation, error=None, ref=None)
    return repr(plain)


@pytest.mark.long
@pytest.mark.parametrize("configured", [False, True], ids=["stdlib", "structlog"])
@pytest.mark.parametrize("scenario", ALL_SCENARIOS, ids=str)
async def test_no_fault_leaks(scenario: Scenario, *, configured: bool) -> None:
    with watching(configured=configured) as watched:
        metrics = PrometheusMetrics(registry=CollectorRegistry())
        provoked = await scenario.run(observers=(metrics,))
        watched.note("metrics", metrics.exposition())
        watched.note_answers(provoked)
        watched.note("observations", *map(shown, provoked.observations))
        watched.note("exceptions", *(f"{error} {error!r}" for error in provoked.raised))
    assert watched.leaks(CANARIES) == []
    assert watched.texts["structlog" if configured else "logging"], "the log was watched"
    assert watched.texts["sentry"], "Sentry was watched"


async def well(stage: Stage) -> None:
    """An answer that is saved, watched, resumed, and forgotten."""
    app = stage.application(messages=MemoryMessageStore())
    async with app.running() as chat:
        answer = await stage.ask(app, chat)
        await answer.read(3)
        stage.keep(await chat.resume("conversation", after=answer.cursor))
        app.go.set()
        await stage.rest(chat, answer)
        await app.guard.reconcile(patience=False)
        await chat.delete("conversation")


async def test_an_answer_that_is_well_leaks_nothing() -> None:
    with watching(configured=True) as watched:
        stage = Stage(CANARIES, ())
        await well(stage)
        watched.note("observations", *map(shown, stage.told.observations))
    assert watched.leaks(CANARIES) == []
