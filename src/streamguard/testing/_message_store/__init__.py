"""The conformance suite of the message store contract."""

from __future__ import annotations

from .appending import AppendClauses
from .content import ContentClauses
from .continuing import ContinueClauses
from .doubts import DoubtClauses
from .ids import IdClauses
from .lifetimes import LifetimeClauses
from .reading import ReadClauses
from .sessions import SessionClauses

__all__ = ["MessageStoreSuite"]


class MessageStoreSuite(
    SessionClauses,
    AppendClauses,
    ContinueClauses,
    ReadClauses,
    ContentClauses,
    IdClauses,
    DoubtClauses,
    LifetimeClauses,
):
    """Checks a `MessageStore` against the contract in `streamguard.messages.base`, one test per clause.

    Subclass it in a test module and give it the store, as a fixture named `store`:

    ```python
    class TestMyMessages(MessageStoreSuite):
        @pytest.fixture
        async def store(self) -> AsyncIterator[MessageStore]:
            store = MyMessages()
            await store.start()
            yield store
            await store.aclose()
    ```

    The tests are run by anyio's pytest plugin, on asyncio only: with trio installed too, have a session-scoped fixture
    `anyio_backend` return `"asyncio"`. Clauses may share one store, also with other data in it: every clause makes
    sessions of its own.

    A store whose sessions expire names their life in `ttl_seconds`, short enough to be waited for, unless it overrides
    `advance`, as one with a clock to turn does; without, the clauses about expiry are skipped. So is the one about
    owners who choose the same session id, for a store that raises `MessageForbiddenError` there.
    """
