"""A stream's life in one process: producing, logging, viewing, ending."""

from .health import Health
from .quotas.reserving import QuotaRefusedError
from .quotas.terms import Demand, OnQuotaFailure, PartialCharge, QuotaBindings, QuotaOption, QuotaTerms
from .request import FirstItem, OnConflict, OnStoreFailure, StreamRequest
from .resume import Nothing, Resumed
from .revision import Revision
from .runtime import Runtime
from .saving.bindings import Bindings, SaveOption, Target
from .sessions import Meant
from .stream import LiveStream
from .viewer import Viewer, ViewerCutError

__all__ = [
    "Bindings",
    "Demand",
    "FirstItem",
    "Health",
    "LiveStream",
    "Meant",
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
    "StreamRequest",
    "Target",
    "Viewer",
    "ViewerCutError",
]
