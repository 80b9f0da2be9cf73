"""A rule as a guarded endpoint, whose answer is what the application inside answers."""

from __future__ import annotations

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Send

from ...wire import UNDECIDED, protocol_named
from ..endpoint.arguments import EndpointArguments
from ..endpoint.configuration import EndpointConfiguration
from ..endpoint.endpoint import GuardedEndpoint
from ..endpoint.signature import EndpointSignature
from ..guard_context import GuardContext
from ..misuse import Misuse
from .host_errors import answer_error
from .matched_request import MatchedRequest, matched_request
from .rule_call import RuleCall
from .rule_source import RuleEstimate
from .stream_rule import StreamRule

__all__ = ["RuleEndpoint"]


class RuleEndpoint(GuardedEndpoint):
    """Answers the requests that one rule matches.

    Raises:
        ConfigurationError: when made: there is no such protocol, or another rule has the same binding, but saves or
            counts elsewhere.
    """

    def __init__(self, context: GuardContext, rule: StreamRule) -> None:
        super().__init__(context, _configuration(context, rule))
        self.rule: StreamRule = rule

    async def respond(self, matched: MatchedRequest, receive: Receive, send: Send) -> None:
        """Answer a request.

        Raises:
            ConfigurationError: the application inside, or the guard, is used in a way that cannot work.
            Exception: what the application inside raises before it has begun to stream; what a function of the host's
                raises and the application has no handler for.
        """
        request, exchange = matched.request, matched.exchange
        if exchange.rule is not None:
            raise Misuse.GUARDED_TWICE.error(endpoint=self.rule.name, rule=exchange.rule)
        exchange.rule = self.rule.name
        try:
            try:
                response = await self.answer(EndpointArguments({}, request, None))
            except Exception as exc:  # noqa: BLE001 -- raised again unless the host has a handler for it
                await answer_error(exc, matched.scope, matched.app, receive, send)
                return
            await response(request.scope, receive, send)
        finally:
            if matched.call is not None:
                await matched.call.abandon()
            matched.release()


async def _call_inside(request: Request) -> Response:
    """Has the signature that a rule is registered with. `RuleCall` calls the application inside in its place."""
    raise AssertionError("a rule's requests are answered by the application inside")


def _configuration(context: GuardContext, rule: StreamRule) -> EndpointConfiguration:
    protocol = protocol_named(rule.options.protocol or UNDECIDED.name)
    first_item_seconds = rule.options.first_item_seconds or context.settings.first_item_seconds
    return EndpointConfiguration.registered(
        context,
        _call_inside,
        replace(EndpointSignature.read(_call_inside, {}), name=rule.name),
        rule.options,
        rule.options.protocol_for_clients(protocol),
        session=rule.session,
        message_id=rule.message_id,
        estimate_source=lambda given: RuleEstimate(given, "estimate", rule.pattern.parameters),
        call_inside=lambda request: RuleCall(
            rule.name, rule.media_types, matched_request(request), first_item_seconds=first_item_seconds
        ),
    )
