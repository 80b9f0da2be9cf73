"""The memory store of a `memory://` URL."""

from __future__ import annotations

from ...errors import ConfigurationError
from ...settings import Settings
from .store import MemoryStore

__all__ = ["memory_store"]


def memory_store(url: str, settings: Settings) -> MemoryStore:
    """A new, empty store, as large as the settings allow.

    Raises:
        ConfigurationError: the URL has anything behind its scheme.
    """
    if url != "memory://":
        raise ConfigurationError("memory:// takes nothing after it")
    return MemoryStore(max_bytes=settings.memory_store_bytes)
