"""Where streams are kept: the contracts, what they speak of, and the client that others reach Redis by.

A stream store is one class that has one or more *roles*. One is required, the others add abilities:

- `StreamLog`: read streams. A guard whose store has only this resumes and replays streams that others wrote.
- `StreamWrites` and `StreamRegistry`, both: begin and write streams, so that endpoints can be guarded.
- `Outbox`: owe saves and settlements, so that a guard can have `messages=…` and endpoints `quota=…`.
- `WorkSharing`: find the streams of workers that died.
- `RequestClaims`: answer requests that carry an idempotency key.
- `ViewerReports`: know of viewers in other processes.
- `Inspection`: list streams and the outbox, for the command line and dry runs.

`StreamStore` is all of them; `MemoryStore` and `RedisStore` are such stores.
"""

from .appends import Append, AppendCache, AppendReply, AppendRequest
from .ended import ended_meta
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
from .schemes import StoreFactory, make_store
from .store import StreamStore

__all__ = [
    "Append",
    "AppendCache",
    "AppendReply",
    "AppendRequest",
    "ClaimState",
    "Close",
    "Erasure",
    "Full",
    "Hint",
    "Inspection",
    "LostLog",
    "NewStream",
    "Occupied",
    "Outbox",
    "OutboxEntry",
    "Partition",
    "RedisClient",
    "Registered",
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
    "ended_meta",
    "make_store",
]
