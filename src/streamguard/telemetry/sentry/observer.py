"""The built-in observer: faults, check-ins and logs in the Sentry that the host has initialised."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

import sentry_sdk
from sentry_sdk.utils import capture_internal_exceptions

from ...observations import Observation, Observer, SelectiveObserver, Signal
from ...scopes import NO_SCOPE, StreamContext, TracingObserver, current_stream
from ..safety import id_text, short_hash
from .breadcrumbs import Trails
from .caps import PER_FINGERPRINT, Cap
from .checkins import MINUTE, MONITOR_SLUG, CheckIns
from .errors import event_of, fingerprint_of, is_captured, is_warning
from .logs import are_enabled, keep_ours_apart, send_log
from .spans import Spans, is_tracing, trace_context_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sentry_sdk.client import BaseClient
    from sentry_sdk.types import Event

__all__ = ["SentryObserver"]

REMEMBERED_FAULTS: Final = 4096
TAGS: Final = ("stream_id", "message_id", "request_id", "session_hash")
"""What events of the host's own are tagged with while it is at work on a stream, after `streamguard.`."""
OFF_SECONDS: Final = 0.01
"""For how long a host without Sentry is not asked again: it would be, a dozen times for a stream."""
_OFTEN: Final = frozenset(
    {Signal.STREAM_OPENED, Signal.FIRST_EVENT, Signal.STREAM_ENDED, Signal.VIEWER_JOINED, Signal.VIEWER_LEFT}
)
"""What comes of every stream, and is no news of a fault: only for these is a host without Sentry not asked again."""
_ROUNDS: Final = frozenset({Signal.RECONCILE_STARTED, Signal.RECONCILED})


