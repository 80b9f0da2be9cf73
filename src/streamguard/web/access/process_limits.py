"""The limits of one guard in one process: how often its requests may come, and how much they may hold open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.requests import HTTPConnection

from ...errors import FaultError
from ...faults import FaultCode
from ...settings import Settings
from .addresses import address_of, came_through_proxy
from .identity import Identity
from .rate_limit import RateLimit
from .slots import Slot, SlotPool

__all__ = ["ProcessLimits"]

_CLIENT_ERRORS: Final = frozenset(
    {
        FaultCode.CONFLICT_ACTIVE,
        FaultCode.IDEMPOTENCY_CONFLICT,
        FaultCode.LIMIT_STREAMS,
        FaultCode.QUOTA_EXCEEDED,
        FaultCode.RESUME_FAILED,
    }
)
"""Refusals of a new answer that the owner could have foreseen; not so a store that is away, or a full process."""


class ProcessLimits:
    """Every limit that a request meets at the edge. `warn` tells the operator something, once."""

    def __init__(self, settings: Settings, *, warn: Callable[[str], None]) -> None:
        self._settings = settings
        self._warn = warn
        self._warned = False
        self.viewers: SlotPool = SlotPool(
            FaultCode.LIMIT_VIEWERS,
            each=settings.max_viewers_per_owner,
            each_setting="max_viewers_per_owner",
            total=settings.max_viewers_per_process,
            total_setting="max_viewers_per_process",
        )
        """Responses that are being sent, by owner."""
        self.new_visitors: SlotPool = SlotPool(
            FaultCode.LIMIT_STREAMS, each=settings.max_streams_per_address, each_setting="max_streams_per_address"
        )
        """Streams of visitors without a cookie, by address."""
        self.reads: RateLimit = RateLimit(settings.max_resumes_per_minute, setting="max_resumes_per_minute")
        """Requests that read a whole log, or many messages, by owner."""
        self.changes: RateLimit = RateLimit(settings.max_changes_per_minute, setting="max_changes_per_minute")
        """Stops, erasures, and new answers that were refused, by owner."""
        per_address, setting = settings.max_opens_per_minute_per_address, "max_opens_per_minute_per_address"
        self._opens = RateLimit(per_address, setting=setting)
        """Requests of visitors without a name for a new answer, by address."""
        self._calls = RateLimit(per_address, setting=setting)
        """Their other requests, without a cookie or to change something, by address."""

    def check_open(self, identity: Identity, connection: HTTPConnection) -> None:
        """Check and count a request for a new answer.

        Raises:
            FaultError: `limit_rate`.
        """
        self.changes.check(identity)
        address = self._address(identity, connection) if identity.is_anonymous else None
        if address is not None:
            self._spend(self._opens, address, connection)

    def take_new_visitor(self, identity: Identity, connection: HTTPConnection) -> Slot | None:
        """The slot that the stream of a visitor without a cookie has to hold; None for every other owner.

        Raises:
            FaultError: `limit_streams`.
        """
        address = self._address(identity, connection) if identity.is_new else None
        return None if address is None else self.new_visitors.take(address)

    def check_call(self, identity: Identity, connection: HTTPConnection) -> None:
        """Check and count any other request.

        Raises:
            FaultError: `limit_rate`. Only visitors are limited here, by address: those without a cookie, of whom
                nothing can be known, and requests that change something, since cookies are cheap.
        """
        address = self._address(identity, connection)
        changes = connection.scope.get("method") not in ("GET", "HEAD")
        if address is not None and (identity.is_new or changes):
            self._spend(self._calls, address, connection)

    def count_refusal(self, identity: Identity, code: FaultCode) -> None:
        """The stores refused a new answer. After too many in a minute, `check_open` refuses without them."""
        if code in _CLIENT_ERRORS:
            try:
                self.changes.spend(identity)
            except FaultError:
                return  # other requests used it up meanwhile

    def _address(self, identity: Identity, connection: HTTPConnection) -> str | None:
        """The address by which a visitor is limited; None for owners with a name."""
        if not identity.is_anonymous or not self._settings.limit_addresses:
            return None
        return address_of(connection.scope)

    def _spend(self, rate: RateLimit, address: str, connection: HTTPConnection) -> None:
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
