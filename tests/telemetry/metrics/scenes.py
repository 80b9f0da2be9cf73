"""Scenes of a guarded application on a real Redis, each of which moves some of the metrics.

Nothing is told to the sink by hand: what it shows is what the guard told it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import redis

from streamguard.messages import MemoryMessageStore
from streamguard.observations import Observer
from streamguard.stores.redis import RedisStore
from streamguard.testing import Answer, FaultyMessageStore, GuardedApp
from streamguard.values import SessionKey, StreamRef
from tests.harness.proxy import FaultProxy

from ..faults import CANARIES
from ..faults.application import SESSION, Application
from .meter import Meter

__all__ = ["MOVES", "OWNER", "Scene", "Stage", "moves"]

OWNER: Final = CANARIES.owner
PATIENT: Final = {"registration_seconds": 5.0, "append_deadline_seconds": 5.0, "quota_seconds": 5.0}
"""Where a scene does not wait for the end of it: this machine may be busy."""


class Stage:
    """What a scene plays on: one Redis behind a proxy with faults, and a meter."""

    def __init__(self, proxy: FaultProxy, database: int, client: redis.Redis) -> None:
        self.proxy = proxy
        self.redis = client
        """An operator's own connection."""
        self.url = proxy.redis_url(database)
        self.meter = Meter()
        self.messages = FaultyMessageStore(MemoryMessageStore())

    def store(self) -> RedisStore:
        """One worker's store."""
        return RedisStore(self.url, command_seconds=2.0)

    def application(
        self, *, observers: tuple[Observer, ...] = (), meter: Meter | None = None, **options: Any
    ) -> Application:
        """One worker, which tells the meter."""
        options = {"store": self.store(), **PATIENT, **options}
        return Application(CANARIES, ((meter or self.meter).sink, *observers), **options)

    def ref(self, answer: Answer) -> StreamRef:
        assert answer.stream_id is not None
        return StreamRef(SessionKey(OWNER, SESSION), answer.stream_id)

    async def whole(self, app: Application, chat: GuardedApp) -> Answer:
        """An answer from its beginning to its end."""
        app.go.set()
        answer = await app.ask(chat)
        await answer.whole()
        await chat.ended(answer)
        return answer


Play = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True)
class Scene:
    """A scene, and the metrics that it shows to move."""

    play: Play
    names: tuple[str, ...]
    long: bool = False


_SCENES: dict[str, Scene] = {}
MOVES: Final[Mapping[str, Scene]] = _SCENES
"""The scenes by name."""


def moves(*names: str, long: bool = False) -> Callable[[Play], Play]:
    """Enter a scene that shows these metrics to move."""

    def enter(play: Play) -> Play:
        _SCENES[play.__name__] = Scene(play, names, long)
        return play

    return enter
