"""Saved messages: the contract and its adapters."""

from .base import Appended, Message, MessageStatus, MessageStore, Role, StoredMessage

__all__ = ["Appended", "Message", "MessageStatus", "MessageStore", "Role", "StoredMessage"]