class SentryObserver(SelectiveObserver):
    """Captures every fault that someone should look at, if the host has initialised Sentry; never initialises it.

    Captured are faults of severity `error` and `fatal`, and `not_resumable`; a client's own mistakes, a user's stop
    and a resume of what is long gone are not. What an operator has to know though nobody's answer failed (a usage that
    could not be settled, a dead letter, a warning about a store) is captured as a warning, once per kind and minute.
    Of a storm, ten events per fingerprint and minute are sent, and then one that says in `left_out` how many were not.

    Every guard has one. To set something, give another as one of `observers`: it takes the place of the guard's own.

    Args:
        monitor_slug: the cron monitor of the reconciler; None sends no check-ins.
        sweep_seconds: how often the reconciler works: the monitor's schedule, in whole minutes. For
            `streamguard reconcile --once` in a crontab, the crontab's interval.
        checkin_seconds: how far apart check-ins of this process are at least.
        spans: whether to make spans in Sentry's tracing, where the host's client records traces. By default unless
            another observer of the guard traces: `OpenTelemetryTracing`, say.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        *,
        monitor_slug: str | None = MONITOR_SLUG,
        sweep_seconds: float = 5.0,
        checkin_seconds: float = MINUTE * 0.9,
        spans: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cap = Cap(clock)
        self._trails = Trails()
        self._check_ins: CheckIns | None = None
        if monitor_slug:
            self._check_ins = CheckIns(monitor_slug, clock, every_seconds=sweep_seconds, gap_seconds=checkin_seconds)
        self._wants_spans = spans
        self._spans = Spans()
        self._captured: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._off_until = 0.0
        """Until when no client is looked for, since there was none."""
        keep_ours_apart()

    def wants(self, signal: Signal, /) -> bool:
        """Whether the host has set Sentry up."""
        if signal in _OFTEN and time.monotonic() < self._off_until:
            return False
        return self._client(anew=signal not in _OFTEN) is not None

    def __call__(self, observation: Observation, /) -> None:
        """Capture the observation, if it is worth it and new. Does not wait for the network."""
        client = self._client(anew=observation.name not in _OFTEN)
        if client is None:
            return
        with capture_internal_exceptions():
            self._tell(client, observation)

    def beside(self, others: Iterable[Observer]) -> None:
        """Make no spans if one of the other observers of the guard does, unless `spans` says so."""
        if self._wants_spans is None:
            self._wants_spans = not any(isinstance(one, TracingObserver) for one in others if one is not self)

    def traceparent(self) -> str | None:
        """The present span of Sentry's, as W3C trace context; None unless spans are made."""
        client = None if time.monotonic() < self._off_until else self._client()
        return None if client is None or not self._traces(client) else self._spans.traceparent()

    def _client(self, *, anew: bool = False) -> BaseClient | None:
        """The client that is set up here; None without one, or for one without a DSN. `anew`: also if another place had
        none just now, since scopes may have clients of their own."""
        now = time.monotonic()
        if now < self._off_until and not anew:
            return None
        client = sentry_sdk.get_client()
        if client.is_active() and client.transport is not None:
            return client
        self._off_until = now + OFF_SECONDS
        return None

    def _traces(self, client: BaseClient) -> bool:
        return self._wants_spans is not False and is_tracing(client)

    def _tell(self, client: BaseClient, observation: Observation) -> None:
        if self._traces(client):
            self._spans(observation)
        if observation.name in _ROUNDS:
            if self._check_ins is not None:
                self._check_ins(observation, client)
        elif are_enabled(client):
            send_log(observation)
        for event in self._cap.due(all_of_them=observation.name is Signal.DRAIN_ENDED):
            client.capture_event(event)
        if is_captured(observation) and self._is_new(observation):
            most = 1 if is_warning(observation) else PER_FINGERPRINT
            if self._cap.admits(fingerprint_of(observation), lambda: self._event(observation), most=most):
                client.capture_event(self._event(observation))
        self._trails.add(observation)

    def _is_new(self, observation: Observation) -> bool:
        """Whether its fault was not captured yet; a dead letter is told of beside the fault that led to it."""
        if observation.fault is None:
            return True
        kind = str(observation.name) if is_warning(observation) else ""
        key = (observation.fault.fault_id, kind)
        if key in self._captured:
            return is_warning(observation)
        self._captured[key] = None
        if len(self._captured) > REMEMBERED_FAULTS:
            self._captured.popitem(last=False)
        return True

    def _event(self, observation: Observation) -> Event:
        event = event_of(observation, {**_at_work(observation), **self._trails.known(observation)})
        if (trace := trace_context_of(observation)) is not None:
            event["contexts"]["trace"] = trace
        if crumbs := self._trails.of(observation):
            event["breadcrumbs"] = {"values": crumbs}
        return event

    def scope(self, context: StreamContext) -> AbstractContextManager[None]:
        """An isolation scope for the time in which code works on one stream, and a span where traces are recorded: what
        the host sets or captures there is about this stream alone, and names it in tags and in the context
        `streamguard`."""
        client = None if time.monotonic() < self._off_until else self._client()
        if client is None:
            return NO_SCOPE
        return _isolated(context, self._spans if self._traces(client) else None)


def _at_work(observation: Observation) -> dict[str, object]:
    """What the request or stream that is worked on says of an observation that is about it."""
    context = current_stream.get()
    if context is None:
        return {}
    ref = observation.ref
    is_it = context.request_id == observation.request_id if ref is None else context.is_about(ref)
    names = ("protocol", "binding", "framework")
    return {name: value for name in names if is_it and (value := getattr(context, name)) is not None}


@contextmanager
def _isolated(context: StreamContext, spans: Spans | None) -> Iterator[None]:
    with sentry_sdk.isolation_scope() as scope:
        request_id, session = context.request_id, context.session_id
        named = {
            "stream_id": context.stream_id,
            "message_id": context.message_id,
            "request_id": None if request_id is None else id_text(request_id),
            "session_hash": None if session is None else short_hash(session),
            "owner_hash": context.owner_hash,
        }
        ids = {name: value for name, value in named.items() if value is not None}
        scope.set_context("streamguard", ids)
        for name in TAGS:
            if name in ids:
                scope.set_tag(f"streamguard.{name}", ids[name])
        with nullcontext() if spans is None else spans.around(context):
            yield
