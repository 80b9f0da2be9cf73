"""The conformance suites of the stream store contract: one per role, and one for a store that has them all."""

from __future__ import annotations

import pytest

from ...stores.store import StreamStore
from ...values import StreamRef
from .appends import AppendClauses
from .ends import EndClauses
from .inspection import ActiveStreamClauses
from .late_decisions import LateDecisionClauses
from .leases import LeaseClauses
from .outbox import OutboxClauses
from .outbox_listings import OutboxListingClauses
from .reads import ReadClauses
from .registry import RegistryClauses
from .request_claims import RequestClaimClauses
from .sessions import SessionClauses
from .steps import begin, end, put
from .stops import StopClauses
from .stream_log import StreamLogClauses
from .subscriptions import SubscriptionClauses
from .viewer_reports import ViewerReportClauses
from .withdrawals import WithdrawalClauses
from .work_sharing import WorkSharingClauses
from .worker_hints import WorkerHintClauses
from .worker_reports import WorkerReportClauses

__all__ = [
    "EndpointStoreSuite",
    "InspectionSuite",
    "OutboxSuite",
    "StreamLogSuite",
    "StreamStoreSuite",
    "ViewerReportsSuite",
    "WorkSharingSuite",
    "WorkerReportsSuite",
]


class StreamLogSuite(StreamLogClauses):
    """Checks a store that only reads: a `StreamLog`.

    Subclass it in a test module and give it the store, as a fixture named `store`, and a fixture `ended`: the
    `StreamRef` of a stream in it that is over, the last one of its session, with three events or more.
    """


class EndpointStoreSuite(
    RegistryClauses,
    WithdrawalClauses,
    StopClauses,
    AppendClauses,
    LateDecisionClauses,
    ReadClauses,
    SubscriptionClauses,
    WorkerHintClauses,
    LeaseClauses,
    EndClauses,
    SessionClauses,
    RequestClaimClauses,
    StreamLogSuite,
):
    """Checks the roles that guarded endpoints need: `StreamLog`, `StreamRegistry`, `StreamWrites`, `RequestClaims`."""

    @pytest.fixture
    async def ended(self, store: StreamStore) -> StreamRef:
        """A stream that is over."""
        ref = await begin(store)
        await put(store, ref, 1, b"one", b"two")
        await end(store, ref, 2)
        return ref


class OutboxSuite(OutboxClauses):
    """Checks the role `Outbox` of a store that has what endpoints need."""


class WorkSharingSuite(WorkSharingClauses):
    """Checks the role `WorkSharing` of a store that has what endpoints need."""


class ViewerReportsSuite(ViewerReportClauses):
    """Checks the role `ViewerReports` of a store that has what endpoints need."""


class WorkerReportsSuite(WorkerReportClauses):
    """Checks the role `WorkerReports` of a store that has the roles `Outbox` and `WorkSharing` too."""


class InspectionSuite(ActiveStreamClauses, OutboxListingClauses):
    """Checks the role `Inspection` of a store that has the roles `Outbox` and `WorkSharing` too."""


class StreamStoreSuite(
    EndpointStoreSuite, OutboxSuite, WorkSharingSuite, ViewerReportsSuite, WorkerReportsSuite, InspectionSuite
):
    """Checks a `StreamStore` against the contract in `streamguard.stores`, one test per clause.

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

    A store with some of the roles is checked by the suites of those roles, in the same way.

    The tests are run by anyio's pytest plugin, on asyncio only: with trio installed too, have a session-scoped fixture
    `anyio_backend` return `"asyncio"`. Clauses may share one store, also with other data in it: every clause makes
    sessions of its own. Some let leases and TTLs run out: they really wait (`short_seconds` at a time), unless
    the subclass overrides `advance`, as one with a clock to turn does.
    """
