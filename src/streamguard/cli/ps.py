"""`streamguard ps`: the streams that are being written, or whose end is not complete."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

import typer

from ..stores.records import StreamMeta
from ..stores.roles.inspection import Inspection
from ..stores.roles.viewer_reports import ViewerReports
from ..stores.roles.worker_reports import WorkerReports
from ..values import StreamRef
from .exits import ExitCode
from .options import (
    DEFAULT_NAMESPACE,
    DEFAULT_TIMEOUT,
    AsJson,
    Limit,
    Namespace,
    Owners,
    Place,
    Timeout,
    Url,
    place_of,
    run,
)
from .output import Output, duration
from .overview import Overviews, states_of
from .seen import Seen, print_seen
from .shapes import owner_of, stream_shape
from .watching import watched

__all__ = ["ps"]


def ps(
    url: Url,
    namespace: Namespace = DEFAULT_NAMESPACE,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(help="Seconds between two looks, with --watch.", min=0.1)] = 2.0,
    limit: Limit = 200,
    owners: Owners = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Show the workers, what they do, what waits, and the streams that are not closed, oldest first.

    RATE is events per second since the stream began, or with --watch since the last look. A LEASE below zero means that
    nobody writes the stream any more; a worker ends it within seconds. VIEWERS are those of all workers, as each last
    said with its heartbeats.
    """
    output = Output(as_json=as_json)

    async def work() -> ExitCode:
        place = place_of(url, namespace, timeout)
        async with place.opened() as store:
            if not isinstance(store, Inspection):
                raise place.cannot(store, "list streams", "Inspection")
            reports = store if isinstance(store, ViewerReports) else None
            overviews = Overviews(store if isinstance(store, WorkerReports) else None)
            looks = _Looks(place, store, reports, overviews, limit, owners)
            if not watch:
                print_seen(output, await looks.look())
                return ExitCode.OK
            return await watched(output, looks.look, partial(print_seen, output), place.failure_of, interval)

    run(output, work)


@dataclass(slots=True)
class _Looks:
    """Looks again and again, and tells rates from one look to the next."""

    place: Place
    store: Inspection
    reports: ViewerReports | None
    """Of viewers; None where nobody reports them to the store."""
    overviews: Overviews
    limit: int
    owners: bool
    before: dict[StreamRef, tuple[float, int]] = field(default_factory=dict)
    """When each stream was last looked at, on a monotonic clock, and its last event then."""

    async def look(self) -> Seen:
        """Look once.

        Raises:
            StoreError: the store failed.
        """
        found = await self.store.active_streams(limit=self.limit + 1)
        viewers = await self._viewers(found)
        at = time.monotonic()
        more = len(found) > self.limit
        shown = sorted(found[: self.limit], key=lambda meta: (meta.created_at, meta.ref.stream_id))
        rates = {meta.ref: self._rate(meta, at) for meta in shown}
        self.before = {meta.ref: (at, meta.last_seq) for meta in shown}
        streams = [
            {
                **stream_shape(meta, owners=self.owners),
                "events_per_second": rates[meta.ref],
                "viewers": viewers[meta.ref.stream_id],
            }
            for meta in shown
        ]
        overview, states = await self.overviews.look(), states_of(shown)
        shape = {
            "store": self.place.name,
            "namespace": self.place.namespace,
            "workers": overview.workers,
            "totals": overview.totals,
            "depths": overview.depths,
            "states": states,
            "streams": streams,
            "more": more,
        }
        rows = [self._row(meta, rates[meta.ref], viewers[meta.ref.stream_id]) for meta in shown]
        return Seen(shape, rows, more, overview, states)

    async def _viewers(self, found: Sequence[StreamMeta]) -> Mapping[str, int | None]:
        """How many view each stream, by its id; None where the store does not know."""
        if self.reports is None:
            return {meta.ref.stream_id: None for meta in found}
        counts = await self.reports.viewer_counts() if found else {}
        return {meta.ref.stream_id: counts.get(meta.ref.stream_id, 0) for meta in found}

    def _rate(self, meta: StreamMeta, at: float) -> float:
        before = self.before.get(meta.ref)
        seconds, events = (meta.age_seconds, meta.last_seq)
        if before is not None:
            seconds, events = at - before[0], meta.last_seq - before[1]
        return round(events / seconds, 1) if seconds > 0 else 0.0

    def _row(self, meta: StreamMeta, rate: float, viewers: int | None) -> Sequence[str]:
        return (
            meta.ref.stream_id,
            owner_of(meta.ref.key.owner, clear=self.owners),
            meta.ref.key.session_id,
            duration(meta.age_seconds),
            str(meta.last_seq),
            f"{rate:.1f}/s",
            duration(meta.lease_seconds),
            "-" if viewers is None else str(viewers),
            f"{meta.state}, log lost" if meta.lost else meta.state,
            "asked" if meta.stop_requested else "-",
        )
