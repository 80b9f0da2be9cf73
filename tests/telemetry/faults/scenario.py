"""`Scenario`: one way to a fault. `Provoked`: what became of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from streamguard import Fault, FaultCode, FaultError, Observation, Observer
from streamguard.testing import Answer, GuardedApp

from ..observed import Told
from .application import SESSION, Application
from .canaries import CANARIES, Canaries

__all__ = ["Provoked", "Scenario", "Stage"]


class Stage:
    """What a scenario plays on: it makes applications, and keeps what came of them."""

    def __init__(self, canaries: Canaries, observers: Iterable[Observer]) -> None:
        self.canaries = canaries
        self.observers = tuple(observers)
        self.told = Told()
        self.answers: list[Answer] = []
        self.raised: list[BaseException] = []

    def application(self, **options: Any) -> Application:
        """One that tells this stage's observers."""
        return Application(self.canaries, (self.told, *self.observers), **options)

    async def ask(
        self,
        app: Application,
        chat: GuardedApp,
        *,
        session: str = SESSION,
        prompt: str = "",
        whole: bool = False,
        **headers: str,
    ) -> Answer:
        """Ask, and keep the answer; `whole` reads it to its end, and waits until the stream has ended."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.keep(await app.ask(chat, session=session, prompt=prompt, headers=named))
        if whole:
            app.go.set()
            await self.rest(chat, answer)
        return answer

    async def rest(self, chat: GuardedApp, answer: Answer) -> None:
        """Read an answer to its end, which is the stream's end too."""
        await answer.whole()
        if answer.stream_id is not None and answer.status == 200:
            await chat.ended(answer)

    def keep(self, answer: Answer) -> Answer:
        """Let what a client got be looked through for canaries."""
        self.answers.append(answer)
        return answer


@dataclass(frozen=True)
class Provoked:
    """What a scenario led to."""

    code: FaultCode
    observations: tuple[Observation, ...]
    """All that observers were told, in every application of the scenario."""
    answers: tuple[Answer, ...]
    """All that clients got."""
    raised: tuple[BaseException, ...]
    """What the host's own code got."""

    @property
    def observed(self) -> list[Observation]:
        """The observations that carry a fault of the code."""
        return [one for one in self.observations if one.fault is not None and one.fault.code is self.code]

    @property
    def sent(self) -> list[Fault]:
        """Every fault that a client got, of any code."""
        return [fault for answer in self.answers for fault in answer.faults]

    @property
    def fault(self) -> Fault:
        """The fault that was provoked: as it was observed, or else as a client or the host got it.

        Raises:
            AssertionError: nobody was told of such a fault.
        """
        for fault in self._faults():
            if fault.code is self.code:
                return fault
        raise AssertionError(f"nobody was told of {self.code}")

    def _faults(self) -> Iterator[Fault]:
        yield from (one.fault for one in self.observations if one.fault is not None)
        yield from self.sent
        yield from (error.fault for error in self.raised if isinstance(error, FaultError))
        for answer in self.answers:  # `plain` tells an end without a fault of its own by its code
            if f'"{self.code}"'.encode() in answer.body:
                yield Fault.of(self.code)


@dataclass(frozen=True)
class Scenario:
    """One way to a fault, through the public surface of a guarded application, on the memory store."""

    code: FaultCode
    name: str
    """Tells the ways to one code apart."""
    play: Callable[[Stage], Awaitable[None]]
    untold: str = ""
    """Why observers are not told of the fault itself, only its client is; empty where they are."""

    @property
    def observed(self) -> bool:
        """Whether observers are told of the fault itself."""
        return not self.untold

    async def run(self, *, observers: Iterable[Observer] = (), canaries: Canaries = CANARIES) -> Provoked:
        """Provoke the fault, once. `observers` are told everything, beside the log and Sentry; all applications have
        been drained on return."""
        stage = Stage(canaries, observers)
        await self.play(stage)
        return Provoked(self.code, tuple(stage.told.observations), tuple(stage.answers), tuple(stage.raised))

    def __str__(self) -> str:
        return f"{self.code}-{self.name}"
