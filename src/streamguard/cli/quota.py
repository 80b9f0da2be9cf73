"""`streamguard quota`: what owners have reserved. What was charged, and the limits, the application knows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Final

import typer

from ..quota import OffersQuotaStore, QuotaStore, RedisQuotaStore, Reservation, ReservationState
from ..stores import RedisClient
from ..telemetry.audit import AuditAction
from ..telemetry.safety import short_hash
from .audit import Audit, audited
from .entries import checked_stream_id
from .exits import CommandError, ExitCode
from .options import (
    DEFAULT_NAMESPACE,
    DEFAULT_TIMEOUT,
    AsJson,
    Namespace,
    Owner,
    Place,
    Timeout,
    Url,
    Yes,
    place_of,
    run,
)
from .output import Output, amounts, duration, table

__all__ = ["app", "release", "show"]

app: Final[typer.Typer] = typer.Typer(
    help="What owners have reserved, of quotas kept in Redis.", no_args_is_help=True, rich_markup_mode=None
)

MOST: Final = 1_000
"""More reservations of one owner than that are not listed at once."""

_COLUMNS: Final = ("STREAM", "SESSION", "RESERVED", "EXPIRES")


@asynccontextmanager
async def _quotas(place: Place) -> AsyncIterator[QuotaStore]:
    if place.is_redis:
        async with RedisClient(place.url, command_seconds=place.timeout) as client:
            yield RedisQuotaStore(client, namespace=place.namespace)
        return
    async with place.opened() as store:
        if not isinstance(store, OffersQuotaStore):
            raise place.cannot(store, "count usage", "new_quota_store, so its application counts elsewhere")
        quotas = store.new_quota_store()
        await quotas.start()
        try:
            yield quotas
        finally:
            await quotas.aclose()


@app.command()
def show(
    url: Url,
    owner: Owner,
    namespace: Namespace = DEFAULT_NAMESPACE,
    limit: Annotated[int, typer.Option(help="Show at most so many.", min=1, max=MOST - 1)] = 100,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Show what an owner has reserved and not settled, soonest to expire first."""
    output = Output(as_json=as_json)

    async def work() -> ExitCode:
        place = place_of(url, namespace, timeout)
        async with _quotas(place) as quotas:
            found = await quotas.held(owner, limit=limit + 1)
        shown, more = found[:limit], len(found) > limit
        if output.as_json:
            output.value(
                {
                    "store": place.name,
                    "owner_hash": short_hash(owner),
                    "reservations": [_shape(reservation) for reservation in shown],
                    "more": more,
                }
            )
            return ExitCode.OK
        if shown:
            output.show(table(_COLUMNS, [_row(reservation) for reservation in shown], right=("EXPIRES",)))
        count = "nothing is reserved" if not shown else f"{len(shown)} reserved"
        output.line(f"{count}; there are more (--limit)" if more else count)
        return ExitCode.OK

    run(output, work)


@app.command()
def release(
    url: Url,
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="The stream's id.", show_default=False)],
    owner: Owner,
    namespace: Namespace = DEFAULT_NAMESPACE,
    audit: Audit = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Release what a stream has reserved: nothing is charged for it, whatever it still consumes.

    For reservations that nobody will settle. They also expire by themselves.
    """
    output = Output(as_json=as_json)

    async def work() -> ExitCode:
        place = place_of(url, namespace, timeout)
        stream_id = checked_stream_id(stream)
        async with audited(audit, AuditAction.SETTLE) as trail, _quotas(place) as quotas:
            held = await quotas.held(owner, limit=MOST)
            found = next((one for one in held if one.ref.stream_id == stream_id), None)
            if found is None:
                raise CommandError(
                    ExitCode.NOT_FOUND, "not_found", f"this owner has nothing reserved for stream {stream_id}"
                )
            if not yes:
                _confirm(output)
            settlement = await quotas.release(found.ref)
            trail.note(AuditAction.SETTLE, key=found.ref.key, stream_id=stream_id, outcome=settlement.state)
        if output.as_json:
            output.value({"stream_id": stream_id, "state": settlement.state, "changed": settlement.changed})
        else:
            output.line(f"{stream_id} {settlement.state}")
        return ExitCode.OK if settlement.state is ReservationState.RELEASED else ExitCode.PROBLEMS

    run(output, work)


def _confirm(output: Output) -> None:
    if output.as_json:
        raise CommandError(ExitCode.USAGE, "usage", "to release a reservation, give --yes")
    if not typer.confirm("Release it? A stream that is still being written will not be charged."):
        raise CommandError(ExitCode.PROBLEMS, "declined", "nothing was released")


def _shape(reservation: Reservation) -> dict[str, object]:
    return {
        "stream_id": reservation.ref.stream_id,
        "session_id": reservation.ref.key.session_id,
        "state": reservation.state,
        "amounts": dict(reservation.amounts),
        "expires_seconds": round(reservation.expires_in_seconds, 3),
    }


def _row(reservation: Reservation) -> Sequence[str]:
    return (
        reservation.ref.stream_id,
        reservation.ref.key.session_id,
        amounts(reservation.amounts),
        duration(reservation.expires_in_seconds),
    )
