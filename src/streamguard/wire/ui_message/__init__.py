"""AI SDK's UI message stream: turns what endpoints yield into the parts that each client version takes."""

from .encoder import UIMessageEncoder
from .protocol import UIMessageProtocol

__all__ = ["UIMessageEncoder", "UIMessageProtocol"]
