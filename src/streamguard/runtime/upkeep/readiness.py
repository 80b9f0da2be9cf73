"""Whether the stream store can be used, as the last probes of this process found."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

from ...contained import passes
from ...deadlines import Deadline
from ...errors import StoreError, StoreForbiddenError
from ...faults import Fault, FaultCode
from ...log_lines import LOGGER, LogEvent, log_line
from ...observations import Observation, Signal
from ...settings import Settings
from ...stores.breaker import Breaker
from ...stores.roles.service import StoreService
from ...unavailable import UnavailableReason, reason_of

__all__ = ["Readiness"]

FAILURES: Final = 2
"""So many failed probes in a row make a store unreachable: a single one may be lost."""
FASTER_AFTER_FAILURE: Final = 4
"""After a failed probe the next one comes so many times sooner."""
JITTER: Final = 0.1
"""By which part pauses differ, so that the workers of a deployment do not probe together."""


class Readiness:
    """Probes the store every `readiness_probe_seconds`; while the breaker is open, only the breaker probes. No request
    causes a probe, and probes do not overlap."""

    def __init__(
        self,
        store: StoreService,
        breaker: Breaker,
        settings: Settings,
        *,
        observe: Callable[[Observation], None],
    ) -> None:
        self._store = store
        self._breaker = breaker
        self._settings = settings
        self._observe = observe
        self._failures = 0
        self._lacks: tuple[str, ...] = ()
        self._error: StoreError | TimeoutError | None = None
        """What the last probe failed with."""
        self._told = False
        """The log says that the store is away."""
        breaker.when_closed(self._answered)

    @property
    def reasons(self) -> tuple[str, ...]:
        """What is wrong with the store; empty if it can be used."""
        if self._lacks:
            return tuple(f"store_forbids:{name}" for name in self._lacks)
        if self._breaker.open or self._failures >= FAILURES:
            return ("store_unreachable",)
        return ()

    @property
    def why(self) -> UnavailableReason | None:
        """Why the store is unreachable; None while it is not, and where nobody knows."""
        if "store_unreachable" not in self.reasons:
            return None
        reason = self._breaker.reason if self._error is None else _reason_of(self._error)
        return None if reason is UnavailableReason.OTHER else reason

    async def begin(self) -> None:
        """Make the first probe, which decides alone. It raises nothing: a guard starts without its store too."""
        try:
            await self.probe()
        except BaseException as exc:  # a store's mistake; the next probe, in a task, is counted as a crash
            if passes(exc):
                raise
            self._failures = 1
            self._observe(Observation(Signal.FAULT, fault=Fault.of(FaultCode.INTERNAL), error=exc))
        if self._failures:
            self._failures = FAILURES
            self._log_if_away()

    async def run(self, *, on_probe: Callable[[], object]) -> None:
        """Probe until cancelled; `on_probe` is called after each probe."""
        while True:
            seconds = self._settings.readiness_probe_seconds / (FASTER_AFTER_FAILURE if self._failures else 1)
            await asyncio.sleep(seconds * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311 -- no secret
            if not self._breaker.open:
                await self.probe()
            on_probe()

    async def probe(self) -> None:
        """Probe the store once."""
        try:
            async with Deadline.after(2 * self._settings.command_seconds).limit():
                await self._store.ping()
        except StoreForbiddenError as exc:
            self._forbidden(exc.lacks)
        except (StoreError, TimeoutError) as exc:
            self._failures += 1
            self._error = exc
            self._log_if_away()
        else:
            self._answered()

    def _answered(self) -> None:
        self._failures, self._lacks, self._error = 0, (), None
        self._log_if_back()

    def _log_if_away(self) -> None:
        """Of an open breaker the log has a line already."""
        if self._told or self._breaker.open or self._failures < FAILURES:
            return
        self._told = True
        fields: dict[str, str] = {}
        if self._error is not None:
            fields = {"error": type(self._error).__name__, "error_reason": _reason_of(self._error)}
        log_line(LOGGER, logging.WARNING, LogEvent.STORE_UNREACHABLE, fields)

    def _log_if_back(self) -> None:
        if self._told:
            self._told = False
            log_line(LOGGER, logging.INFO, LogEvent.STORE_REACHABLE, {})

    def _forbidden(self, lacks: tuple[str, ...]) -> None:
        self._failures = 0
        self._log_if_back()
        if lacks != self._lacks:
            self._lacks = lacks
            warning = f"the account of the stream store may not do what streams need; it lacks {', '.join(lacks)}"
            self._observe(Observation(Signal.STORE_WARNING, fields={"warning": warning}))


def _reason_of(error: StoreError | TimeoutError) -> UnavailableReason:
    return UnavailableReason.TIMEOUT if isinstance(error, TimeoutError) else reason_of(error)
