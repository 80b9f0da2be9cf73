"""What users test their own parts with: an application to drive, stores that fail on demand, conformance suites.

Importing this package needs nothing extra; the suites themselves need pytest.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final

from ..client.records import SavedMessage, SessionStatus, StreamStatus
from ..errors import ConfigurationError
from .answers import Answer, Ending
from .faulty_stores import FaultyMessageStore, FaultyStore
from .guarded_app import GuardedApp
from .store_faults import StoreFaults
from .visitors import Visitor

if TYPE_CHECKING:
    from ._message_store import MessageStoreSuite
    from ._quota_store import QuotaStoreSuite
    from ._stream_store import (
        EndpointStoreSuite,
        InspectionSuite,
        OutboxSuite,
        StreamLogSuite,
        StreamStoreSuite,
        ViewerReportsSuite,
        WorkerReportsSuite,
        WorkSharingSuite,
    )

__all__ = [
    "Answer",
    "Ending",
    "EndpointStoreSuite",
    "FaultyMessageStore",
    "FaultyStore",
    "GuardedApp",
    "InspectionSuite",
    "MessageStoreSuite",
    "OutboxSuite",
    "QuotaStoreSuite",
    "SavedMessage",
    "SessionStatus",
    "StoreFaults",
    "StreamLogSuite",
    "StreamStatus",
    "StreamStoreSuite",
    "ViewerReportsSuite",
    "Visitor",
    "WorkSharingSuite",
    "WorkerReportsSuite",
]

_SUITES: Final = {
    "MessageStoreSuite": "streamguard.testing._message_store",
    "QuotaStoreSuite": "streamguard.testing._quota_store",
    **dict.fromkeys(
        (
            "EndpointStoreSuite",
            "InspectionSuite",
            "OutboxSuite",
            "StreamLogSuite",
            "StreamStoreSuite",
            "ViewerReportsSuite",
            "WorkSharingSuite",
            "WorkerReportsSuite",
        ),
        "streamguard.testing._stream_store",
    ),
}
"""Where each suite is; imported when first asked for, because it needs pytest."""


if not TYPE_CHECKING:  # a type checker would take any name for an export

    def __getattr__(name: str) -> object:
        if name not in _SUITES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            pytest = import_module("pytest")
        except ImportError as exc:
            raise ConfigurationError(f"{__name__}.{name} needs pytest: `pip install pytest`") from exc
        # pytest explains failed assertions only in modules it was told of before they are imported; told later, as when
        # someone imported a suite's parts first, it warns.
        if _SUITES[name] not in sys.modules:
            pytest.register_assert_rewrite(_SUITES[name])
        suite: object = getattr(import_module(_SUITES[name]), name)
        globals()[name] = suite
        return suite
