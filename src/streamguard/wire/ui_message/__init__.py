"""AI SDK's UI message stream: turns what endpoints yield into the parts that each client version takes."""

from .protocol import UIMessageEncoder, UIMessageProtocol

__all__ = ["UIMessageEncoder", "UIMessageProtocol"]
