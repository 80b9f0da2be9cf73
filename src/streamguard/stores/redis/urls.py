"""What a Redis URL names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ...errors import ConfigurationError
from .address import Address, ClusterAddress
from .driver import Connector
from .sentinel import SentinelAddress

__all__ = ["SCHEMES", "address_of"]

_ADDRESSES: Final[Mapping[str, Callable[[str], Connector | ClusterAddress]]] = {
    "redis": Address,
    "rediss": Address,
    "unix": Address,
    "redis+sentinel": SentinelAddress,
    "rediss+sentinel": SentinelAddress,
    "redis+cluster": ClusterAddress,
    "rediss+cluster": ClusterAddress,
}

SCHEMES: Final = tuple(_ADDRESSES)
"""How the URL of a Redis may begin."""


def address_of(url: str) -> Connector | ClusterAddress:
    """Where the URL leads.

    Raises:
        ConfigurationError: it cannot be used. The text never repeats it, since a password with a slash in it ends up in
            the strangest places.
    """
    scheme = url.partition("://")[0]
    kind = _ADDRESSES.get(scheme)
    if kind is None:
        *first, last = (f"{scheme}://" for scheme in SCHEMES)
        raise ConfigurationError(f"a Redis URL begins with {', '.join(first)} or {last}")
    return kind(url)
