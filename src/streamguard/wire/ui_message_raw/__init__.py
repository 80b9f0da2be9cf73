"""A UI message stream of AI SDK, passed on byte for byte."""

from .protocol import UIMessageRawProtocol

__all__ = ["UIMessageRawProtocol"]
