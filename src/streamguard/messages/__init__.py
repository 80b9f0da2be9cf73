"""Saved messages: the contract and its adapters."""

from .callable import CallableSaver, MessageToSave, Save
from .memory import MemoryMessageStore
from .records import Appended, Message, MessageStatus, Opened, Role, StoredMessage, Superseded, Supersedes
from .redis import RedisMessageStore
from .store import MessageStore

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
