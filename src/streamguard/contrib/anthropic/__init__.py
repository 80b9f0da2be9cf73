"""Anthropic's Python library: streams of messages become UI message parts, and stored UI messages become messages.

Made for `anthropic` 0.60 and later. The library is not imported: what the adapter reads are its objects.
"""

from .events import MessageTurn, iter_message_parts, message_parts
from .messages import messages, system

__all__ = ["MessageTurn", "iter_message_parts", "message_parts", "messages", "system"]
