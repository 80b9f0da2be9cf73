"""What an encoder makes of an item, asked as the producer asks."""

from __future__ import annotations

from collections.abc import Sequence

from streamguard.wire.base import Encoder

__all__ = ["encoded"]


def encoded(encoder: Encoder, item: object) -> Sequence[bytes]:
    """The data payloads of one item, the short way where there is one."""
    payload = encoder.lone_payload(item)
    return (payload,) if payload else encoder.encode(item)
