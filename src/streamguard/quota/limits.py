"""`Quota`, what an owner may consume in a window of time, and the amounts that are checked against it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from ..errors import ConfigurationError, QuotaInvalidError
from ..values import MAX_ID_BYTES, MAX_OWNER_BYTES, MAX_SEQ, StreamRef

__all__ = [
    "ANCHOR_MS",
    "MAX_AMOUNT",
    "MAX_ID_BYTES",
    "MAX_OWNER_BYTES",
    "MAX_PAGE",
    "MAX_QUOTAS",
    "REQUESTS",
    "Period",
    "Quota",
    "check_amounts",
    "check_limit",
    "check_owner",
    "check_quotas",
    "check_ref",
    "consumed",
    "demand",
    "ends_ms",
    "index_at",
]

MAX_AMOUNT: Final = MAX_SEQ
"""The largest amount, limit or sum: what a double, and so a Lua number, holds exactly. Sums stay there once they
reach it."""

MAX_PAGE: Final = 1_000
"""The most reservations `held` gives at once."""

MAX_QUOTAS: Final = 8
"""How many quotas may be checked at once."""

REQUESTS: Final = "requests"
"""The unit that counts replies: each is 1, unless its estimate says otherwise."""

ANCHOR_MS: Final = 345_600_000
"""Monday 5 January 1970, 00:00 UTC: a window boundary of every period, so that weeks begin on Mondays."""

Period = Literal["second", "minute", "hour", "day", "week"]

_PERIOD_SECONDS: Final[Mapping[str, int]] = {
    "second": 1,
    "minute": 60,
    "hour": 3_600,
    "day": 86_400,
    "week": 604_800,
}
_LONGEST_SECONDS: Final = 366 * 86_400
_UNIT: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True, slots=True)
class Quota:
    """So much of a unit per window of time, for each owner.

    Windows follow one another without a gap on the store's clock, aligned to UTC: days begin at midnight, weeks on
    Mondays. A reply counts in the window in which it was admitted, however long it takes.

    Raises:
        ConfigurationError: a field is out of range.
    """

    limit: int
    """0 to 2**53-1. With 0, only amounts of 0 are admitted."""
    per: Period | timedelta
    """A named period, or whole seconds from 1 second to 366 days."""
    unit: str = "tokens"
    """What is counted: lower-case letters, digits and `_`, at most 32."""

    def __post_init__(self) -> None:
        if type(self.limit) is not int or not 0 <= self.limit <= MAX_AMOUNT:
            raise ConfigurationError("a quota's limit is an integer from 0 to 2**53-1")
        if not _is_unit(self.unit):
            raise ConfigurationError("a quota's unit is a word of lower-case letters, digits and _: tokens, requests")
        seconds = _period_seconds(self.per)
        if seconds is None or seconds % 1 or not 1 <= seconds <= _LONGEST_SECONDS:
            raise ConfigurationError(
                f"a quota's period is one of {', '.join(_PERIOD_SECONDS)}, or a timedelta of 1 second to 366 days"
            )

    @property
    def period_seconds(self) -> int:
        """The length of a window, in seconds."""
        return int(_period_seconds(self.per) or 0)

    @property
    def period_ms(self) -> int:
        """The length of a window, in milliseconds."""
        return self.period_seconds * 1000

    @property
    def name(self) -> str:
        """What it is called in headers and messages: `tokens-day`, `requests-90s`."""
        return f"{self.unit}-{f'{self.period_seconds}s' if isinstance(self.per, timedelta) else self.per}"


def _is_unit(word: object) -> bool:
    return isinstance(word, str) and _UNIT.fullmatch(word) is not None


def _period_seconds(per: object) -> float | None:
    if isinstance(per, timedelta):
        return per.total_seconds()
    return _PERIOD_SECONDS.get(per) if isinstance(per, str) else None


def index_at(period_ms: int, at_ms: int) -> int:
    """The number of the window that `at_ms` falls in. A window includes its first millisecond and excludes the first of
    the next."""
    return (at_ms - ANCHOR_MS) // period_ms


def ends_ms(period_ms: int, index: int) -> int:
    """When a window ends, in milliseconds since 1970."""
    return (index + 1) * period_ms + ANCHOR_MS


def check_quotas(quotas: Quota | Sequence[Quota]) -> tuple[Quota, ...]:
    """The quotas as a tuple: one to `MAX_QUOTAS`, of which no two count the same unit over the same time.

    Raises:
        ConfigurationError: they are something else.
    """
    found = (quotas,) if isinstance(quotas, Quota) else tuple(quotas)
    if not 1 <= len(found) <= MAX_QUOTAS or not all(isinstance(quota, Quota) for quota in found):
        raise ConfigurationError(f"give one to {MAX_QUOTAS} quotas: Quota(limit=100_000, per='day', unit='tokens')")
    if len({(quota.unit, quota.period_ms) for quota in found}) < len(found):
        raise ConfigurationError("two quotas count the same unit over the same time; give the lower one alone")
    return found


def check_amounts(
    operation: str, amounts: Mapping[str, int], *, quotas: Sequence[Quota] | None = None
) -> dict[str, int]:
    """The amounts by unit, sorted. With `quotas`, they must name the units of those, each and no other.

    Raises:
        QuotaInvalidError: an amount is not an integer from 0 to 2**53-1 (booleans, NaN and texts are not), a unit is
            none, or they do not fit the quotas.
    """
    found: dict[str, int] = {}
    for unit, amount in amounts.items():
        if not _is_unit(unit):
            raise QuotaInvalidError(
                f"{operation}: a unit is a word of lower-case letters, digits and _", operation=operation
            )
        if type(amount) is not int or not 0 <= amount <= MAX_AMOUNT:
            raise QuotaInvalidError(
                f"{operation}: an amount of {unit} is an integer from 0 to 2**53-1", operation=operation
            )
        found[unit] = amount
    units = None if quotas is None else {quota.unit for quota in quotas}
    if units is not None and units != found.keys():
        raise QuotaInvalidError(
            f"{operation}: give an amount for each of {', '.join(sorted(units))}, and for nothing else",
            operation=operation,
        )
    return dict(sorted(found.items()))


def check_owner(operation: str, owner: str) -> None:
    """Refuse an owner that no store has to hold.

    Raises:
        QuotaInvalidError: it is over `MAX_OWNER_BYTES` or has no UTF-8.
    """
    _check(operation, owner, MAX_OWNER_BYTES)


def check_ref(operation: str, ref: StreamRef) -> None:
    """As `check_owner`, for all ids of a stream; the others may have `MAX_ID_BYTES`."""
    check_owner(operation, ref.key.owner)
    _check(operation, ref.key.session_id, MAX_ID_BYTES)
    _check(operation, ref.stream_id, MAX_ID_BYTES)


def _check(operation: str, text: str, limit_bytes: int) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as exc:
        raise QuotaInvalidError(f"{operation}: an id holds half a surrogate pair", operation=operation) from exc
    if size > limit_bytes:
        raise QuotaInvalidError(f"{operation}: an id has {size} bytes; the limit is {limit_bytes}", operation=operation)


def check_limit(limit: int) -> None:
    """Refuse a page size that `held` does not allow. Raises `ValueError`: it is a mistake of the caller's."""
    if not 1 <= limit <= MAX_PAGE:
        raise ValueError(f"held: limit is 1 to {MAX_PAGE}, not {limit}")


