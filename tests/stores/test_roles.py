"""Stores with some of the roles, each against the suites of those roles: what a suite asks for is its role."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from streamguard.stores import EndpointStore, StreamLog, StreamStore
from streamguard.stores.abilities import Ability, require
from streamguard.stores.memory.inspection import MemoryInspection
from streamguard.stores.memory.outbox import MemoryOutbox
from streamguard.stores.memory.request_claims import MemoryRequestClaims
from streamguard.stores.memory.stream_log import MemoryLog
from streamguard.stores.memory.stream_registry import MemoryRegistry
from streamguard.stores.memory.stream_writes import MemoryWrites
from streamguard.stores.memory.subscribers import Subscribers
from streamguard.stores.memory.tables import MemoryTables
from streamguard.stores.memory.viewer_reports import MemoryViewerReports
from streamguard.stores.memory.work_sharing import MemoryWorkSharing
from streamguard.stores.memory.worker_reports import MemoryWorkerReports
from streamguard.stores.partial import complete
from streamguard.stores.records import Terminal
from streamguard.testing import (
    EndpointStoreSuite,
    InspectionSuite,
    OutboxSuite,
    StreamLogSuite,
    ViewerReportsSuite,
    WorkerReportsSuite,
    WorkSharingSuite,
)
from streamguard.values import EventKind, Outcome, Persisted, QuotaState, SessionKey, StreamRef

from .archive import Archive, file_of


def tables() -> MemoryTables:
    return MemoryTables(max_bytes=100_000_000, clock=time.monotonic, wall_us=lambda: time.time_ns() // 1_000)


class ForEndpoints(MemoryLog, MemoryRegistry, MemoryWrites, MemoryRequestClaims, EndpointStore):
    """What endpoints need."""

    def __init__(self) -> None:
        kept = tables()
        super().__init__(kept, Subscribers(kept.lock))


class WithOutbox(ForEndpoints, MemoryOutbox):
    """And what saves need."""


class WithWorkSharing(ForEndpoints, MemoryWorkSharing):
    """And what finds the streams of dead workers."""

    def __init__(self) -> None:
        ForEndpoints.__init__(self)
        MemoryWorkSharing.__init__(self, self._tables)


class WithViewerReports(ForEndpoints, MemoryViewerReports):
    """And what knows of viewers elsewhere."""

    def __init__(self) -> None:
        ForEndpoints.__init__(self)
        MemoryViewerReports.__init__(self, self._tables)


class WithInspection(WithWorkSharing, MemoryOutbox, MemoryInspection):
    """And what operators look at."""


class WithWorkerReports(WithWorkSharing, MemoryOutbox, MemoryWorkerReports):
    """And what workers tell of themselves."""

    def __init__(self) -> None:
        WithWorkSharing.__init__(self)
        MemoryWorkerReports.__init__(self, self._tables)


class OnRealTime:
    short_seconds = 0.05


class TestArchive(StreamLogSuite):
    @pytest.fixture
    def ended(self, tmp_path: Path) -> StreamRef:
        ref = StreamRef(SessionKey("ann", "c1"), "s1")
        end = Terminal(Outcome.COMPLETED, Persisted.NOT_ASKED, QuotaState.NONE, "m1").to_json().decode()
        events = [(1, 7, EventKind.DATA, "one"), (2, 8, EventKind.DATA, "two"), (3, 8, EventKind.TERMINAL, end)]
        path = file_of(tmp_path, ref)
        path.parent.mkdir()
        path.write_text(json.dumps({"at": 1.0, "protocol": "plain", "events": events}))
        return ref

    @pytest.fixture
    def store(self, tmp_path: Path) -> StreamLog:
        return Archive(tmp_path)


class TestForEndpoints(OnRealTime, EndpointStoreSuite):
    @pytest.fixture
    def store(self) -> StreamLog:
        return ForEndpoints()


class TestOutbox(OnRealTime, OutboxSuite):
    @pytest.fixture
    def store(self) -> StreamLog:
        return WithOutbox()


class TestWorkSharing(OnRealTime, WorkSharingSuite):
    @pytest.fixture
    def store(self) -> StreamLog:
        return WithWorkSharing()


class TestViewerReports(OnRealTime, ViewerReportsSuite):
    @pytest.fixture
    def store(self) -> StreamLog:
        return WithViewerReports()


class TestWorkerReports(OnRealTime, WorkerReportsSuite):
    @pytest.fixture
    def store(self) -> StreamLog:
        return WithWorkerReports()


class TestInspection(OnRealTime, InspectionSuite):
    @pytest.fixture
    def store(self) -> StreamLog:
        return WithInspection()


class TestMadeWhole(OnRealTime, EndpointStoreSuite):
    """A store that lacks roles keeps what it promises when it is made whole."""

    @pytest.fixture
    def store(self) -> StreamStore:
        return complete(ForEndpoints())


def test_the_type_of_an_endpoint_store_is_what_endpoints_need() -> None:
    assert all(issubclass(EndpointStore, role) for role in Ability.ENDPOINTS.roles)
    require(ForEndpoints(), Ability.ENDPOINTS)


def test_no_contract_has_more_than_twelve_methods() -> None:
    for role in (*EndpointStore.__mro__, *StreamStore.__mro__):
        methods = [name for name in vars(role) if not name.startswith("_") and callable(getattr(role, name))]
        assert len(methods) <= 12, role
    assert len(StreamLog.__abstractmethods__) <= 12
