"""What is decided about an endpoint when it is decorated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from starlette.requests import Request

from ...runtime import LiveStream, Runtime
from ...wire import WireProtocol, protocol_named
from ...wire.recognition import SSE
from ...wire.upstream import UpstreamProtocol
from ..application.guarded_endpoint import ItemWriter
from ..guard_context import GuardContext
from ..misuse import Misuse
from .default_protocol import GENERATED, PASSED_ON, default_protocol
from .demand_source import DemandSource
from .endpoint_result import EndpointResult
from .options import StreamOptions
from .selector import Selector
from .signature import EndpointSignature
from .value_source import ValueSource

__all__ = ["EndpointConfiguration", "StreamCall"]


class StreamCall(Protocol):
    """One call of what produces a stream."""

    def launch(self, runtime: Runtime, stream: LiveStream) -> EndpointResult | None:
        """Let the runtime run it as the stream's producer. Returns what to wait for before the stream may begin; None
        for a call that can only stream."""


@dataclass(frozen=True, slots=True)
class EndpointConfiguration:
    """One endpoint under one guard: the same for all of its requests."""

    function: Callable[..., object]
    signature: EndpointSignature
    options: StreamOptions
    binding: str
    """The endpoint's stable name, which every stream is stored with."""
    protocol: WireProtocol
    session: ValueSource | None
    """Finds the session's id; None: each request has a session of its own."""
    message_id: ValueSource | None
    """Finds the reply's id; None: each reply has a fresh one."""
    demand_source: DemandSource | None
    """Says what a request reserves; None: nothing is counted."""
    call_inside: Callable[[Request], StreamCall] | None = None
    """Of a rule of the middleware: calls the application inside for a request. None for a decorated function."""
    write_item: ItemWriter | None = None
    """Makes server-sent events of the items; None for items that its protocol takes as they are."""
    keeps_response: bool = field(init=False, default=False)
    """Whether the response is the application's own: a rule's. Its status and headers stay, nobody is told of one that
    is no stream, and its request may have a body of any size."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "keeps_response", self.call_inside is not None)

    @classmethod
    def of(
        cls,
        context: GuardContext,
        function: Callable[..., object],
        options: StreamOptions,
        signature: EndpointSignature,
    ) -> EndpointConfiguration:
        """Read an endpoint, whose signature has been read, and register it with its guard.

        Raises:
            ConfigurationError: it can never work: it is no callable, a selector names no parameter of it, there is no
                such protocol.
        """
        protocol = options.protocol_for_clients(protocol_named(options.protocol or default_protocol(signature)))

        def warn_of_none(source: str, parameter: str) -> None:
            context.usage.advise(Misuse.SELECTED_NONE, signature.name, source=source, parameter=parameter)

        return cls.registered(
            context,
            function,
            signature,
            options,
            protocol,
            session=Selector.optional(options.session, "session", signature, warn_of_none),
            message_id=Selector.optional(options.message_id, "message_id", signature),
            estimate_source=lambda given: Selector(given, "estimate", signature),
        )

    @classmethod
    def registered(
        cls,
        context: GuardContext,
        function: Callable[..., object],
        signature: EndpointSignature,
        options: StreamOptions,
        protocol: WireProtocol,
        *,
        session: ValueSource | None,
        message_id: ValueSource | None,
        estimate_source: Callable[[str | Callable[..., object]], ValueSource],
        call_inside: Callable[[Request], StreamCall] | None = None,
    ) -> EndpointConfiguration:
        """A configuration that its guard knows from now on.

        Raises:
            ConfigurationError: the quota options can never work, or the binding is that of another endpoint.
        """
        terms = options.quotas.terms(own_service=context.endpoints.own_quota)
        demand_source = None
        if terms is not None:
            demand_source = DemandSource(
                terms,
                options.quotas.estimate,
                signature.name,
                estimate_source,
                answered_errors=signature.framework.answered_errors,
            )
        binding = options.binding or signature.name
        context.endpoints.register(
            binding,
            save=options.save,
            terms=terms,
            protocol=protocol.name,
            max_stream_seconds=options.max_stream_seconds,
            keep_alive_block=options.keeps_alive_by_block(protocol),
        )
        configuration = cls(
            function=function,
            signature=signature,
            options=options,
            binding=binding,
            protocol=protocol,
            session=session,
            message_id=message_id,
            demand_source=demand_source,
            call_inside=call_inside,
        )
        context.endpoints.configurations.append(configuration)
        return configuration

    def sending_events(self, context: GuardContext, write_item: ItemWriter) -> EndpointConfiguration:
        """The same endpoint with items that `write_item` makes server-sent events of, in place of this one. It passes
        them on, unless the decorator names a protocol; the same if that one's items are no events.

        Raises:
            ConfigurationError: another option does not work with events.
        """
        protocol = self.protocol
        if self.options.protocol is None and protocol.name == GENERATED:
            protocol = self.options.protocol_for_clients(protocol_named(PASSED_ON))
        if not isinstance(protocol, UpstreamProtocol) or protocol.media_type.partition(";")[0] != SSE:
            return self
        changed = replace(self, protocol=protocol, write_item=write_item)
        context.endpoints.replace(self, changed, old_protocol=self.protocol.name, new_protocol=protocol.name)
        return changed
