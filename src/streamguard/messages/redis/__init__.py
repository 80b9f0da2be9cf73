"""`RedisMessageStore`: messages in Redis."""

from .store import RedisMessageStore

__all__ = ["RedisMessageStore"]
