"""Where streams are kept: the contracts, what they speak of, and the client that others reach Redis by.

A stream store is one class that has one or more *roles*. One is required, the others add abilities:

- `StreamLog`: read streams. A guard whose store has only this resumes and replays streams that others wrote.
- `StreamRegistry`, `StreamWrites` and `RequestClaims` together: begin and write streams, and answer requests that carry
  an idempotency key, so that endpoints can be guarded. `EndpointStore` is these and the log.
- `Outbox`: owe saves and settlements, so that a guard can have `messages=…` and endpoints `quota=…`.
- `WorkSharing`: find the streams of workers that died; without it they end when their sessions are next used.
- `ViewerReports`: know of viewers in other processes, so that endpoints can have `abandon_after_seconds=…`.
- `WorkerReports`: keep what each worker says of itself, and count the work that waits, for `streamguard ps`.
- `Inspection`: list streams and the outbox, for the command line and dry runs.

`StreamStore` is all of them; `MemoryStore` and `RedisStore` are such stores. What needs a role that the store lacks is
refused with a `ConfigurationError` where it is configured. `streamguard.testing` has a suite of tests for each role.
"""

from .appends import AllAppended, Append, AppendCache, AppendReply, AppendRequest, LateDecision
from .ended import ended_meta
from .outbox_pages import OutboxPage
from .records import (
    ClaimState,
    Close,
    Erasure,
    Hint,
    LostLog,
    NewStream,
    OutboxEntry,
    Partition,
    RequestClaim,
    Seal,
    SessionRecord,
    Status,
    StreamMeta,
    TakeoverReply,
    Terminal,
)
from .redis.client import RedisClient
from .registrations import Full, Occupied, Registered, StopReply, Withdrawn
from .roles.inspection import Inspection
from .roles.outbox import Outbox
from .roles.request_claims import RequestClaims
from .roles.service import StoreService
from .roles.stream_log import StreamLog
from .roles.stream_registry import StreamRegistry
from .roles.stream_writes import StreamWrites
from .roles.viewer_reports import ViewerReports
from .roles.work_sharing import WorkSharing
from .roles.worker_reports import Depths, ReportedWorker, WorkerReports
from .schemes import StoreFactory, make_store
from .store import EndpointStore, StreamStore
from .worker_hints import MISSED_HINTS, WorkerHint

__all__ = [
    "MISSED_HINTS",
    "AllAppended",
    "Append",
    "AppendCache",
    "AppendReply",
    "AppendRequest",
    "ClaimState",
    "Close",
    "Depths",
    "EndpointStore",
    "Erasure",
    "Full",
    "Hint",
    "Inspection",
    "LateDecision",
    "LostLog",
    "NewStream",
    "Occupied",
    "Outbox",
    "OutboxEntry",
    "OutboxPage",
    "Partition",
    "RedisClient",
    "Registered",
    "ReportedWorker",
    "RequestClaim",
    "RequestClaims",
    "Seal",
    "SessionRecord",
    "Status",
    "StopReply",
    "StoreFactory",
    "StoreService",
    "StreamLog",
    "StreamMeta",
    "StreamRegistry",
    "StreamStore",
    "StreamWrites",
    "TakeoverReply",
    "Terminal",
    "ViewerReports",
    "Withdrawn",
    "WorkSharing",
    "WorkerHint",
    "WorkerReports",
    "ended_meta",
    "make_store",
]
