"""AI SDK's UI message stream: what endpoints yield as its parts, as each client version takes them."""

from .protocol import UIMessageEncoder, UIMessageProtocol

__all__ = ["UIMessageEncoder", "UIMessageProtocol"]
