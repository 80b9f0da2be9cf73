"""What a quota store can tell operators, beside what its contract asks of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from .limits import Quota
from .records import QuotaDepths

__all__ = ["MeasuredQuota"]


class MeasuredQuota(ABC):
    """The ability of a `QuotaStore` to be measured; `STORE_MEASURED` then tells of it. Both methods raise what the
    store's others do, and neither costs more when there is more."""

    @abstractmethod
    async def depths(self) -> QuotaDepths:
        """How many reservations are kept, and how many of them wait to be ended."""

    @abstractmethod
    async def drift(self, owner: str, quotas: Sequence[Quota], *, most: int) -> int | None:
        """`Audit.drift` of one owner. None where more than `most` reservations of the owner would have to be read."""
