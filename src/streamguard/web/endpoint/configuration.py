"""What is decided about an endpoint when it is decorated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...wire import WireProtocol, protocol_named
from ..guard_context import GuardContext
from ..misuse import Misuse
from .demand_source import DemandSource
from .endpoint_call import default_protocol
from .options import StreamOptions
from .selector import Selector
from .signature import EndpointSignature

__all__ = ["EndpointConfiguration"]


@dataclass(frozen=True, slots=True)
class EndpointConfiguration:
    """One endpoint under one guard: the same for all of its requests."""

    function: Callable[..., object]
    signature: EndpointSignature
    options: StreamOptions
    binding: str
    """The endpoint's stable name, which every stream is stored with."""
    protocol: WireProtocol
    session: Selector | None
    """Finds the session's id; None: each request has a session of its own."""
    message_id: Selector | None
    """Finds the reply's id; None: each reply has a fresh one."""
    demand_source: DemandSource | None
    """Says what a request reserves; None: nothing is counted."""

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

        session = Selector.optional(options.session, "session", signature, warn_of_none)
        message_id = Selector.optional(options.message_id, "message_id", signature)
        terms = options.quotas.terms(own_service=context.endpoints.own_quota)
        demand_source = None if terms is None else DemandSource(terms, options.quotas.estimate, signature)
        binding = options.binding or signature.name
        context.endpoints.register(
            binding,
            save=options.save,
            terms=terms,
            protocol=protocol.name,
            max_stream_seconds=options.max_stream_seconds,
            keep_alive_block=options.keep_alive == "block",
        )
        return cls(
            function=function,
            signature=signature,
            options=options,
            binding=binding,
            protocol=protocol,
            session=session,
            message_id=message_id,
            demand_source=demand_source,
        )
