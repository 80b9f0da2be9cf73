"""`RedisStore`: streams in Redis, shared by every process that uses the same server and namespace."""

from .store import RedisStore

__all__ = ["RedisStore"]
