"""Saves and settlements that fail, are late, or are refused."""

from __future__ import annotations

from typing import Final

from streamguard import FaultCode, Signal
from streamguard.errors import MessageConflictError, MessageInvalidError, QuotaInvalidError
from streamguard.messages import MemoryMessageStore
from streamguard.quota import CallableQuota, Quota, QuotaCall
from streamguard.testing import FaultyMessageStore

from .canaries import Canaries
from .scenario import Scenario, Stage

__all__ = ["SCENARIOS"]

LIMIT: Final = Quota(10, "day", "requests")


def database_error(canaries: Canaries) -> Exception:
    """As drivers raise it: with the statement, its parameters and the URL."""
    error = RuntimeError(f"(INSERT INTO messages VALUES ('{canaries.prompt}')) {canaries.database}")
    error.__cause__ = OSError(f"postgresql://app:{canaries.password}@db.example/chat")
    return error


async def database_fails(stage: Stage) -> None:
    """A function of the host's that saves raises whatever its driver does."""

    async def save(_: object) -> None:
        raise database_error(stage.canaries)

    app = stage.application(messages=save, max_outbox_attempts=1)
    async with app.running() as chat:
        await stage.ask(app, chat, whole=True)
        await stage.told.of(Signal.SAVE_BURIED)


async def message_refused(stage: Stage) -> None:
    async def save(_: object) -> None:
        raise MessageInvalidError(stage.canaries.database, operation="append") from database_error(stage.canaries)

    app = stage.application(messages=save)
    async with app.running() as chat:
        await stage.ask(app, chat, whole=True)


async def database_slow(stage: Stage) -> None:
    messages = FaultyMessageStore(MemoryMessageStore())
    app = stage.application(messages=messages, save_total_seconds=5.0)
    async with app.running() as chat:
        answer = await stage.ask(app, chat)
        await answer.read(2)
        messages.faults.hold("append")
        app.go.set()
        await stage.rest(chat, answer)
        messages.faults.release()
        await stage.told.of(Signal.REPLY_SAVED)


async def other_version(stage: Stage) -> None:
    async def save(_: object) -> None:
        raise MessageConflictError(stage.canaries.database, operation="append") from database_error(stage.canaries)

    app = stage.application(messages=save)
    async with app.running() as chat:
        await stage.ask(app, chat, whole=True)


def _unsettled(error: Exception) -> CallableQuota:
    """A service of the host's that settles nothing."""

    async def reserve(_: QuotaCall) -> None:
        """There is always room."""

    async def settle(_: QuotaCall) -> None:
        raise error

    return CallableQuota(reserve, settle, settle)


async def settlement_refused(stage: Stage) -> None:
    """For good: an operator has to know."""
    quotas = _unsettled(QuotaInvalidError(stage.canaries.quota_service, operation="commit"))
    app = stage.application(quota=LIMIT, quotas=quotas)
    async with app.running() as chat:
        await stage.ask(app, chat, whole=True)
        await stage.told.of(Signal.SAVE_BURIED)


async def settlement_owed(stage: Stage) -> None:
    """The next question is told that the earlier answer is not settled yet."""
    quotas = _unsettled(OSError(f"https://user:{stage.canaries.quota_service}@quota.example is away"))
    app = stage.application(quota=LIMIT, quotas=quotas)
    async with app.running() as chat:
        await stage.ask(app, chat, whole=True)
        await stage.ask(app, chat, whole=True)


SCENARIOS: Final = (
    Scenario(FaultCode.PERSISTENCE_FAILED, "database_fails", database_fails),
    Scenario(FaultCode.PERSISTENCE_FAILED, "message_refused", message_refused),
    Scenario(FaultCode.PERSISTENCE_PENDING, "database_slow", database_slow),
    Scenario(FaultCode.SAVE_CONFLICT, "other_version", other_version),
    Scenario(FaultCode.QUOTA_RELEASE_FAILED, "settlement_refused", settlement_refused),
    Scenario(FaultCode.QUOTA_RELEASE_FAILED, "settlement_owed", settlement_owed),
)
