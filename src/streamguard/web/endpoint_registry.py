"""The guarded endpoints of one guard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from ..runtime import Bindings, QuotaBindings, QuotaTerms, SaveOption
from ..wire import WireProtocol, protocol_named
from ..wire.sse import KEEP_ALIVE, KEEP_ALIVE_BLOCK
from .application.guarded_endpoint import Guarded

__all__ = ["DecoratedEndpoint", "EndpointRegistry"]

DEFAULT_PROTOCOL: Final = "ui-message"


class DecoratedEndpoint(NamedTuple):
    """One function that was decorated."""

    function: Callable[..., object]
    name: str
    """For messages."""
    guarded: Guarded
    """What guards it."""


class EndpointRegistry:
    """The endpoints of one guard. Filled while endpoints are decorated; only read afterwards.

    Args:
        bindings: where the endpoints' messages are saved.
        max_stream_seconds: how long a stream may take where its endpoint sets no limit of its own.
        own_quota: whether the quota is a service of the host's, which knows its own limits.
    """

    def __init__(self, bindings: Bindings, *, max_stream_seconds: float, own_quota: bool = False) -> None:
        self.bindings = bindings
        self.terms: QuotaBindings = QuotaBindings()
        """What the endpoints count against a quota."""
        self.own_quota = own_quota
        self._longest_stream_seconds = max_stream_seconds
        self._decorated: list[DecoratedEndpoint] = []
        self.configurations: list[object] = []
        """The `EndpointConfiguration` of each endpoint and rule."""
        self._protocols: list[str] = []
        """One for each endpoint."""
        self._keep_alive_blocks: set[str] = set()
        """Bindings of the endpoints whose keep-alives are blocks of their own."""

    def register(
        self,
        binding: str,
        *,
        save: SaveOption,
        terms: QuotaTerms | None,
        protocol: str,
        max_stream_seconds: float | None,
        keep_alive_block: bool,
    ) -> None:
        """Add an endpoint.

        Raises:
            ConfigurationError: another endpoint has the same binding, but saves or counts elsewhere.
        """
        self.bindings.register(binding, save)
        self.terms.register(binding, terms)
        self._longest_stream_seconds = max(self._longest_stream_seconds, max_stream_seconds or 0.0)
        self._protocols.append(protocol)
        if keep_alive_block:
            self._keep_alive_blocks.add(binding)

    def replace(self, old: object, new: object, *, old_protocol: str, new_protocol: str) -> None:
        """An endpoint's configuration has changed, before the guard starts."""
        self.configurations[self.configurations.index(old)] = new
        self._protocols.remove(old_protocol)
        self._protocols.append(new_protocol)

    def add_decorated(self, endpoint: DecoratedEndpoint) -> None:
        """Remember the function that was decorated, so that the application's routes can be checked for it."""
        self._decorated.append(endpoint)

    @property
    def decorated(self) -> Sequence[DecoratedEndpoint]:
        """Every function that was decorated."""
        return self._decorated

    @property
    def longest_stream_seconds(self) -> float:
        """How long a stream of any endpoint may take."""
        return self._longest_stream_seconds

    @property
    def protocols(self) -> frozenset[str]:
        """The names of the protocols that the endpoints speak."""
        return frozenset(self._protocols)

    def keep_alive(self, binding: str) -> bytes:
        """What a viewer of an endpoint's stream, whose events carry no ids, is sent while the stream is silent."""
        return KEEP_ALIVE_BLOCK if binding in self._keep_alive_blocks else KEEP_ALIVE

    def fault_protocol(self) -> WireProtocol:
        """The protocol for a failure that belongs to no stream: the endpoints' own, if they all speak the same one."""
        names = self.protocols
        name = next(iter(names)) if len(names) == 1 else DEFAULT_PROTOCOL
        return protocol_named(name)
