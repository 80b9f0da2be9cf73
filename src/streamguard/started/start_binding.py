"""Under which binding an answer is begun, and what that says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ..errors import ConfigurationError
from ..runtime import Demand
from ..web.application.guarded_endpoint import guards_of
from ..web.endpoint.configuration import EndpointConfiguration
from ..web.endpoint.endpoint import GuardedEndpoint
from ..web.endpoint_registry import EndpointRegistry
from ..wire import WireProtocol, protocol_named

__all__ = ["DEFAULT_BINDING", "StartBinding"]

DEFAULT_BINDING: Final = "streamguard:start"
"""The binding of answers that name none. Every guard has it, so that any worker can end and save them; it saves where
the guard does, and counts nothing. It is stored with streams, so it never changes."""
_PROTOCOL: Final = "ui-message"


@dataclass(frozen=True, slots=True)
class StartBinding:
    """A guarded endpoint's configuration, as far as it holds for an answer that no request begins."""

    name: str
    protocol: WireProtocol
    configuration: EndpointConfiguration | None
    """The endpoint's; None for the default binding."""

    @classmethod
    def of(
        cls, endpoints: EndpointRegistry, binding: str | Callable[..., object] | None, protocol: str | None
    ) -> StartBinding:
        """The binding of that name, or of that decorated function; the default one for None.

        Raises:
            ConfigurationError: this guard has no such endpoint, or there is no such protocol.
        """
        chosen = None if protocol is None else protocol_named(protocol)
        if binding is None or binding == DEFAULT_BINDING:
            return cls(DEFAULT_BINDING, chosen or protocol_named(_PROTOCOL), None)
        configuration = _configuration_of(endpoints, binding)
        return cls(configuration.binding, chosen or configuration.protocol, configuration)

    def demand(self, estimate: int | Mapping[str, int] | None) -> Demand | None:
        """What to reserve for an answer; None where nothing is counted.

        Raises:
            ConfigurationError: the estimate fits no quota, or one is needed.
        """
        source = None if self.configuration is None else self.configuration.demand_source
        if source is not None:
            return source.demand_of(estimate)
        if estimate is not None:
            raise ConfigurationError(
                f"estimate= of guard.start needs a binding with a quota, which {self.name!r} has not: name a guarded "
                "endpoint that has one, binding=…"
            )
        return None


def _configuration_of(endpoints: EndpointRegistry, binding: str | Callable[..., object]) -> EndpointConfiguration:
    known = [one for one in endpoints.configurations if isinstance(one, EndpointConfiguration)]
    if isinstance(binding, str):
        named = next((one for one in known if one.binding == binding), None)
        if named is None:
            names = ", ".join(sorted({one.binding for one in known})) or "none"
            raise ConfigurationError(
                f"guard.start knows no endpoint with the binding {binding!r}: this guard has {names}"
            )
        return named
    found = next((guard.configuration for guard in guards_of(binding) if isinstance(guard, GuardedEndpoint)), None)
    if found is None or not any(one is found for one in known):
        name = getattr(binding, "__qualname__", type(binding).__name__)
        raise ConfigurationError(f"binding={name} of guard.start is no endpoint that this guard's @guard.stream made")
    return found
