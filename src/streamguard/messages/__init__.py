"""Saved messages: the stores that keep them, and the contract of a store.

    guard = StreamGuard("redis://…", authenticate=owner, messages=SQLMessageStore("postgresql+asyncpg://…"))

`SQLMessageStore` is in `streamguard.messages.sql`. An `async def save(message: MessageToSave)` does instead of a store.
"""

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
