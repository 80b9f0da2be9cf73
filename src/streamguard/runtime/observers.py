"""Tells every telemetry sink, even when another one fails."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from types import TracebackType
from typing import Final

from ..contained import passes
from ..faults import Fault
from ..log_lines import LOGGER, LogEvent, log_line
from ..observations import MEASUREMENTS, ClosableObserver, Observation, Observer, SelectiveObserver, Signal
from ..scopes import NO_SCOPE, ScopedObserver, StreamContext, TracingObserver, completed
from ..stores.damage import Unreadable
from ..wire.base import LeftOut, ToolNews
from .producing.phases import Output
from .producing.stream import LiveStream
from .request import Ending, StreamRequest

__all__ = ["Observers"]

Failed = Callable[[Observer, str, BaseException], None]
Wants = Callable[[Signal], bool]

_FACTS: Final = frozenset(Signal) - MEASUREMENTS
CLOSE_SECONDS: Final = 2.0
"""How long each observer may take to close."""
SLOW_SECONDS: Final = 0.1
"""An observer that takes longer for one call is told of in the log: nothing else runs meanwhile."""
QUIET_SECONDS: Final = 0.05
"""For how long observers that had no use for what comes of every stream are not asked again: they would be, a dozen
times for a stream."""
_OF_EVERY_STREAM: Final = frozenset(
    {Signal.STREAM_OPENED, Signal.FIRST_EVENT, Signal.STREAM_ENDED, Signal.VIEWER_JOINED, Signal.VIEWER_LEFT}
)
"""No news of a fault."""


class _SinkScopes:
    """The scopes of some sinks around one piece of work. `failed` is told of each that raised."""

    __slots__ = ("_context", "_entered", "_failed", "_scopes")

    def __init__(
        self, scopes: Sequence[tuple[Observer, AbstractContextManager[object]]], context: StreamContext, failed: Failed
    ) -> None:
        self._scopes = scopes
        self._context = context
        self._failed = failed
        self._entered: list[tuple[Observer, AbstractContextManager[object]]] = []

    def __enter__(self) -> None:
        for sink, own in self._scopes:
            try:
                own.__enter__()
            except BaseException as exc:
                if isinstance(exc, KeyboardInterrupt):
                    raise
                self._failed(sink, f"scope {self._context.work}", exc)
            else:
                self._entered.append((sink, own))

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Sinks are told of no exception: they could keep its text.
        for sink, own in reversed(self._entered):
            try:
                own.__exit__(None, None, None)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                self._failed(sink, f"scope {self._context.work}", error)


class Observers(SelectiveObserver):
    """Calls many observers as one, each with the signals that it asked for. An exception of one is counted in `errors`,
    logged the first time, and goes no further. One that takes long is logged the first time too. `clock` gives seconds
    that never go back."""

    def __init__(self, observers: Iterable[Observer], *, clock: Callable[[], float] = time.monotonic) -> None:
        self.errors: int = 0
        """How many calls of an observer raised."""
        self._told_of: set[int] = set()
        self._slow: set[int] = set()
        self._by_signal: dict[Signal, tuple[tuple[Observer, Wants | None], ...]] = {}
        """Who may be told of a signal; beside some of them, whether they want it at this moment."""
        observers = tuple(observers)
        self._scoped = tuple(observer for observer in observers if isinstance(observer, ScopedObserver))
        self._tracing = tuple(observer for observer in reversed(observers) if isinstance(observer, TracingObserver))
        self._closable = tuple(observer for observer in observers if isinstance(observer, ClosableObserver))
        told = [(observer, _signals_of(observer), _wants_of(observer)) for observer in observers]
        self._clock = clock
        self._unwanted_until = dict.fromkeys(Signal, -math.inf)
        """Until when nobody wants a signal `_OF_EVERY_STREAM`, since nobody did."""
        self._no_scope_until = -math.inf
        """Until when there is no scope, likewise. Only sinks that choose what they are told of may have none."""
        self._scopes_are_selective = all(isinstance(one, SelectiveObserver) for one in self._scoped)
        for signal in Signal:
            self._by_signal[signal] = tuple((observer, wants) for observer, signals, wants in told if signal in signals)

    def __call__(self, observation: Observation, /) -> None:
        incomplete = observation.trace is None or observation.request_id is None
        for observer, wants in self._by_signal[observation.name]:
            try:
                if wants is not None and not wants(observation.name):
                    continue
            except BaseException as exc:
                if isinstance(exc, KeyboardInterrupt):
                    raise
                self._failed(observer, f"wants {observation.name}", exc)
                continue
            if incomplete:
                observation, incomplete = completed(observation), False
            began = time.perf_counter()
            try:
                returned: object = observer(observation)  # type: ignore[func-returns-value] # a host's may return any
                if returned is not None and inspect.iscoroutine(returned):
                    returned.close()
                    raise TypeError("an observer must not wait, but this one returned a coroutine")
            except BaseException as exc:  # a sink that fails must hurt neither streams nor other sinks
                if isinstance(exc, KeyboardInterrupt):
                    raise
                self._failed(observer, observation.name, exc)
            if (seconds := time.perf_counter() - began) > SLOW_SECONDS:
                self._was_slow(observer, observation.name, seconds)

    async def aclose(self) -> None:
        """Close those that can be closed, each for `CLOSE_SECONDS` at most. An exception is counted and goes no
        further."""
        for observer in self._closable:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):  # noqa: TID251 -- this process's own patience with itself
                    await observer.aclose()
            except BaseException as exc:
                if passes(exc):
                    raise
                self._failed(observer, "aclose", exc)

    def wants(self, signal: Signal) -> bool:
        """Whether anybody is told of this: what nobody is told of need not be found out."""
        if self._clock() < self._unwanted_until[signal]:
            return False
        for observer, wants in self._by_signal[signal]:
            try:
                if wants is None or wants(signal):
                    return True
            except BaseException as exc:
                if isinstance(exc, KeyboardInterrupt):
                    raise
                self._failed(observer, f"wants {signal}", exc)
        if signal in _OF_EVERY_STREAM:
            self._unwanted_until[signal] = self._clock() + QUIET_SECONDS
        return False

    def _was_slow(self, observer: Observer, signal: str, seconds: float) -> None:
        if id(observer) not in self._slow:
            self._slow.add(id(observer))
            with suppress(Exception):
                fields = {"observer": type(observer).__name__, "at": signal, "seconds": round(seconds, 3)}
                log_line(LOGGER, logging.WARNING, LogEvent.OBSERVER_SLOW, fields)

    def _failed(self, observer: Observer, signal: str, error: BaseException) -> None:
        self.errors += 1
        if id(observer) not in self._told_of:
            self._told_of.add(id(observer))
            with suppress(Exception):
                fields = {"observer": type(observer).__name__, "error": type(error).__name__, "at": signal}
                log_line(LOGGER, logging.ERROR, LogEvent.OBSERVER_FAILED, fields)

    @property
    def scopeless(self) -> bool:
        """Whether no sink would have a scope of its own now."""
        return self._clock() < self._no_scope_until

    def scope(self, context: StreamContext, /) -> AbstractContextManager[object]:
        """Every sink's own scope around a piece of work. A sink's exception is counted and goes no further."""
        if self._clock() < self._no_scope_until:
            return NO_SCOPE
        scopes: list[tuple[Observer, AbstractContextManager[object]]] | None = None
        for sink in self._scoped:
            try:
                own = sink.scope(context)
            except BaseException as exc:
                if isinstance(exc, KeyboardInterrupt):
                    raise
                self._failed(sink, f"scope {context.work}", exc)
                continue
            if own is not NO_SCOPE:
                scopes = [*(scopes or ()), (sink, own)]
        if scopes is not None:
            return _SinkScopes(scopes, context, self._failed)
        if self._scopes_are_selective:
            self._no_scope_until = self._clock() + QUIET_SECONDS
        return NO_SCOPE

    def traceparent(self) -> str | None:
        """The trace that the present task belongs to, as the first sink that knows one says: the host's own before the
        built-in ones."""
        for observer in self._tracing:
            try:
                found = observer.traceparent()
            except BaseException as exc:
                if isinstance(exc, KeyboardInterrupt):
                    raise
                self._failed(observer, "traceparent", exc)
            else:
                if found is not None:
                    return found
        return None

    def opened(self, stream: LiveStream) -> None:
        """A stream was registered, or begins without a log."""
        if not self.wants(Signal.STREAM_OPENED):
            return
        fields: dict[str, str | bool | float] = {
            "protocol": stream.protocol.name,
            "binding": stream.request.binding,
            "degraded": stream.degraded,
            "framework": stream.request.framework,
            "seconds": stream.request.arrived_seconds,
        }
        self(Observation.about(stream, Signal.STREAM_OPENED, fields=fields))

    def first_event(self, stream: LiveStream) -> None:
        """The first event of a stream can be seen. Not of one that ended before its endpoint gave anything."""
        if stream.output is Output.NOTHING or not self.wants(Signal.FIRST_EVENT):
            return
        activity = stream.activity
        waited = stream.request.arrived_seconds if stream.request.arrived_at is not None else activity.age_seconds
        fields: dict[str, str | float] = {
            "protocol": stream.protocol.name,
            "binding": stream.request.binding,
            "seconds": waited,
        }
        if activity.provider_seconds is not None:
            fields["provider_seconds"] = activity.provider_seconds
        self(Observation.about(stream, Signal.FIRST_EVENT, fields=fields))

    def tool(self, stream: LiveStream, news: ToolNews) -> None:
        """A reply called a tool, or tells how that came out."""
        fields = {"tool": news.tool, "tool_call_id": news.tool_call_id, "outcome": news.outcome}
        self(Observation.about(stream, Signal.TOOL_CALLED, fields=fields))

    def unreadable(self, found: Unreadable) -> None:
        """The store found a record that it cannot read."""
        fields = {"record": found.record, "key": found.key, "reason": found.why, "action": found.action}
        self(Observation(Signal.RECORD_UNREADABLE, ref=found.ref, fields=fields))

    def left_out(self, stream: LiveStream, fault: Fault, left_out: LeftOut) -> None:
        """A value was replaced. Operators are told its type, never its content."""
        first, count = left_out.replaced[0], len(left_out.replaced)
        fields: dict[str, str | int] = {"part": left_out.part, "type": first.type_name, "count": count}
        self(Observation.about(stream, Signal.FAULT, fault=fault, fields=fields))

    def notice(self, stream: LiveStream, fault: Fault) -> None:
        """An endpoint told its client of a fault. Its reason may be a text of the host's."""
        if fault.reason is not None and not fault.reason.isidentifier():
            fault = replace(fault, reason=None)
        self.fault(stream, fault, None)

    def superseded(self, stream: LiveStream, fault: Fault) -> None:
        """Another worker owns a stream that was written here."""
        self(Observation.about(stream, Signal.STREAM_SUPERSEDED, fault=fault, fields=_where_it_is(stream)))

    def refused(self, request: StreamRequest, fault: Fault) -> None:
        """A request gets no stream."""
        self(Observation(Signal.FAULT, request_id=request.request_id, fault=fault, owner=request.key.owner))

    def fault(
        self, stream: LiveStream, fault: Fault, ending: Ending | None, error: BaseException | None = None
    ) -> None:
        """Something went wrong with a stream; `ending` if it ends so, else the error behind it, if it is known."""
        fields = _where_it_is(stream)
        if ending is not None:
            fields["outcome"] = ending.outcome
        error = error if ending is None else ending.error
        self(Observation.about(stream, Signal.FAULT, fault=fault, error=error, fields=fields))


def _where_it_is(stream: LiveStream) -> dict[str, str | bool | int]:
    return {
        "binding": stream.request.binding,
        "protocol": stream.protocol.name,
        "framework": stream.request.framework,
        "begun": stream.output is Output.ITEMS,
        "seq": stream.feed.emitted,
        "epoch": stream.epoch,
    }


def _wants_of(observer: Observer) -> Wants | None:
    """Whom to ask whether an observer wants a signal at a moment; None for one that wants all that it asked for."""
    return observer.wants if isinstance(observer, SelectiveObserver) else None


def _signals_of(observer: Observer) -> frozenset[Signal]:
    """What an observer is to be told: what its `signals` name, or every fact."""
    signals: object = getattr(observer, "signals", None)
    if signals is None:
        return _FACTS
    return frozenset(signal for signal in Signal if isinstance(signals, Collection) and signal in signals)
