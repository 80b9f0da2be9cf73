"""A host's own quota service: three functions of the host's, called with each reservation and its end.

Each may be called again after an error or a lost answer, also by another process, so the service tells repeats by the
idempotency key. It is never asked to renew or list reservations, nor how owners stand: it must end those that are never
settled itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from ..contained import passes
from ..errors import (
    ConfigurationError,
    QuotaError,
    QuotaExceededError,
    QuotaTimeoutError,
    QuotaUnavailableError,
)
from ..values import SessionKey, StreamRef
from .limits import Quota, check_amounts, check_ref
from .records import Admitted, RefusalReason, Refused, Reservation, ReservationState, Settlement
from .store import QuotaService

__all__ = ["CallableQuota", "CommitQuota", "QuotaCall", "ReleaseQuota", "ReserveQuota"]


@dataclass(frozen=True, slots=True)
class QuotaCall:
    """What a host's function is asked to reserve, charge or free."""

    key: SessionKey
    stream_id: str
    amounts: Mapping[str, int] = field(default_factory=dict)
    """By unit. To reserve: what the reply may consume. To commit: what it consumed; a reserved unit that is not named
    is charged as reserved. To release: empty."""

    @property
    def idempotency_key(self) -> str:
        """64 hex digits, the same in every call for the same stream."""
        name = [self.key.owner, self.key.session_id, self.stream_id]
        return hashlib.sha256(json.dumps(name).encode()).hexdigest()


class ReserveQuota(Protocol):
    """Any `async def reserve(call)`: returns once the amounts are reserved, raises `QuotaExceededError` to refuse.

    Anything else it raises, unless it is another `QuotaError`, means that it is not known whether they are reserved.
    """

    async def __call__(self, call: QuotaCall, /) -> None: ...


class CommitQuota(Protocol):
    """Any `async def commit(call)`: returns once the amounts are charged, for a repeated call too."""

    async def __call__(self, call: QuotaCall, /) -> None: ...


class ReleaseQuota(Protocol):
    """Any `async def release(call)`: returns once nothing is reserved, even if nothing was."""

    async def __call__(self, call: QuotaCall, /) -> None: ...


class CallableQuota(QuotaService):
    """Reserves and settles by calling functions.

    Args:
        reserve: Called before a reply begins.
        commit: Called with what it consumed.
        release: Called when nothing is to be charged.

    Raises:
        ConfigurationError: one is not async or cannot be called with one argument.
    """

    def __init__(self, reserve: ReserveQuota, commit: CommitQuota, release: ReleaseQuota) -> None:
        for name, function in (("reserve", reserve), ("commit", commit), ("release", release)):
            _check(name, function)
        self._reserve = reserve
        self._commit = commit
        self._release = release

    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        """See `QuotaService.reserve`. The quotas are the host's to know and may be empty, and then the amounts are
        checked for being amounts only. No standings are answered."""
        check_ref("reserve", ref)
        amounts = check_amounts("reserve", amounts, quotas=quotas or None)
        try:
            await _called("reserve", self._reserve, ref, amounts)
        except QuotaExceededError as exc:
            return Refused(RefusalReason.SPENT, exc.retry_after_seconds)
        return Admitted(Reservation(ref, ReservationState.RESERVED, amounts), ())

    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        """See `QuotaService.commit`. Whether the service had committed before is not known here: every success counts
        as a change."""
        check_ref("commit", ref)
        known = check_amounts("commit", amounts or {})
        await _called("commit", self._commit, ref, known)
        return Settlement(ReservationState.COMMITTED, known, changed=True)

    async def release(self, ref: StreamRef) -> Settlement:
        """See `QuotaService.release`."""
        check_ref("release", ref)
        await _called("release", self._release, ref, {})
        return Settlement(ReservationState.RELEASED, changed=True)


async def _called(
    operation: str, function: Callable[[QuotaCall], Awaitable[None]], ref: StreamRef, amounts: Mapping[str, int]
) -> None:
    with _mapped_errors(operation):
        await function(QuotaCall(ref.key, ref.stream_id, amounts))


@contextmanager
def _mapped_errors(operation: str) -> Iterator[None]:
    try:
        yield
    except QuotaExceededError as exc:
        if operation == "reserve":
            raise
        raise QuotaUnavailableError(f"{operation}: the function cannot refuse here", operation=operation) from exc
    except QuotaError:
        raise
    except TimeoutError as exc:
        raise QuotaTimeoutError(f"{operation}: the function did not finish in time", operation=operation) from exc
    except BaseException as exc:  # a host's function may raise what it likes
        if passes(exc) and not _cancelled_elsewhere(exc):
            raise
        raise QuotaUnavailableError(
            f"{operation}: the function failed ({type(exc).__name__})", operation=operation
        ) from exc


def _cancelled_elsewhere(error: BaseException) -> bool:
    """Whether this is the cancellation of a task that the function awaited, and nobody cancelled the one that runs."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and not task.cancelling()


def _check(name: str, function: object) -> None:
    if not callable(function) or not (
        inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
    ):
        raise ConfigurationError(f"{name} of a quota is an async function, `async def {name}(call): …`")
    try:
        inspect.signature(function).bind(object())
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"{name} of a quota is called with one argument: `async def {name}(call): …`"
        ) from None
