"""What an endpoint counts against a quota, what each of its requests asks to reserve, and the RateLimit headers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request

from ...errors import ConfigurationError, FaultError, QuotaInvalidError
from ...faults import Fault, FaultCode
from ...quota import Quota, Standing, check_quotas, demand, rate_limit_headers
from ...runtime import Demand, OnQuotaFailure, PartialCharge, QuotaOption, QuotaTerms
from ..headers import RawHeaders
from .selector import Selector
from .signature import EndpointSignature

__all__ = ["DemandSource", "EstimateSource", "QuotaOptions", "standing_headers"]

Estimate = int | Mapping[str, int]
EstimateSource = Estimate | str | Callable[..., Estimate | Awaitable[Estimate]] | None
"""What a reply may consume: a number, numbers by unit, `"parameter.attribute"`, or a callable whose parameters are
named like the endpoint's own."""

TOKENS: Final = "tokens"
REQUESTS: Final = "requests"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaOptions:
    """The arguments of `@guard.stream` that concern quotas."""

    quota: QuotaOption = None
    estimate: EstimateSource = None
    charge_partial: PartialCharge = "consumed"
    on_quota_failure: OnQuotaFailure = "fail"

    def terms(self, *, own_service: bool) -> QuotaTerms | None:
        """What the endpoint counts; None for nothing. `own_service`: the guard's quota is a host's own.

        Raises:
            ConfigurationError: they can never work.
        """
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
        return QuotaTerms(quotas, self.charge_partial, self.on_quota_failure)


class DemandSource:
    """What each request to one endpoint asks to reserve.

    Raises:
        ConfigurationError: the estimate can never work: it names no parameter, or fits no quota.
    """

    def __init__(self, terms: QuotaTerms, estimate: EstimateSource, signature: EndpointSignature) -> None:
        self._terms = terms
        self._name = signature.name
        self._selector: Selector | None = None
        self._fixed: Demand | None = None
        if isinstance(estimate, str) or callable(estimate):
            self._selector = Selector(estimate, "estimate", signature)
            return
        try:
            self._fixed = self._demand(estimate)
        except QuotaInvalidError as exc:
            raise ConfigurationError(f"estimate of {signature.name}: {exc}; give estimate=…") from exc

    async def demand(self, arguments: Mapping[str, object], request: Request) -> Demand:
        """What to reserve for one request.

        Raises:
            FaultError: `internal`: the estimate is none.
            HTTPException: the estimate's own.
        """
        if self._fixed is not None or self._selector is None:
            return self._fixed or self._demand(None)
        try:
            return self._demand(await self._selector.find(arguments, request))
        except (FaultError, HTTPException, ConfigurationError):
            raise
        except Exception as exc:  # the application's function may raise what it likes
            raise FaultError(Fault.of(FaultCode.INTERNAL, reason="estimate")) from exc

    def _demand(self, estimate: object) -> Demand:
        terms = self._terms
        if estimate is not None and not isinstance(estimate, (int, Mapping)):
            raise QuotaInvalidError("reserve: an estimate is an integer, or integers by unit", operation="reserve")
        if terms.quotas:
            return Demand(terms.quotas, demand(terms.quotas, estimate), terms.on_failure)
        named = estimate if isinstance(estimate, Mapping) else {} if estimate is None else {TOKENS: estimate}
        known = [Quota(limit=0, per="day", unit=unit) for unit in {REQUESTS, *named}]  # for their checks alone
        return Demand((), demand(known, named), terms.on_failure)


def standing_headers(standings: Sequence[Standing]) -> RawHeaders:
    """The RateLimit headers."""
    return [(name.lower().encode(), value.encode()) for name, value in rate_limit_headers(standings)]
