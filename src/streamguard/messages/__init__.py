"""Saved messages: the contract and its adapters."""

from .base import Appended, Message, MessageStatus, MessageStore, Role, StoredMessage
from .memory import MemoryMessageStore

__all__ = ["Appended", "MemoryMessageStore", "Message", "MessageStatus", "MessageStore", "Role", "StoredMessage"]
