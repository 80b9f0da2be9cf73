"""A guarded shop with ordinary visitors, whose metrics are scraped once a minute."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from streamguard import Observation, Run, Settings, StreamGuard
from streamguard.errors import (
    MessageConflictError,
    MessageInvalidError,
    MessageUnavailableError,
    QuotaTimeoutError,
    QuotaUnavailableError,
)
from streamguard.messages import Appended, MemoryMessageStore, Message
from streamguard.quota import Admitted, MemoryQuotaStore, Quota, QuotaStore, Refused, Reservation
from streamguard.stores import StreamStore
from streamguard.stores.memory import MemoryStore
from streamguard.telemetry.metrics import PrometheusMetrics
from streamguard.testing import FaultyMessageStore, GuardedApp
from streamguard.values import SessionKey, StreamRef
from tests.web.serving import user_of

from .recording import MINUTE, Recording

__all__ = ["DAILY", "OWNER", "Counters", "Database", "Shop"]

OWNER: Final = "ann"
ANSWER_SECONDS: Final = 2.0
BETWEEN_SECONDS: Final = 5.0
"""Between two visitors: they are through before the minute is."""
STORE_SECONDS: Final = 0.001
"""What each step of the store takes."""
DAILY: Final = Quota(1_000_000, "day", "requests")


class ProviderDownError(Exception):
    """As a provider's SDK raises it."""

    status_code = 500


class Database(MemoryMessageStore):
    """A host's message store, with single sessions that it has trouble with."""

    def __init__(self) -> None:
        super().__init__()
        self.conflicts: set[str] = set()
        self.refuses: set[str] = set()
        self.delays: set[str] = set()

    async def append(self, key: SessionKey, message: Message) -> Appended:
        if key.session_id in self.conflicts:
            raise MessageConflictError("append: another message has this id", operation="append")
        if key.session_id in self.refuses:
            raise MessageInvalidError("append: a column is too short", operation="append")
        if key.session_id in self.delays:
            raise MessageUnavailableError("append: a row is locked", operation="append")
        return await super().append(key, message)


class Counters(MemoryQuotaStore):
    """A quota store that may be away, or whose index may be."""

    hangs = False
    away = False

    async def reserve(self, ref: StreamRef, amounts: Mapping[str, int], quotas: Sequence[Quota]) -> Admitted | Refused:
        if self.away:
            raise QuotaUnavailableError("reserve: no answer", operation="reserve")
        return await super().reserve(ref, amounts, quotas)

    async def due(self, *, limit: int, claim_seconds: float) -> list[Reservation]:
        if self.hangs:
            raise QuotaTimeoutError("due: no answer", operation="due")
        return await super().due(limit=limit, claim_seconds=claim_seconds)


