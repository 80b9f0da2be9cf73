"""Every metric of the table moves, told by a guard through its public surface."""

from __future__ import annotations

from typing import Final

import pytest

from streamguard.reconcile import orphans
from streamguard.runtime.upkeep import measuring
from streamguard.telemetry.metrics import TABLE
from tests.harness.proxy import FaultProxy
from tests.harness.redis import RedisServer

from . import scenes_of_stores, scenes_of_streams
from .meter import accepted
from .scenes import MOVES, Scene, Stage

pytestmark = pytest.mark.anyio

ENTERED: Final = (scenes_of_streams, scenes_of_stores)
"""Whose import enters scenes."""


@pytest.fixture(autouse=True)
def _measured_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gauges are measured every few seconds, for which no test waits."""
    monkeypatch.setattr(measuring, "TELL_SECONDS", 0.02)
    monkeypatch.setattr(measuring, "MEASURE_ROUNDS", 1)
    monkeypatch.setattr(orphans, "MEASURE_SWEEPS", 2)


def test_every_metric_has_a_scene_that_moves_it() -> None:
    shown = {name for scene in MOVES.values() for name in scene.names}
    assert shown == {metric.name for metric in TABLE}, "let a scene move each metric of the table"


@pytest.mark.parametrize(
    "scene",
    [pytest.param(scene, id=name, marks=[pytest.mark.long] if scene.long else []) for name, scene in MOVES.items()],
)
async def test_a_scene_moves_its_metrics(
    scene: Scene, proxy: FaultProxy, redis_server: RedisServer, redis_database: int
) -> None:
    stage = Stage(proxy, redis_database, redis_server.client(redis_database))
    await scene.play(stage)
    assert stage.meter.asked >= {*scene.names}, "the scene has to look at what it says that it moves"
    accepted(stage.meter.sink.exposition())
