"""What each request to an endpoint asks a quota to reserve."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.requests import Request

from ...contained import passes
from ...errors import ConfigurationError, FaultError, QuotaInvalidError
from ...faults import Fault, FaultCode
from ...quota import Quota, demand
from ...quota.limits import check_amounts
from ...runtime import Demand, QuotaTerms
from .value_source import ValueSource

__all__ = ["DemandSource", "Estimate", "EstimateSource"]

Estimate = int | Mapping[str, int]
EstimateSource = Estimate | str | Callable[..., Estimate | Awaitable[Estimate]] | None
"""How much a reply may consume: a number, numbers by unit, `"parameter.attribute"`, or a callable whose parameters are
named like the endpoint's own."""

TOKENS: Final = "tokens"
REQUESTS: Final = "requests"


class DemandSource:
    """What each request to one endpoint asks to reserve.

    Args:
        terms: what is counted.
        estimate: how much a reply may consume.
        name: the endpoint's, for messages.
        source_of: finds an estimate that each request has of its own.
        answered_errors: what the host's framework makes a response of.

    Raises:
        ConfigurationError: the estimate can never work: it names no parameter, or fits no quota.
    """

    def __init__(
        self,
        terms: QuotaTerms,
        estimate: EstimateSource,
        name: str,
        source_of: Callable[[str | Callable[..., object]], ValueSource],
        *,
        answered_errors: Callable[[Request], tuple[type[Exception], ...]],
    ) -> None:
        self._terms = terms
        self._name = name
        self._answered_errors = answered_errors
        self._selector: ValueSource | None = None
        self._fixed: Demand | None = None
        if isinstance(estimate, str) or callable(estimate):
            self._selector = source_of(estimate)
            return
        try:
            self._fixed = self._demand(estimate)
        except QuotaInvalidError as exc:
            raise ConfigurationError(f"estimate of {name}: {exc}; give estimate=…") from exc

    async def demand(self, arguments: Mapping[str, object], request: Request) -> Demand:
        """What to reserve for one request.

        Raises:
            FaultError: `internal`: the estimate failed, or is no number.
            Exception: one that the framework answers (an `HTTPException`, say), which the estimate raised.
        """
        if self._fixed is not None or self._selector is None:
            return self._fixed or self._demand(None)
        try:
            return self._demand(await self._selector.find(arguments, request))
        except (FaultError, ConfigurationError):
            raise
        except BaseException as exc:  # the host's function may raise any error
            if passes(exc) or isinstance(exc, self._answered_errors(request)):
                raise
            raise FaultError(Fault.of(FaultCode.INTERNAL, reason="estimate")) from exc

    def demand_of(self, estimate: Estimate | None) -> Demand:
        """What to reserve for an answer that no request begins: `estimate`, or, for None, the endpoint's own.

        Raises:
            ConfigurationError: the estimate fits no quota, or the endpoint finds its own in a request.
        """
        if estimate is None:
            if self._fixed is None:
                raise ConfigurationError(f"{self._name} finds its estimate in a request: give guard.start estimate=…")
            return self._fixed
        try:
            return self._demand(estimate)
        except QuotaInvalidError as exc:
            raise ConfigurationError(f"estimate of an answer under {self._name}: {exc}") from exc

    def _demand(self, estimate: object) -> Demand:
        terms = self._terms
        if estimate is not None and not isinstance(estimate, (int, Mapping)):
            raise QuotaInvalidError("reserve: an estimate is an integer, or integers by unit", operation="reserve")
        if terms.quotas:
            return Demand(terms.quotas, demand(terms.quotas, estimate), terms.on_failure)
        named = estimate if isinstance(estimate, Mapping) else {} if estimate is None else {TOKENS: estimate}
        check_amounts("reserve", named)
        known = [Quota(limit=0, per="day", unit=unit) for unit in {REQUESTS, *named}]  # for their checks alone
        return Demand((), demand(known, named), terms.on_failure)
