"""The arguments of `@guard.stream` that concern quotas, and the RateLimit headers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...errors import ConfigurationError
from ...quota import Quota, Standing, check_quotas, rate_limit_headers
from ...runtime import OnQuotaFailure, PartialCharge, QuotaOption, QuotaTerms
from ..headers import RawHeaders
from .demand_source import EstimateSource

__all__ = ["QuotaOptions", "standing_headers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaOptions:
    """The arguments of `@guard.stream` that concern quotas."""

    quota: QuotaOption = None
    estimate: EstimateSource = None
    charge_partial: PartialCharge = "consumed"
    on_quota_failure: OnQuotaFailure = "fail"

    @property
    def counts(self) -> bool:
        """Whether anything is to be counted."""
        return (self.quota is not None and self.quota is not False) or self.estimate is not None

    def terms(self, *, own_service: bool) -> QuotaTerms | None:
        """What the endpoint counts; None for nothing. `own_service`: the guard's quota is a service of the host's.

        Raises:
            ConfigurationError: the options can never work.
        """
        terms = QuotaTerms((), self.charge_partial, self.on_quota_failure)  # checks both, used or not
        if self.quota is False:
            return None
        if self.quota is None:
            if self.estimate is None:
                return None
            if not own_service:
                raise ConfigurationError("estimate= needs quota=…: what is it to be checked against?")
            quotas: tuple[Quota, ...] = ()
        else:
            if not isinstance(self.quota, (Quota, Sequence)):
                raise ConfigurationError(f"quota is a Quota, several of them, or False, not {self.quota!r}")
            quotas = check_quotas(self.quota)
        return replace(terms, quotas=quotas)


def standing_headers(standings: Sequence[Standing]) -> RawHeaders:
    """The RateLimit headers for how the owner stands."""
    return [(name.lower().encode(), value.encode()) for name, value in rate_limit_headers(standings)]
