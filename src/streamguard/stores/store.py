"""`StreamStore`: all roles of a stream store together.

Every method is one atomic step, safe to repeat: a caller whose reply was lost asks again and gets the same answer.
`MemoryStore` is the executable specification; `streamguard.testing.StreamStoreSuite` checks any other store against it.

Who may write is decided by *epochs*: a stream's meta holds one, every write names the one it believes in, and a
write under an older epoch is refused (`FENCED`). Leases only choose who acts; they protect nothing.

`register` and `take_over` issue epochs: the larger of one past the stream's last and the store's clock in
microseconds. So none is issued twice, not even after the store lost its newest changes and with them an epoch that it
had issued; and so the epoch that wrote an event and the event's number always name that one event.

The store's clock alone says when a stream began and when a session was erased: no worker's clock is compared with it.
"""

from __future__ import annotations

from abc import ABC

from .roles.inspection import Inspection
from .roles.outbox import Outbox
from .roles.request_claims import RequestClaims
from .roles.stream_log import StreamLog
from .roles.stream_registry import StreamRegistry
from .roles.stream_writes import StreamWrites
from .roles.viewer_reports import ViewerReports
from .roles.work_sharing import WorkSharing
from .roles.worker_reports import WorkerReports

__all__ = ["EndpointStore", "StreamStore"]


class EndpointStore(StreamLog, StreamRegistry, StreamWrites, RequestClaims, ABC):
    """The roles that guarded endpoints need. A store need not inherit this to have them."""


class StreamStore(EndpointStore, Outbox, WorkSharing, ViewerReports, WorkerReports, Inspection, ABC):
    """All roles. See each role for what its methods promise, and `StoreService` for what they raise."""
