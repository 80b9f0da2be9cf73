"""What each guarded endpoint counts, so that any worker can settle a stream of any of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ..errors import ConfigurationError
from ..faults import FaultCode
from ..quota import Quota, check_quotas, consumed
from ..stores.records import Seal
from ..values import Outcome
from .charge import COMMIT_RESERVED, RELEASE, Charge

__all__ = ["Demand", "OnQuotaFailure", "PartialCharge", "QuotaBindings", "QuotaOption", "QuotaTerms", "said_nothing"]

QuotaOption = Quota | Sequence[Quota] | Literal[False] | None
"""`quota=` of an endpoint: what is checked; False for nothing. With None too, unless the endpoint has an estimate and a
host's own service counts."""

PartialCharge = Literal["consumed", "reserved", "nothing"]
"""What a reply costs that did not end by itself."""

OnQuotaFailure = Literal["fail", "continue"]
"""What becomes of a request whose quota cannot be checked."""

TOKENS: Final = "tokens"


@dataclass(frozen=True, slots=True)
class Demand:
    """What one request asks to reserve."""

    quotas: tuple[Quota, ...]
    amounts: Mapping[str, int]
    on_failure: OnQuotaFailure = "fail"


@dataclass(frozen=True, slots=True)
class QuotaTerms:
    """What one endpoint counts.

    Raises:
        ConfigurationError: a field is none of its values.
    """

    quotas: tuple[Quota, ...]
    """Empty where a host's own service knows them."""
    partial: PartialCharge = "consumed"
    on_failure: OnQuotaFailure = "fail"

    def __post_init__(self) -> None:
        if self.quotas:
            check_quotas(self.quotas)
        if self.partial not in ("consumed", "reserved", "nothing"):
            raise ConfigurationError(f"charge_partial is 'consumed', 'reserved' or 'nothing', not {self.partial!r}")
        if self.on_failure not in ("fail", "continue"):
            raise ConfigurationError(f"on_quota_failure is 'fail' or 'continue', not {self.on_failure!r}")

    def charge(self, seal: Seal, *, said_nothing: bool) -> Charge:
        """What a stream that ended so is charged. Pure, so that every worker comes to the same.

        `said_nothing`: it failed, or was interrupted, before its first item.
        """
        if said_nothing:
            return RELEASE
        if seal.outcome is not Outcome.COMPLETED:
            if self.partial == "nothing":
                return RELEASE
            if self.partial == "reserved":
                return COMMIT_RESERVED
        usage = {} if seal.usage is None else seal.usage.amounts
        units = sorted({quota.unit for quota in self.quotas} or {TOKENS, *usage})
        return Charge(consumed(units, usage))


def said_nothing(seal: Seal) -> bool:
    """Whether a stream ended before it had said anything, or was shown to nobody. Decided by the seal alone, so
    that its own worker and any other come to the same."""
    if seal.outcome is Outcome.COMPLETED:
        return False
    if seal.fault is not None and seal.fault.code is FaultCode.NOT_FOUND:
        return True
    return seal.silent or seal.last_seq == 0


class QuotaBindings:
    """The terms of one guard's endpoints. Filled while endpoints are decorated; only read afterwards."""

    def __init__(self) -> None:
        self._terms: dict[str, QuotaTerms | None] = {}

    def register(self, binding: str, terms: QuotaTerms | None) -> None:
        """Note what the streams of `binding` are charged; None for nothing.

        Raises:
            ConfigurationError: the binding is known already, with other terms.
        """
        if self._terms.setdefault(binding, terms) != terms:
            raise ConfigurationError(
                f"two endpoints have the binding {binding!r} but other quotas: another worker could not tell what to "
                "charge its streams; give each its own name with binding=…"
            )

    @property
    def any(self) -> bool:
        """Whether any endpoint counts anything."""
        return any(terms is not None for terms in self._terms.values())

    def terms_of(self, binding: str) -> QuotaTerms | None:
        """What the streams of `binding` are charged; None for nothing, and for an unknown one."""
        return self._terms.get(binding)

    def quotas(self) -> tuple[Quota, ...]:
        """Every quota of any endpoint; of two that count the same unit over the same time, the lower one."""
        lowest: dict[tuple[str, int], Quota] = {}
        for terms in self._terms.values():
            for quota in () if terms is None else terms.quotas:
                name = (quota.unit, quota.period_ms)
                if name not in lowest or quota.limit < lowest[name].limit:
                    lowest[name] = quota
        return tuple(lowest.values())
