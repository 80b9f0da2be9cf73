"""A stream's life in one process: producing, logging, viewing, ending."""

from ..charging.reservations import QuotaRefusedError
from ..charging.terms import Demand, OnQuotaFailure, PartialCharge, QuotaBindings, QuotaOption, QuotaTerms
from ..saving.bindings import Bindings, SaveOption, SaveTarget
from ..saving.revision import Revision
from .producing.stream import LiveStream
from .request import FirstItem, OnConflict, OnStoreFailure, StreamRequest
from .runtime import Runtime
from .sessions import StopTarget
from .upkeep.health import Health
from .viewing.resume import Nothing, Resumed
from .viewing.viewer import Viewer, ViewerCutError

__all__ = [
    "Bindings",
    "Demand",
    "FirstItem",
    "Health",
    "LiveStream",
    "Nothing",
    "OnConflict",
    "OnQuotaFailure",
    "OnStoreFailure",
    "PartialCharge",
    "QuotaBindings",
    "QuotaOption",
    "QuotaRefusedError",
    "QuotaTerms",
    "Resumed",
    "Revision",
    "Runtime",
    "SaveOption",
    "SaveTarget",
    "StopTarget",
    "StreamRequest",
    "Viewer",
    "ViewerCutError",
]
