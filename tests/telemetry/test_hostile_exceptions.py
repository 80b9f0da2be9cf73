"""Exceptions that fail when they are read, or are huge: told of all the same, at once, and without their texts."""

from __future__ import annotations

import asyncio

import pytest

from streamguard import FaultCode, Observation, Outcome, Signal

from .faults import CANARIES, Stage
from .faults.of_answers import failing
from .faults.watched import watching

pytestmark = [pytest.mark.anyio, pytest.mark.processes]


class HostileError(Exception):
    """Whatever reads it fails."""

    def __str__(self) -> str:
        raise RuntimeError(CANARIES.provider)

    def __repr__(self) -> str:
        raise RuntimeError(CANARIES.provider)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError(CANARIES.provider)

    __hash__ = Exception.__hash__


class SlowError(HostileError):
    """Its text is as long as a conversation."""

    def __str__(self) -> str:
        return CANARIES.provider * 1_000_000

    __repr__ = __str__


class AttributesError(Exception):
    """Has every attribute, and each is a content."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return CANARIES.provider


class PropertiesError(Exception):
    """Its attributes cannot be read."""

    @property
    def status_code(self) -> int:
        raise RuntimeError(CANARIES.provider)

    @property
    def code(self) -> int:
        raise RuntimeError(CANARIES.provider)


def deep() -> Exception:
    """A chain of causes that has no end."""
    error = first = Exception(CANARIES.cause)
    for _ in range(2_000):
        error.__cause__ = Exception(CANARIES.cause)
        error = error.__cause__
    error.__cause__ = first
    return first


def group() -> Exception:
    found: Exception = ValueError(CANARIES.grouped)
    for _ in range(200):
        found = ExceptionGroup(CANARIES.grouped, [found])
    return found


@pytest.mark.parametrize("configured", [False, True], ids=["stdlib", "structlog"])
@pytest.mark.parametrize(
    "make", [HostileError, SlowError, AttributesError, PropertiesError, deep, group], ids=lambda make: make.__name__
)
async def test_it_is_told_of(make: type[Exception], *, configured: bool) -> None:
    with watching(configured=configured) as watched:
        stage = Stage(CANARIES, ())
        app = stage.application(script=failing(lambda _: make()))
        loop = asyncio.get_running_loop()
        async with app.running() as chat:
            begun = loop.time()
            answer = await stage.ask(app, chat, whole=True)
            ended: Observation = await chat.ended(answer)
            assert loop.time() - begun < 2
    assert ended.fields["outcome"] is Outcome.FAILED
    assert answer.faults
    assert answer.faults[0].code in (FaultCode.INTERNAL, FaultCode.PROVIDER_ERROR)
    assert [one for one in stage.told.observations if one.name is Signal.FAULT]
    assert watched.leaks(CANARIES) == []
    assert watched.texts["structlog" if configured else "logging"]
