"""Where streams are kept: the contract and its implementations, and the client that others reach Redis by."""

from .base import StreamStore
from .redis.client import RedisClient
from .schemes import StoreFactory, make_store

__all__ = ["RedisClient", "StoreFactory", "StreamStore", "make_store"]
