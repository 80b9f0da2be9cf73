"""A stream's life in one process: producing, logging, viewing, ending."""

from .resume import Nothing, Resumed
from .runtime import Health, Runtime
from .stream import FirstItem, LiveStream, OnConflict, OnStoreFailure, StreamRequest
from .viewer import Viewer, ViewerCutError

__all__ = [
    "FirstItem",
    "Health",
    "LiveStream",
    "Nothing",
    "OnConflict",
    "OnStoreFailure",
    "Resumed",
    "Runtime",
    "StreamRequest",
    "Viewer",
    "ViewerCutError",
]
