"""The rules of one middleware under one guard: which of them a request matches, and how it is answered then."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

from ...observations import Observation
from ..application.guarded_endpoint import Guarded
from ..application.route_tree import first_match, routes_of
from ..application.rule_search import RuleSearch
from ..guard_context import GuardContext
from ..headers import with_encodings
from ..middleware.body_too_large import BodyTooLargeError
from ..routes.paths import may_be_own
from ..routes.route import own_route
from .host_errors import answer_error
from .litestar_headers import have_litestar_read_them
from .matched_request import MatchedRequest
from .path_pattern import path_below_mount
from .rule_checks import advice, problems
from .rule_endpoint import RuleEndpoint
from .stream_rule import StreamRule

__all__ = ["Candidate", "RuleTable"]

_SCOPE_KEY: Final = "streamguard.rules"
_NAMED: Final = re.compile(r"\(\?P<\w+>")
"""The beginning of a named group: the patterns of several rules may have parameters of the same name."""


class Candidate(NamedTuple):
    """A rule whose path and methods match a request."""

    endpoint: RuleEndpoint
    parameters: Mapping[str, str]


class _Found(NamedTuple):
    """What was found for a request, which is asked for by every layer that it goes through."""

    table: RuleTable
    method: str
    path: str
    root_path: str | None
    headers: object
    """A `Host` route may look at them."""
    candidates: Sequence[Candidate]

    @classmethod
    def of(cls, table: RuleTable, scope: Scope, candidates: Sequence[Candidate]) -> _Found:
        return cls(table, scope["method"], scope["path"], scope.get("root_path"), scope["headers"], candidates)

    def is_of(self, table: RuleTable, scope: Scope) -> bool:
        """Whether it was found by this table, and for the request as it is now: layers in between may rewrite it."""
        return (
            self.table is table
            and self.headers is scope["headers"]
            and self.path == scope["path"]
            and self.method == scope["method"]
            and self.root_path == scope.get("root_path")
        )


class RuleTable:
    """The rules, in the order in which they are tried.

    Args:
        context: the guard's.
        rules: as given.
        app: the application inside.
        is_own_elsewhere: whether a request is for one of the guard's routes in an application without Starlette's.

    Raises:
        ConfigurationError: when made, if a rule can never work under this guard.
    """

    def __init__(
        self,
        context: GuardContext,
        rules: Sequence[StreamRule],
        app: ASGIApp,
        is_own_elsewhere: Callable[[Scope], bool],
    ) -> None:
        self._context = context
        self._is_own_elsewhere = is_own_elsewhere
        self._rules = rules
        self._app = app
        self._endpoints = [RuleEndpoint(context, rule) for rule in rules]
        self._inside: RuleSearch | None = None
        """The rules in the application inside; None before they were looked for."""
        self._methods = frozenset(method for rule in rules for method in rule.methods)
        self._exact = frozenset(rule.pattern.text for rule in rules if rule.pattern.exact)
        patterns = [_NAMED.sub("(?:", rule.pattern.expression) for rule in rules if not rule.pattern.exact]
        self._pattern = re.compile("|".join(patterns), re.DOTALL).fullmatch if patterns else None
        """Matches the paths of all rules that match more than one."""
        places = [(method, rule.pattern.text) for rule in rules if rule.pattern.exact for method in rule.methods]
        self._fixed = {
            (method, path): self._matches(method, path)
            for method, path in places
            if not may_be_own({"method": method, "path": path})
        }
        """Hot path: the rules of a method and path outside of mounts, where nothing else decides which these are."""

    def rule_for(self, scope: Scope) -> Guarded | None:
        """The first rule that may match the request; None if none does."""
        candidates = self.candidates(scope)
        return candidates[0].endpoint if candidates else None

    def candidates(self, scope: Scope) -> Sequence[Candidate]:
        """The rules that may match the request, as far as its path and method tell. Hot path: most requests match
        none."""
        fixed = None if scope.get("root_path") else self._fixed.get((scope["method"], scope["path"]))
        if fixed is not None:
            return fixed
        known: _Found | None = scope.get(_SCOPE_KEY)
        if known is not None and known.is_of(self, scope):
            return known.candidates
        if scope["method"] not in self._methods:
            return ()
        path = path_below_mount(scope)
        if path not in self._exact and (self._pattern is None or self._pattern(path) is None):
            return ()
        found = self._candidates(scope, path)
        if found:
            scope[_SCOPE_KEY] = _Found.of(self, scope, found)
        return found

    async def answer(self, candidates: Sequence[Candidate], scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that may match: by the first of the candidates whose condition holds, or by the application
        alone."""
        matched = MatchedRequest.of(self._app, scope, receive, self._context.settings.max_request_bytes)
        for endpoint, parameters in candidates:
            matched.match(parameters)
            condition = endpoint.rule.condition
            try:
                holds = condition is None or await condition.find({}, matched.request)
            except BodyTooLargeError:
                await endpoint.too_large(scope)(scope, receive, send)
                return
            except Exception as exc:  # noqa: BLE001 -- raised again unless the host has a handler for it
                await answer_error(exc, scope, self._app, receive, send)
                return
            if holds:
                await endpoint.respond(matched, receive, send)
                return
        self._give_back_encodings(matched)
        await self._app(scope, matched.body.receive, send)

    def _give_back_encodings(self, matched: MatchedRequest) -> None:
        """The application may compress its answer to a request that no rule matches after all, unless there is another
        rule inside, whose stream would go through the same compressor."""
        given, scope = matched.exchange.withheld, matched.scope
        if given is None:
            return
        if self._inside is None:
            self._inside = RuleSearch(self._app)
        if self._inside.any and self._inside.find(scope) is not None:
            return
        scope["headers"] = with_encodings(scope["headers"], given)
        have_litestar_read_them(scope)

    def check(self) -> list[Observation]:
        """Check the application inside, whose middlewares and routes are complete when the guard starts. Returns
        warnings for observers.

        Raises:
            ConfigurationError: a request that a rule matches could never be answered.
        """
        for report in problems(self._rules, self._app, self._context.authenticate):
            raise report.error()
        return [report.observation() for report in advice(self._app)]

    def _candidates(self, scope: Scope, path: str) -> Sequence[Candidate]:
        matches = self._matches(scope["method"], path)
        return () if matches and self._is_own(scope) else matches

    def _matches(self, method: str, path: str) -> Sequence[Candidate]:
        return [
            Candidate(endpoint, parameters)
            for endpoint in self._endpoints
            if method in endpoint.rule.methods and (parameters := endpoint.rule.pattern.match(path)) is not None
        ]

    def _is_own(self, scope: Scope) -> bool:
        """Whether a request is for one of the guard's own routes, which no rule matches."""
        if not may_be_own(scope):  # nearly always
            return False
        routes = routes_of(self._app)
        if routes is None:
            return self._is_own_elsewhere(scope)
        leaf = first_match(routes, scope)
        return leaf is not None and own_route(leaf) is not None
