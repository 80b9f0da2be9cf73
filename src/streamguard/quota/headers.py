"""The RateLimit headers of an answer. Pure.

Source: draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from .records import Standing

__all__ = ["rate_limit_headers"]

_LARGEST: Final = 10**15 - 1
"""The largest integer a structured field can hold (RFC 9651, section 3.3.1)."""


def rate_limit_headers(standings: Sequence[Standing]) -> list[tuple[str, str]]:
    """`RateLimit-Policy` and `RateLimit`, one item per quota; none without standings.

    What is left is what another reply could reserve. The time to the reset is rounded up to whole seconds.
    """
    if not standings:
        return []
    policies, limits = [], []
    for standing in standings:
        quota = standing.quota
        policies.append(f'"{quota.name}";q={min(quota.limit, _LARGEST)};w={quota.period_seconds}')
        left, resets_in = min(standing.remaining, _LARGEST), math.ceil(standing.resets_in_seconds)
        limits.append(f'"{quota.name}";r={left};t={resets_in}')
    return [("RateLimit-Policy", ", ".join(policies)), ("RateLimit", ", ".join(limits))]
