"""Quotas: what an owner may consume, reserved before a reply begins and settled once after it ended.

A limit stands at an endpoint:

    @guard.stream(session="body.id", quota=Quota(200_000, per="day", unit="tokens"), estimate=4_000)
"""

from .callable import CallableQuota, CommitQuota, QuotaCall, ReleaseQuota, ReserveQuota
from .headers import rate_limit_headers
from .limits import Quota, check_quotas, consumed, demand
from .measures import MeasuredQuota
from .memory import MemoryQuotaStore
from .offering import OffersQuotaStore
from .records import (
    Admitted,
    Audit,
    Counted,
    OwnerStatus,
    QuotaDepths,
    RefusalReason,
    Refused,
    Reservation,
    ReservationState,
    Settlement,
    Standing,
)
from .redis import RedisQuotaStore
from .store import QuotaService, QuotaStore

__all__ = [
    "Admitted",
    "Audit",
    "CallableQuota",
    "CommitQuota",
    "Counted",
    "MeasuredQuota",
    "MemoryQuotaStore",
    "OffersQuotaStore",
    "OwnerStatus",
    "Quota",
    "QuotaCall",
    "QuotaDepths",
    "QuotaService",
    "QuotaStore",
    "RedisQuotaStore",
    "RefusalReason",
    "Refused",
    "ReleaseQuota",
    "Reservation",
    "ReservationState",
    "ReserveQuota",
    "Settlement",
    "Standing",
    "check_quotas",
    "consumed",
    "demand",
    "rate_limit_headers",
]
