"""The conformance suite of the stream store contract."""

from __future__ import annotations

from .claims import ClaimClauses
from .ends import EndClauses
from .listings import ListingClauses
from .log import LogClauses
from .outbox import OutboxClauses
from .registry import RegistryClauses
from .requests import RequestClauses
from .stops import StopClauses
from .withdrawals import WithdrawalClauses

__all__ = ["StreamStoreSuite"]


class StreamStoreSuite(
    RegistryClauses,
    WithdrawalClauses,
    StopClauses,
    LogClauses,
    ClaimClauses,
    EndClauses,
    OutboxClauses,
    RequestClauses,
    ListingClauses,
):
    """Checks a `StreamStore` against the contract in `streamguard.stores.roles`, one test per clause.

    Subclass it in a test module and give it the store, as a fixture named `store`:

    ```python
    class TestMyStore(StreamStoreSuite):
        @pytest.fixture
        async def store(self) -> AsyncIterator[StreamStore]:
            store = MyStore()
            await store.start()
            yield store
            await store.aclose()
    ```

    The tests are run by anyio's pytest plugin, on asyncio only: with trio installed too, have a session-scoped fixture
    `anyio_backend` return `"asyncio"`. Clauses may share one store, also with other data in it: every clause makes
    sessions of its own. Some let leases and TTLs run out: they really wait (`short_seconds` at a time), unless
    the subclass overrides `advance`, as one with a clock to turn does.
    """
