"""Finds a session's or message's id: by `"body.id"`, or by a callable of the endpoint's arguments."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request

from ...errors import ConfigurationError
from ..misuse import Misuse
from .field_paths import missing_field
from .signature import EndpointSignature

__all__ = ["Selector", "SelectorSource"]

SelectorSource = str | Callable[..., object | Awaitable[object]]
"""`"parameter.attribute"` (attributes of objects, keys of mappings), or a callable, sync or async, whose parameters
are named like the endpoint's own, or `request`."""


OnNone = Callable[[str, str], None]
"""Called with a path that led to None, and the name of its parameter. A function that returns None means it."""


class Selector:
    """Finds a value among an endpoint's arguments; checked against its signature when constructed.

    Raises:
        ConfigurationError: it names a parameter that the endpoint does not have, or a field that its type does not
            have.
    """

    def __init__(
        self, source: SelectorSource, option: str, signature: EndpointSignature, on_none: OnNone | None = None
    ) -> None:
        self._source = source
        self._on_none = on_none
        self._path: list[str] = []
        self._function: Callable[..., object | Awaitable[object]] | None = None
        known = {name for name in signature.own.parameters if name != signature.run} | {"request"}
        if not callable(source) and not isinstance(source, str):
            raise ConfigurationError(
                f"{option} of {signature.name} is 'parameter.field', or a function of the endpoint's parameters, not "
                f"{source!r:.80}"
            )
        if callable(source):
            self._function = source
            self._names = [
                name
                for name, parameter in inspect.signature(source).parameters.items()
                if parameter.default is inspect.Parameter.empty or name in known
            ]
        else:
            first, *self._path = source.split(".")
            self._names = [first]
        unknown = [name for name in self._names if name not in known]
        if unknown or not all(part.isidentifier() for part in [*self._names, *self._path]):
            raise Misuse.NO_SUCH_PARAMETER.error(
                option=option,
                endpoint=signature.name,
                missing=", ".join(map(repr, unknown)) or repr(source),
                parameters=", ".join(sorted(known)),
            )
        if self._function is None:
            parameter = signature.own.parameters.get(self._names[0])
            hint = missing_field(object if parameter is None else parameter.annotation, self._path)
            if hint is not None:
                raise Misuse.NO_SUCH_FIELD.error(option=option, endpoint=signature.name, source=source, hint=hint)

    @classmethod
    def optional(
        cls, source: SelectorSource | None, option: str, signature: EndpointSignature, on_none: OnNone | None = None
    ) -> Selector | None:
        """A selector; None for None."""
        return None if source is None else cls(source, option, signature, on_none)

    async def find(self, arguments: Mapping[str, object], request: Request) -> object:
        """The value for one request; None if a step of the path is None or missing."""
        values = [request if name == "request" and name not in arguments else arguments[name] for name in self._names]
        if self._function is None:
            walked = _walk(values[0], self._path)
            if walked is None and self._on_none is not None:
                self._on_none(str(self._source), self._names[0])
            return walked
        found = self._function(**dict(zip(self._names, values, strict=True)))
        return await found if inspect.isawaitable(found) else found


def _walk(value: object, path: list[str]) -> object:
    for part in path:
        if isinstance(value, dict):
            value = value.get(part)
        else:
            found = getattr(value, part, None)
            # Starlette's requests and query parameters are mappings too: their attributes come first.
            value = value.get(part) if found is None and isinstance(value, Mapping) else found
    return value