class Shop:
    """One worker after the other: a deployment ends it, and begins a new one that serves the same address.

    Args:
        metrics: what is recorded.
        store: where streams are; a memory store, each step of which takes a millisecond, by default.
        quotas: where they are counted; in memory by default.
        minute_seconds: how long a minute takes: less where the clock is a real one.
    """

    def __init__(
        self,
        metrics: frozenset[str],
        store: StreamStore | None = None,
        quotas: QuotaStore | None = None,
        *,
        minute_seconds: float = MINUTE,
        **settings: Any,
    ) -> None:
        self.shared = store
        self._minute = minute_seconds
        self._pace = minute_seconds / MINUTE
        self.recording = Recording(lambda: self.metrics.exposition().decode(), only=metrics)
        self.database = Database()
        self.messages = FaultyMessageStore(self.database)
        self.quotas = Counters()
        self.shared_quotas = quotas
        self.store: StreamStore = store or MemoryStore(clock=time.monotonic)
        self._settings = Settings.model_validate(settings)
        self._visits = 0
        self._waiting: list[asyncio.Event] = []
        self._scraped_at = time.time()
        self._over_minutes: list[asyncio.Task[None]] = []
        self._beside: list[asyncio.Task[None]] = []
        # What goes wrong at the endpoint or beside it:
        self.provider_fails = False
        self.blocks_seconds = 0.0
        self.sink_fails = False

    # -- the worker ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        self.metrics = PrometheusMetrics(registry=CollectorRegistry())
        guard = StreamGuard(
            self.store,
            authenticate=user_of,
            messages=self.messages,
            quota=self.shared_quotas or self.quotas,
            observers=(self.metrics, self._sink),
            settings=self._settings,
        )

        @guard.stream("request.query_params.id", binding="chat", quota=DAILY)
        async def chat(request: Request, run: Run) -> AsyncIterator[object]:
            yield "one "
            if self.blocks_seconds:
                time.sleep(self.blocks_seconds)  # the misuse itself
            if self.provider_fails and self._visits % 2:
                raise ProviderDownError("overloaded")
            if "wait" in request.query_params:
                event = asyncio.Event()
                self._waiting.append(event)
                await event.wait()
            else:
                await asyncio.sleep(ANSWER_SECONDS * self._pace)
            yield "two"

        app = Starlette(routes=[Route("/api/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
        guard.install(app, "/api/chat")
        self.guard = guard
        self.chat = GuardedApp(app, guard, headers={"x-user": OWNER}, wait_seconds=300.0)
        await self.chat.__aenter__()
        if self.shared is None:
            self.chat.store.delay(STORE_SECONDS)

    async def end(self) -> None:
        """As a deployment ends it: what runs goes on for a while, then the process is gone."""
        self.go_on()
        await self.chat.__aexit__(None, None, None)
        await asyncio.gather(*self._over_minutes)
        self._over_minutes.clear()

    async def deploy(self) -> None:
        """End it, and begin a new one."""
        await self.end()
        await self.start()

    def _sink(self, _: Observation) -> None:
        if self.sink_fails:
            raise RuntimeError("a sink of the host's")

    async def repair(self) -> None:
        """Nothing goes wrong any more, and an operator has replayed what was given up."""
        self.heal()
        for owed in await self.store.outbox_entries(dead=True, limit=100):
            await self.store.requeue(owed.ref)

    def heal(self) -> None:
        """Nothing goes wrong any more."""
        self.provider_fails = self.sink_fails = self.quotas.hangs = self.quotas.away = False
        self.blocks_seconds = 0.0
        for sessions in (self.database.conflicts, self.database.refuses, self.database.delays):
            sessions.clear()
        self.messages.faults.heal()
        self.chat.store.heal()
        if self.shared is None:
            self.chat.store.delay(STORE_SECONDS)
        self.go_on()

    def go_on(self) -> None:
        """Let answers end that wait."""
        for event in self._waiting:
            event.set()
        self._waiting.clear()

    # -- its visitors -------------------------------------------------------------------------------------------------

    def session(self) -> str:
        self._visits += 1
        return f"s{self._visits}"

    async def ask(self, session: str | None = None, *, wait: bool = False) -> tuple[str, Any]:
        """An answer that has begun; `wait`, and it goes on until `go_on`."""
        session = session or self.session()
        answer = await self.chat.post({}, path=f"/api/chat?id={session}{'&wait=1' if wait else ''}")
        return session, answer

    async def read(self, session: str | None = None) -> None:
        """A visitor who reads an answer to its end."""
        _, answer = await self.ask(session)
        if answer.status == 200:
            await answer.rest()

    async def reload(self) -> None:
        """A visitor who reloads the page in the middle of an answer."""
        session, answer = await self.ask()
        if answer.status != 200:
            return
        await answer.read(2)
        answer.drop()
        again = await self.chat.resume(session)
        if again.is_stream:
            await again.rest()

    async def stop(self) -> None:
        """A visitor who stops an answer."""
        session, answer = await self.ask(wait=True)
        if answer.status == 200:
            await answer.read(2)
            await self.chat.stop(session)
            await answer.rest()

    async def visits(self) -> None:
        """What comes in a minute: four answers that are read, one of them after a reload; one that is stopped; and a
        page without an answer to go on with."""
        for visit in (self.read, self.read, self.reload, self.read, self.stop, self.open):
            with suppress(AssertionError):  # of an answer that the fault under test cut
                await visit()
            await asyncio.sleep(BETWEEN_SECONDS * self._pace)

    async def open(self) -> None:
        """A visitor who opens a page without an answer to go on with."""
        await self.chat.resume("never")

    def beside(self, visits: Coroutine[Any, Any, None]) -> None:
        """Others, who come in the same minute."""
        self._beside.append(asyncio.ensure_future(visits))

    def beside_minutes(self, work: Coroutine[Any, Any, None]) -> None:
        """What goes on over minutes, and has ended when the worker has."""
        self._over_minutes.append(asyncio.ensure_future(work))

    # -- time ---------------------------------------------------------------------------------------------------------

    @property
    def left_seconds(self) -> float:
        """Of the minute."""
        return self._scraped_at + self._minute - time.time()

    async def until_scraped(self) -> None:
        """The rest of the minute passes, and Prometheus comes."""
        await self._rest_of_minute()
        self.recording.scrape()

    async def unanswered(self) -> None:
        """The same, but nobody answers."""
        await self._rest_of_minute()
        self.recording.away(1)

    async def _rest_of_minute(self) -> None:
        await asyncio.gather(*self._beside)
        self._beside.clear()
        if self._minute == MINUTE:
            assert self.left_seconds > 0, "what happened took more than its minute"
        await asyncio.sleep(max(0.0, self.left_seconds))
        self._scraped_at = time.time()
