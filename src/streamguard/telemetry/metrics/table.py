"""The table of metrics. Code, the reference page and its tests are made from it."""

from __future__ import annotations

from typing import Final

from .metric import Metric
from .of_streams import LOG, STREAMS, VIEWING
from .of_upkeep import FAULTS, PROCESS, QUOTA, RECONCILING, SAVING

__all__ = ["PREFIX", "TABLE"]

PREFIX: Final = "streamguard_"

TABLE: Final[tuple[Metric, ...]] = (
    *STREAMS,
    *LOG,
    *VIEWING,
    *SAVING,
    *QUOTA,
    *FAULTS,
    *PROCESS,
    *RECONCILING,
)
"""Every metric, in the order of the reference page."""
