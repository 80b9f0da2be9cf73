"""The conformance suite of the message store contract."""

from __future__ import annotations

from typing import Final

from .appending import AppendClauses
from .content import ContentClauses
from .continuing import ContinueClauses
from .doubts import DoubtClauses
from .ids import IdClauses
from .lateness import LateClauses
from .lifetimes import LifetimeClauses
from .reading import ReadClauses
from .sessions import SessionClauses
from .superseding import SupersedeClauses

__all__ = ["MessageStoreSuite"]

_ABOUT_EXPIRY: Final = [name for name in vars(LifetimeClauses) if name.startswith("test_")]
_ABOUT_SHARED_IDS: Final = (
    SessionClauses.test_owners_may_choose_the_same_session_id.__name__,
    IdClauses.test_owners_that_an_encoding_may_refuse_are_distinct_or_refused.__name__,
)


class MessageStoreSuite(
    SessionClauses,
    AppendClauses,
    ContinueClauses,
    SupersedeClauses,
    LateClauses,
    ReadClauses,
    ContentClauses,
    IdClauses,
    DoubtClauses,
    LifetimeClauses,
):
    """Checks a `MessageStore` against the contract in `streamguard.messages.store`, one test per clause.

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
    `advance`, as one with a clock to turn does; without, the clauses about expiry are no tests of the class. Nor are
    those in which owners choose the same session id where `global_session_ids` is true, for a store that raises
    `MessageForbiddenError` then. Both are read when the class is made.
    """

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        for name in _ABOUT_EXPIRY:
            cls._apply(name, cls.ttl_seconds is not None)
        for name in _ABOUT_SHARED_IDS:
            cls._apply(name, not cls.global_session_ids)
