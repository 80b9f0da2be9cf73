"""Saved messages: the contract and its adapters."""

from .base import Appended, Message, MessageStatus, MessageStore, Role, StoredMessage
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
    "RedisMessageStore",
    "Role",
    "Save",
    "StoredMessage",
]
