"""OpenAI's Python library: streams of chat completions and of the Responses API become UI message parts, and stored
UI messages become the messages of either API.

Made for `openai` 1.80 and later. The library is not imported: what the adapters read are its objects.
"""

from .chat import ChatTurn, chat_parts, iter_chat_parts
from .chat_messages import chat_messages
from .responses import ResponsesTurn, iter_responses_parts, responses_parts
from .responses_input import responses_input

__all__ = [
    "ChatTurn",
    "ResponsesTurn",
    "chat_messages",
    "chat_parts",
    "iter_chat_parts",
    "iter_responses_parts",
    "responses_input",
    "responses_parts",
]
