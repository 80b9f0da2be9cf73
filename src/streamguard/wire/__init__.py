"""Client protocols: pure bytes on one side, logged events on the other."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from ..errors import ConfigurationError
from .anthropic import AnthropicProtocol
from .base import Encoder, Folding, WireProtocol
from .folding import MessageFold, UIMessage, fold
from .ndjson import NdjsonProtocol
from .opaque import OpaqueProtocol
from .openai import OpenAIProtocol
from .plain import PlainProtocol
from .recognition import recognise
from .sse import KEEP_ALIVE, EventParser, SseEvent, encode_block, encode_comment
from .ui_message import UIMessageProtocol
from .ui_message_raw import UIMessageRawProtocol
from .undecided import UNDECIDED

__all__ = [
    "KEEP_ALIVE",
    "UNDECIDED",
    "AnthropicProtocol",
    "Encoder",
    "EventParser",
    "Folding",
    "MessageFold",
    "NdjsonProtocol",
    "OpaqueProtocol",
    "OpenAIProtocol",
    "PlainProtocol",
    "SseEvent",
    "UIMessage",
    "UIMessageProtocol",
    "UIMessageRawProtocol",
    "WireProtocol",
    "encode_block",
    "encode_comment",
    "fold",
    "knows_protocol",
    "protocol_named",
    "recognise",
]

_PROTOCOLS: Final[Mapping[str, WireProtocol]] = {
    protocol.name: protocol
    for protocol in (
        UIMessageProtocol(),
        UIMessageRawProtocol(),
        PlainProtocol(),
        OpenAIProtocol(),
        AnthropicProtocol(),
        OpaqueProtocol(),
        NdjsonProtocol(),
        UNDECIDED,
    )
}


def knows_protocol(name: str) -> bool:
    """Whether there is a protocol of that name. A stream may have a protocol that only later versions know."""
    return name in _PROTOCOLS


def protocol_named(name: str, client_version: str = "") -> WireProtocol:
    """The protocol of that name: `ui-message`, `plain`, `openai`, `anthropic`, `ui-message-raw`, `opaque`,
    `ndjson`, or `auto` for one that is not decided yet.

    `client_version` comes from a stream's record: the protocol then speaks to clients of that version. A version that
    only later workers know is ignored.

    Raises:
        ConfigurationError: there is no protocol of that name.
    """
    try:
        protocol = _PROTOCOLS[name]
    except KeyError:
        known = ", ".join(sorted(_PROTOCOLS))
        raise ConfigurationError(f"there is no protocol {name!r}; known are: {known}") from None
    with suppress(ValueError):
        return protocol.for_client(client_version) if client_version else protocol
    return protocol
