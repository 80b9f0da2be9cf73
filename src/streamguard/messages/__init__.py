"""Saved messages: the contract and its adapters."""

from .base import Appended, Message, MessageStatus, MessageStore, Role, StoredMessage
from .memory import MemoryMessageStore
from .redis import RedisMessageStore

__all__ = [
    "Appended",
    "MemoryMessageStore",
    "Message",
    "MessageStatus",
    "MessageStore",
    "RedisMessageStore",
    "Role",
    "StoredMessage",
]
