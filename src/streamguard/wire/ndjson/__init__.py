"""Lines of JSON, passed on byte for byte."""

from .protocol import NdjsonProtocol

__all__ = ["NdjsonProtocol"]
