"""OpenAI's streams, and those of compatible servers: chat completions and Responses."""

from .protocol import OpenAIProtocol

__all__ = ["OpenAIProtocol"]
