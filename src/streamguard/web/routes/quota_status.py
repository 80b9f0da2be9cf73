"""The `quota` of a session's status: what its owner has consumed, and what is left."""

from __future__ import annotations

from ...deadlines import Deadline
from ...errors import QuotaTimeoutError
from ...quota import QuotaStore
from ...runtime import Runtime
from ...stores.records import SessionRecord
from ...values import SessionKey

__all__ = ["status_of"]


async def status_of(runtime: Runtime, key: SessionKey, record: SessionRecord) -> dict[str, object] | None:
    """The `quota` of a session's status: how its owner stands. None where that is not known here.

    Raises:
        QuotaError: the quota did not answer.
    """
    store: QuotaStore | None = runtime.reservations.store
    meta = record.active or record.last
    terms = None if meta is None else runtime.terms.terms_of(meta.binding)
    quotas = terms.quotas if terms is not None and terms.quotas else runtime.terms.quotas()
    if store is None or not quotas:
        return None
    try:
        async with Deadline.after(runtime.settings.quota_seconds).limit():
            status = await store.status(key.owner, quotas)
    except TimeoutError as exc:
        raise QuotaTimeoutError("status: no answer in time", operation="status") from exc
    return {
        "limits": [
            {
                "name": standing.quota.name,
                "unit": standing.quota.unit,
                "per_seconds": standing.quota.period_seconds,
                "limit": standing.quota.limit,
                "used": standing.used,
                "reserved": standing.reserved,
                "remaining": standing.remaining,
                "resets_in_seconds": round(standing.resets_in_seconds, 3),
            }
            for standing in status.standings
        ],
        "pending_release": status.pending_release,
    }
