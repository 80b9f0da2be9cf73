"""The conformance suite of the quota store contract."""

from __future__ import annotations

from .doubts import DoubtClauses
from .expiring import DueClauses, ExpireClauses
from .reserving import ReserveClauses
from .settling import SettleClauses
from .standing import StandingClauses

__all__ = ["QuotaStoreSuite"]


class QuotaStoreSuite(ReserveClauses, SettleClauses, ExpireClauses, DueClauses, StandingClauses, DoubtClauses):
    """Checks a `QuotaStore` against the contract in `streamguard.quota.store`, one test per clause.

    Subclass it in a test module and give it the store, as a fixture named `store`:

    ```python
    class TestMyQuota(QuotaStoreSuite):
        @pytest.fixture
        async def store(self) -> AsyncIterator[QuotaStore]:
            store = MyQuota()
            await store.start()
            yield store
            await store.aclose()
    ```

    The tests are run by anyio's pytest plugin, on asyncio only: with trio installed too, have a session-scoped fixture
    `anyio_backend` return `"asyncio"`. Clauses may share one store, also with other data in it: every clause makes
    owners of its own.

    Many clauses let time pass. A store with a clock to turn overrides `advance`; any other is given a short
    `hold_seconds` (a second or two) and names a window of few seconds in `window_seconds`. A reservation must count as
    pending release before nine tenths of `hold_seconds` have passed.
    """
