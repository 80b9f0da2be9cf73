"""What one guard allows in one process: every limit that a request meets at the edge, and what it holds meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.requests import HTTPConnection

from ...errors import FaultError
from ...faults import FaultCode
from ...settings import Settings
from .addresses import address_of, came_through_proxy
from .identity import Identity
from .limits import Rate, Slot, Slots

__all__ = ["Allowances"]

_OWNERS_FAULT: Final = frozenset(
    {
        FaultCode.CONFLICT_ACTIVE,
        FaultCode.IDEMPOTENCY_CONFLICT,
        FaultCode.LIMIT_STREAMS,
        FaultCode.QUOTA_EXCEEDED,
        FaultCode.RESUME_FAILED,
    }
)
"""Refusals of a new answer that its owner could have known of; a server that is away or full is nobody's fault."""


class Allowances:
    """`warn` tells the operator something, once."""

    def __init__(self, settings: Settings, *, warn: Callable[[str], None]) -> None:
        self._settings = settings
        self._warn = warn
        self._warned = False
        self.viewers: Slots = Slots(
            FaultCode.LIMIT_VIEWERS,
            each=settings.max_viewers_per_owner,
            each_setting="max_viewers_per_owner",
            total=settings.max_viewers_per_process,
            total_setting="max_viewers_per_process",
        )
        """Answers that are being sent."""
        self.strangers: Slots = Slots(
            FaultCode.LIMIT_STREAMS, each=settings.max_streams_per_address, each_setting="max_streams_per_address"
        )
        """Streams of visitors without a cookie, by address."""
        self.reads: Rate = Rate(settings.max_resumes_per_minute, setting="max_resumes_per_minute")
        """What reads a whole log, or many messages, by owner."""
        self.changes: Rate = Rate(settings.max_changes_per_minute, setting="max_changes_per_minute")
        """Stops, erasures, and new answers that were refused, by owner."""
        per_address, setting = settings.max_opens_per_minute_per_address, "max_opens_per_minute_per_address"
        self._opens = Rate(per_address, setting=setting)
        """New answers of visitors without a name, by address."""
        self._calls = Rate(per_address, setting=setting)
        """Their requests for anything else, without a cookie or to change something, by address."""

    def open(self, identity: Identity, connection: HTTPConnection) -> None:
        """Let somebody ask for a new answer.

        Raises:
            FaultError: `limit_rate`.
        """
        self.changes.check(identity)
        address = self._address(identity, connection)
        if address is not None:
            self._spend(self._opens, address, connection)

    def stranger(self, identity: Identity, connection: HTTPConnection) -> Slot | None:
        """The place that the stream of a visitor without a cookie has to hold; None for everybody else.

        Raises:
            FaultError: `limit_streams`.
        """
        address = self._address(identity, connection)
        return self.strangers.take(address) if address is not None and identity.is_new else None

    def call(self, identity: Identity, connection: HTTPConnection) -> None:
        """Let somebody ask for something else.

        Raises:
            FaultError: `limit_rate`: it is a visitor without a cookie, of whom nothing can be known, or one that
                changes something: cookies are cheap.
        """
        address = self._address(identity, connection)
        changes = connection.scope.get("method") not in ("GET", "HEAD")
        if address is not None and (identity.is_new or changes):
            self._spend(self._calls, address, connection)

    def refused(self, identity: Identity, code: FaultCode) -> None:
        """A new answer was refused, after the stores were asked: past so many a minute they are not."""
        if code in _OWNERS_FAULT:
            try:
                self.changes.spend(identity)
            except FaultError:
                return  # used up by others meanwhile

    def _address(self, identity: Identity, connection: HTTPConnection) -> str | None:
        """By which address somebody is limited; None for owners with a name."""
        if not identity.is_anonymous or not self._settings.limit_addresses:
            return None
        return address_of(connection.scope)

    def _spend(self, rate: Rate, address: str, connection: HTTPConnection) -> None:
        try:
            rate.spend(address)
        except FaultError:
            if not self._warned and came_through_proxy(connection.scope):
                self._warned = True
                self._warn(
                    "a visitor's address is over its limit, but the request came through a proxy, whose address it may "
                    "be: have the server read the proxy's headers (uvicorn --forwarded-allow-ips), or set "
                    "limit_addresses=False"
                )
            raise
