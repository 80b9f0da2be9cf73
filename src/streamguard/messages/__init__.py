"""Saved messages: the contract and its adapters."""

from .base import (
    Appended,
    Message,
    MessageStatus,
    MessageStore,
    Opened,
    Role,
    StoredMessage,
    Superseded,
    Supersedes,
)
from .callable import CallableSaver, MessageToSave, Save
from .memory import MemoryMessageStore
from .redis import RedisMessageStore

__all__ = [
    "Appended",
    "CallableSaver",
    "MemoryMessageStore",
    "Message",
    "MessageStatus",
    "MessageStore",
    "MessageToSave",
    "Opened",
    "RedisMessageStore",
    "Role",
    "Save",
    "StoredMessage",
    "Superseded",
    "Supersedes",
]
