"""Anthropic's messages."""

from .protocol import AnthropicProtocol

__all__ = ["AnthropicProtocol"]
