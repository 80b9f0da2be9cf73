"""The addresses of visitors without a name, for their limits."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from starlette.types import Scope

__all__ = ["address_of", "came_through_proxy"]

_SUBNET_BITS: Final = 64
_FORWARDED: Final = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip"})


def address_of(scope: Scope) -> str | None:
    """The client's address from the server, in one form: an IPv6 address becomes its /64, since a visitor has a whole
    one; an IPv4 address within IPv6 becomes the IPv4 address. None if the server gives none (a unix socket)."""
    client = scope.get("client")
    if not client:
        return None
    try:
        address: IPv4Address | IPv6Address = ip_address(str(client[0]).partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> _SUBNET_BITS << _SUBNET_BITS)}/{_SUBNET_BITS}"


def came_through_proxy(scope: Scope) -> bool:
    """Whether a proxy passed the request on: then the client's address may be the proxy's."""
    return any(name in _FORWARDED for name, _ in scope["headers"])
