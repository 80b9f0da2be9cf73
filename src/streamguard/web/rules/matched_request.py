"""One request that a rule matches, on its way through the guard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope

from ..middleware.exchange import Exchange, exchange_of, reading_through
from .inner_call import InnerCall
from .kept_body import KeptBody

__all__ = ["MatchedRequest", "matched_request"]

_SCOPE_KEY: Final = "streamguard.matched"


@dataclass(slots=True, eq=False)
class MatchedRequest:
    """A request, what its rule found in its path, and the application that is to answer it."""

    parameters: Mapping[str, str]
    """The parameters of the rule's path."""
    app: ASGIApp
    scope: Scope
    """As the middleware got it."""
    body: KeptBody
    exchange: Exchange
    call: InnerCall | None = None
    """The call of the application, once it was made."""

    @classmethod
    def of(cls, app: ASGIApp, scope: Scope, receive: Receive, limit_bytes: int) -> MatchedRequest:
        """A request whose selectors may read up to `limit_bytes` of its body."""
        seen, exchange = {**scope}, exchange_of(scope)
        _, receive = reading_through(exchange, scope, receive)
        matched = cls({}, app, scope, KeptBody(seen, receive, limit_bytes), exchange)
        seen[_SCOPE_KEY] = matched
        return matched

    def match(self, parameters: Mapping[str, str]) -> None:
        """A rule found these parameters in its path."""
        self.parameters = parameters
        self.request.scope["path_params"] = {**self.scope.get("path_params", {}), **parameters}

    def release(self) -> None:
        """It is answered: its scope leads back here no longer, so that no cycle keeps it in memory."""
        self.request.scope.pop(_SCOPE_KEY, None)

    @property
    def request(self) -> Request:
        """As selectors, predicates and `authenticate` see it."""
        return self.body.request


def matched_request(request: Request) -> MatchedRequest:
    """The matched request that `request` shows."""
    found = request.scope[_SCOPE_KEY]
    if not isinstance(found, MatchedRequest):
        raise TypeError("no rule matched this request")
    return found
