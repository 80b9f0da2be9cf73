"""`RedisQuotaStore`: quotas counted in Redis."""

from .store import RedisQuotaStore

__all__ = ["RedisQuotaStore"]
