"""Where streams are kept: the contract and its implementations, and the client that others reach Redis by."""

from .redis.client import RedisClient

__all__ = ["RedisClient"]