def demand(quotas: Sequence[Quota], estimate: int | Mapping[str, int] | None = None) -> dict[str, int]:
    """What to reserve for a reply, by unit.

    Args:
        quotas: What it will be checked against.
        estimate: What it may consume, by unit; units no quota counts are left out. A bare integer is meant in the one
            unit besides requests. Every reply is one request unless said otherwise.

    Raises:
        QuotaInvalidError: an amount is not one, or a unit has none.
    """
    units = sorted({quota.unit for quota in quotas})
    others = [unit for unit in units if unit != REQUESTS]
    if estimate is None:
        known: Mapping[str, int] = {}
    elif isinstance(estimate, Mapping):
        known = estimate
    elif len(others) == 1:
        known = {others[0]: estimate}
    else:
        raise QuotaInvalidError(
            f"reserve: an estimate names its units; the quotas count {', '.join(units)}", operation="reserve"
        )
    known = {REQUESTS: 1, **check_amounts("reserve", known)}
    missing = [unit for unit in units if unit not in known]
    if missing:
        raise QuotaInvalidError(f"reserve: there is no estimate of {', '.join(missing)}", operation="reserve")
    return {unit: known[unit] for unit in units}


_TOTAL: Final = {"tokens": ("total_tokens", ("input_tokens", "output_tokens"))}
"""For a unit that usage does not name: the name of its total there, and of its parts."""


def consumed(units: Sequence[str], usage: Mapping[str, int] | None) -> dict[str, int]:
    """The amounts in a reply's usage, by unit. A unit that it does not name is left out, and so charged as reserved.

    Tokens are `tokens`, else `total_tokens`, else `input_tokens` and `output_tokens` together.
    """
    known = usage or {}
    found: dict[str, int] = {}
    for unit in units:
        total, parts = _TOTAL.get(unit, (unit, ()))
        if unit in known or total in known:
            found[unit] = known[unit] if unit in known else known[total]
        elif any(part in known for part in parts):
            found[unit] = sum(known.get(part, 0) for part in parts)
    return {unit: min(amount, MAX_AMOUNT) for unit, amount in found.items()}
