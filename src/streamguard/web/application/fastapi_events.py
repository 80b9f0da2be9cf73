"""Endpoints in FastAPI's own style for server-sent events: `response_class=EventSourceResponse` above the guard.

FastAPI (0.135 on) sends what such an endpoint yields itself: a route's handler, which is built once, with the route,
iterates what the endpoint returns. A guarded endpoint returns a coroutine, so that handler fails with every request.
Therefore a route that has such an endpoint gets a handler that FastAPI builds with another class, and the endpoint's
items are written here, byte for byte as FastAPI writes them.

Measured on FastAPI 0.135.0 and 0.165.0:

- `APIRoute.get_route_handler` builds a handler from the route's own attributes, `response_class` among them; extending
  it is documented. `request_response` makes an application of it, as `APIRoute.__init__` does.
- Up to some version `include_router` copies routes. In 0.165 it makes a context for each route, whose handler is built
  while `_effective_route_context_var` holds the context. It makes contexts anew when its router gets another route, and
  takes the class of the original route, which gets ours too.
- An event is `data: <JSON>`. Where the return annotation names the items' type, pydantic checks each item and writes it
  without spaces; without one `jsonable_encoder` and `json.dumps` write it, with spaces. A `ServerSentEvent` is never
  checked. Numbers that JSON does not have are null in 0.165, and `NaN` before, which no client can read.
"""

from __future__ import annotations

import json
import math
import typing
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from typing import Any, Final

from starlette.responses import StreamingResponse
from starlette.routing import BaseRoute

from ...values import Usage
from .guarded_endpoint import guards_of
from .route_tree import leaf_routes

__all__ = ["EventWriter", "GuardedEventResponse", "fastapis_event_class", "take_over"]

_MODULE: Final = "fastapi.sse"
_ITERATED: Final = (AsyncIterable, AsyncIterator, AsyncGenerator, Iterable, Iterator, Generator)
"""FastAPI takes the type of the items from these annotations only."""
_OPTIONS: Final = ("include", "exclude", "by_alias", "exclude_unset", "exclude_defaults", "exclude_none")
"""How pydantic writes an item; a route has each as `response_model_…`."""


class GuardedEventResponse(StreamingResponse):
    """What such a route has instead of FastAPI's class: nothing is sent with it, and OpenAPI shows its media type."""

    media_type = "text/event-stream"


def fastapis_event_class(route: object) -> type | None:
    """FastAPI's class for server-sent events, or one derived from it, if a route has it."""
    given = getattr(route, "response_class", None)
    found = getattr(given, "value", given)  # the default one is wrapped
    if isinstance(found, type) and any(cls.__module__ == _MODULE for cls in found.__mro__):
        return found
    return None


def take_over(routes: Iterable[BaseRoute]) -> None:
    """Have the guards answer at every route with FastAPI's class and a guarded endpoint. A route whose handler cannot
    be built anew keeps its class: it will not work."""
    for leaf in leaf_routes(routes):
        guards = list(guards_of(leaf.endpoint))
        if guards and fastapis_event_class(leaf.route) is not None and _rebuild(leaf.route):
            for guard in guards:
                guard.send_events(lambda returns, route=leaf.route: EventWriter(returns, route))  # type: ignore[misc] # the route of this turn


def _rebuild(route: BaseRoute) -> bool:
    """Whether a route, or the context of an included one, has a new handler."""
    from fastapi import routing  # noqa: PLC0415 -- only where it is used anyway

    original = getattr(route, "original_route", route)
    included = original is not route
    current = getattr(routing, "_effective_route_context_var", None)
    if not isinstance(original, routing.APIRoute) or (included and current is None):
        return False
    original.response_class = GuardedEventResponse
    original.app = _handler(original, original)
    if included and current is not None:
        route.response_class = GuardedEventResponse  # type: ignore[attr-defined] # a context has it
        token = current.set(route)
        try:
            route.app = _handler(original, route)  # type: ignore[attr-defined] # likewise
        finally:
            current.reset(token)
    return True


def _handler(route: Any, state: object) -> Any:
    from fastapi import routing  # noqa: PLC0415 -- see above

    app = routing.request_response(route.get_route_handler())
    limited: Callable[..., Any] | None = getattr(routing, "wrap_app_with_body_limit", None)
    return app if limited is None else limited(app, getattr(state, "max_body_size", None))


class EventWriter:
    """Writes the items of one endpoint as FastAPI sends them.

    Args:
        returns: the endpoint's return annotation.
        route: its route, which says how pydantic writes items.
    """

    def __init__(self, returns: object, route: object) -> None:
        from fastapi import sse  # noqa: PLC0415 -- which earlier versions lack
        from fastapi.encoders import jsonable_encoder  # noqa: PLC0415 -- see above

        self._event_class = sse.ServerSentEvent
        self._format = sse.format_sse_event
        self._jsonable = jsonable_encoder
        self._type = None
        item_type = _item_type(returns)
        is_event = isinstance(item_type, type) and issubclass(item_type, sse.ServerSentEvent)
        if item_type is not None and not is_event and getattr(route, "response_model", None) is None:
            from pydantic import TypeAdapter  # noqa: PLC0415 -- FastAPI has it

            self._type = TypeAdapter[Any](item_type)
        given = {name: getattr(route, f"response_model_{name}", None) for name in _OPTIONS}
        self._options: Mapping[str, Any] = {name: value for name, value in given.items() if value is not None}

    def __call__(self, item: object) -> object:
        """The bytes of an item; `Usage`, which is never sent, as it is.

        Raises:
            pydantic.ValidationError: the item is not of the type that the endpoint's annotation names.
            ValueError, TypeError: it has no JSON.
        """
        if isinstance(item, Usage):
            return item
        if isinstance(item, self._event_class):
            return self._format(
                data_str=self._data_of(item), event=item.event, id=item.id, retry=item.retry, comment=item.comment
            )
        if self._type is None:
            return self._format(data_str=self._json(item))
        checked = self._type.validate_python(item, from_attributes=True)
        return self._format(data_str=self._type.dump_json(checked, **self._options).decode())

    def _data_of(self, event: Any) -> str | None:
        if event.raw_data is not None:
            return str(event.raw_data)
        if event.data is None:
            return None
        if hasattr(event.data, "model_dump_json"):
            return str(event.data.model_dump_json(warnings=False))  # a warning shows the value
        return self._json(event.data)

    def _json(self, value: object) -> str:
        plain = self._jsonable(value)
        try:
            return json.dumps(plain, allow_nan=False)
        except ValueError:
            return json.dumps(_finite(plain), allow_nan=False)


def _item_type(returns: object) -> Any:
    """The type of the items; None where FastAPI looks at none."""
    if typing.get_origin(returns) not in _ITERATED:
        return None
    arguments = typing.get_args(returns)
    return arguments[0] if arguments else Any


def _finite(value: object) -> object:
    """With null for the numbers that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list) else value
