"""A host's own quota service: what its functions are given, what becomes of what they raise."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from streamguard.errors import (
    ConfigurationError,
    QuotaConflictError,
    QuotaError,
    QuotaExceededError,
    QuotaInvalidError,
    QuotaTimeoutError,
    QuotaUnavailableError,
)
from streamguard.quota import (
    Admitted,
    CallableQuota,
    QuotaCall,
    QuotaService,
    RefusalReason,
    Refused,
    ReservationState,
    Settlement,
)
from streamguard.testing._quota_store.steps import requests, tokens
from streamguard.values import SessionKey, StreamRef

pytestmark = pytest.mark.anyio

REF = StreamRef(SessionKey("ann", "s1"), "stream")


class Service:
    """A host's service, which remembers what it was asked and raises what it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, QuotaCall]] = []
        self.raises: BaseException | None = None

    async def reserve(self, call: QuotaCall) -> None:
        self._called("reserve", call)

    async def commit(self, call: QuotaCall) -> None:
        self._called("commit", call)

    async def release(self, call: QuotaCall) -> None:
        self._called("release", call)

    def _called(self, name: str, call: QuotaCall) -> None:
        self.calls.append((name, call))
        if self.raises is not None:
            raise self.raises


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def quota(service: Service) -> QuotaService:
    return CallableQuota(service.reserve, service.commit, service.release)


async def test_functions_get_the_stream_and_the_amounts(service: Service, quota: QuotaService) -> None:
    answer = await quota.reserve(REF, {"tokens": 30}, [tokens(100)])
    assert isinstance(answer, Admitted)
    assert (answer.reservation.state, answer.reservation.amounts) == (ReservationState.RESERVED, {"tokens": 30})
    assert await quota.commit(REF, {"tokens": 12}) == Settlement(
        ReservationState.COMMITTED, {"tokens": 12}, changed=True
    )
    assert await quota.commit(REF) == Settlement(ReservationState.COMMITTED, {}, changed=True)
    assert await quota.release(REF) == Settlement(ReservationState.RELEASED, changed=True)
    assert [(name, call.key, call.stream_id, dict(call.amounts)) for name, call in service.calls] == [
        ("reserve", REF.key, "stream", {"tokens": 30}),
        ("commit", REF.key, "stream", {"tokens": 12}),
        ("commit", REF.key, "stream", {}),
        ("release", REF.key, "stream", {}),
    ]
    assert await quota.start() == []
    await quota.aclose()


def test_an_idempotency_key_names_one_stream() -> None:
    same = QuotaCall(REF.key, "stream", {"tokens": 30}).idempotency_key
    assert QuotaCall(REF.key, "stream").idempotency_key == same
    others = [
        QuotaCall(REF.key, "other"),
        QuotaCall(SessionKey("eve", "s1"), "stream"),
        QuotaCall(SessionKey("ann", "s2"), "stream"),
        QuotaCall(SessionKey("anns", "1"), "stream"),
    ]
    assert len({same, *(other.idempotency_key for other in others)}) == 5
    assert len(same) == 64


async def test_it_refuses_by_raising(service: Service, quota: QuotaService) -> None:
    service.raises = QuotaExceededError("no more", retry_after_seconds=60)
    assert await quota.reserve(REF, {"tokens": 30}, []) == Refused(RefusalReason.SPENT, 60)
    for settle in (quota.commit, quota.release):
        with pytest.raises(QuotaUnavailableError):
            await settle(REF)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (KeyError("hunter2"), QuotaUnavailableError),
        (OSError("hunter2"), QuotaUnavailableError),
        (TimeoutError("hunter2"), QuotaTimeoutError),
        (QuotaInvalidError("never", operation="charge"), QuotaInvalidError),
        (QuotaConflictError("another", operation="charge"), QuotaConflictError),
    ],
)
async def test_what_it_raises_becomes_ours(
    service: Service, quota: QuotaService, raised: Exception, expected: type[QuotaError]
) -> None:
    service.raises = raised
    calls: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: quota.reserve(REF, {"tokens": 30}, [tokens(100)]),
        lambda: quota.commit(REF),
        lambda: quota.release(REF),
    )
    for call in calls:
        with pytest.raises(expected) as caught:
            await call()
        assert type(caught.value) is expected
        assert "hunter2" not in str(caught.value)
        assert caught.value is raised or caught.value.__cause__ is raised


async def test_what_can_never_be_does_not_reach_it(service: Service, quota: QuotaService) -> None:
    wrong: tuple[Any, ...] = (float("nan"), -1, 2**63, True, "1")
    for amount in wrong:
        with pytest.raises(QuotaInvalidError):
            await quota.reserve(REF, {"tokens": amount}, [])
        with pytest.raises(QuotaInvalidError):
            await quota.commit(REF, {"tokens": amount})
    with pytest.raises(QuotaInvalidError):
        await quota.reserve(REF, {"tokens": 30}, [tokens(100), requests(5)])
    with pytest.raises(QuotaInvalidError):
        await quota.release(StreamRef(REF.key, "x" * 257))
    assert service.calls == []


async def test_cancelling_reaches_the_function(service: Service) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def reserve(call: QuotaCall) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    quota = CallableQuota(reserve, service.commit, service.release)
    task = asyncio.ensure_future(quota.reserve(REF, {"tokens": 30}, []))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_the_cancellation_of_a_task_that_a_function_awaits_is_its_failure() -> None:
    async def awaits_a_cancelled_task(call: QuotaCall) -> None:
        task = asyncio.ensure_future(asyncio.Event().wait())
        task.cancel()
        await task

    quota = CallableQuota(awaits_a_cancelled_task, awaits_a_cancelled_task, awaits_a_cancelled_task)
    calls: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: quota.reserve(REF, {"tokens": 30}, []),
        lambda: quota.commit(REF),
        lambda: quota.release(REF),
    )
    for call in calls:
        with pytest.raises(QuotaUnavailableError) as caught:
            await call()
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)


def _sync(call: QuotaCall) -> None: ...


async def _nothing() -> None: ...


async def _two(key: SessionKey, call: QuotaCall) -> None: ...


@pytest.mark.parametrize("function", [None, "reserve", _sync, _nothing, _two])
def test_what_cannot_be_called_so_is_refused_at_once(service: Service, function: Any) -> None:
    for functions in (
        (function, service.commit, service.release),
        (service.reserve, function, service.release),
        (service.reserve, service.commit, function),
    ):
        with pytest.raises(ConfigurationError, match="async def"):
            CallableQuota(*functions)
