"""Reads an endpoint's signature, and makes the signature that its framework sees.

Measured on FastAPI 0.115 to 0.165: it follows `__wrapped__` and would take the endpoint for its own generator, and it
resolves annotations in the globals of the function that it gets, which are ours. So the signature is resolved here, and
nothing points back to the endpoint. What each framework wants to see besides is in its `Framework`.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from starlette.requests import Request

from ...errors import ConfigurationError
from .framework import STARLETTE, Framework
from .module_name import module_name
from .run import Run

__all__ = ["EndpointKind", "EndpointSignature"]

_Parameter = inspect.Parameter


class EndpointKind(Enum):
    """How an endpoint is called."""

    ASYNC_GENERATOR = "async generator"
    SYNC_GENERATOR = "sync generator"
    COROUTINE = "coroutine function"
    FUNCTION = "function"


@dataclass(frozen=True, slots=True)
class EndpointSignature:
    """An endpoint's signature, resolved when it is decorated."""

    kind: EndpointKind
    name: str
    """`module:qualified name`, for messages and as its binding; see `module_name`."""
    own: inspect.Signature
    """The endpoint's own parameters, annotations resolved."""
    for_framework: inspect.Signature
    """For the framework: without `run`, with a request, returning a `Response`."""
    run: str | None
    """The parameter that takes the `Run`."""
    request: str | None
    """The endpoint's own request parameter."""
    response: str | None
    """The endpoint's own parameter for FastAPI's injected `Response`."""
    returns: object
    """The resolved return annotation; `inspect.Signature.empty` without one."""
    framework: Framework
    """The framework that calls the endpoint."""
    given: inspect.Signature
    """Its parameters without `run`: what frameworks give it."""
    names: frozenset[str] | None
    """The names of those; None where not all of them can be given by name."""
    in_order: tuple[str, ...] | None
    """The names of those in their order; None where not all of them can be given by position."""
    positional: tuple[str, ...] | None
    """Its own parameters that take their value by position, all others by name; None where it takes any number."""
    by_name: tuple[str, ...]
    """Those others."""

    @classmethod
    def read(
        cls, endpoint: Callable[..., object], local_names: Mapping[str, object], framework: Framework = STARLETTE
    ) -> EndpointSignature:
        """Inspect `endpoint`; `local_names` are those of the function in which it is decorated.

        Raises:
            ConfigurationError: not a callable, or something in its signature cannot work.
        """
        framework.check(endpoint)
        function = _function_of(endpoint)
        name = _name_of(endpoint, function)
        try:
            signature = inspect.signature(endpoint)
        except (TypeError, ValueError) as exc:
            raise ConfigurationError(f"the signature of {name} cannot be read") from exc
        names = {**_enclosed(function), **local_names}
        parameters: list[_Parameter] = []
        run: str | None = None
        request: str | None = None
        response: str | None = None
        for parameter in signature.parameters.values():
            annotation = _resolved(
                parameter.annotation,
                function.__globals__,
                names,
                f"{name}, parameter {parameter.name}",
                or_left=framework.resolves_names,
            )
            parameter = parameter.replace(annotation=annotation)
            parameters.append(parameter)
            bare = _bare(annotation)
            if bare is Run:
                if run is not None or parameter.kind is _Parameter.POSITIONAL_ONLY:
                    raise ConfigurationError(f"{name} takes one Run, as a parameter that can be given by name")
                run = parameter.name
            elif framework.is_request(parameter.name, bare):
                request = parameter.name
            elif framework.is_response(bare):
                response = parameter.name
        kinds = {parameter.kind for parameter in parameters}
        variable = kinds & {_Parameter.VAR_POSITIONAL, _Parameter.VAR_KEYWORD}
        given = [parameter for parameter in parameters if parameter.name != run]
        by_position = (_Parameter.POSITIONAL_ONLY, _Parameter.POSITIONAL_OR_KEYWORD)
        returns = _resolved(signature.return_annotation, function.__globals__, names, f"{name}, return annotation")
        return cls(
            kind=_kind_of(function),
            name=name,
            own=inspect.Signature(parameters),
            for_framework=framework.signature(given, request=request, response=response),
            run=run,
            request=request,
            response=response,
            returns=returns,
            framework=framework,
            given=inspect.Signature(given),
            names=None
            if variable or _Parameter.POSITIONAL_ONLY in kinds
            else frozenset(parameter.name for parameter in given),
            in_order=None
            if variable or _Parameter.KEYWORD_ONLY in kinds
            else tuple(parameter.name for parameter in given),
            positional=None
            if variable
            else tuple(parameter.name for parameter in parameters if parameter.kind in by_position),
            by_name=tuple(parameter.name for parameter in parameters if parameter.kind not in by_position),
        )

    def apply_to(self, wrapper: Callable[..., object], endpoint: Callable[..., object]) -> None:
        """Make `wrapper` look like the endpoint to a framework, with the signature for frameworks."""
        for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
            value = getattr(endpoint, attribute, None)
            if value is not None:
                setattr(wrapper, attribute, value)
        if not hasattr(endpoint, "__name__"):
            wrapper.__name__ = type(endpoint).__name__
        annotations = {
            parameter.name: parameter.annotation
            for parameter in self.for_framework.parameters.values()
            if parameter.annotation is not _Parameter.empty
        }
        wrapper.__annotations__ = {**annotations, "return": self.for_framework.return_annotation}
        wrapper.__signature__ = self.for_framework  # type: ignore[attr-defined]


def _function_of(endpoint: Callable[..., object]) -> types.FunctionType:
    """The function whose code runs: inside partials, bound methods and `__call__`."""
    found: object = endpoint
    while isinstance(found, functools.partial):
        found = found.func
    if isinstance(found, types.MethodType):
        found = found.__func__
    if not isinstance(found, types.FunctionType) and callable(found):
        found = vars(type(found)).get("__call__")
    if not isinstance(found, types.FunctionType) or isinstance(endpoint, type):
        raise ConfigurationError(f"@guard.stream decorates an endpoint function, not {type(endpoint).__name__}")
    return found


def _name_of(endpoint: Callable[..., object], function: types.FunctionType) -> str:
    qualified = getattr(endpoint, "__qualname__", function.__qualname__)
    return f"{module_name(function.__module__)}:{qualified}"


def _enclosed(function: types.FunctionType) -> dict[str, object]:
    """The variables of enclosing functions that it refers to, if they have a value yet."""
    names: dict[str, object] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # an empty cell
            names[name] = cell.cell_contents
    return names


def _kind_of(function: types.FunctionType) -> EndpointKind:
    if inspect.isasyncgenfunction(function):
        return EndpointKind.ASYNC_GENERATOR
    if inspect.isgeneratorfunction(function):
        return EndpointKind.SYNC_GENERATOR
    if inspect.iscoroutinefunction(function):
        return EndpointKind.COROUTINE
    return EndpointKind.FUNCTION


def _resolved(
    annotation: object,
    global_names: dict[str, object],
    names: Mapping[str, object],
    where: str,
    *,
    or_left: bool = False,
) -> object:
    """The annotation itself: under `from __future__ import annotations` it is a string until now. `or_left`: it stays
    one if it cannot be resolved."""
    if not isinstance(annotation, str):
        return annotation
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, globalns=global_names, localns=dict(names), include_extras=True)["it"]
    except NameError as exc:
        # Both are often imported under TYPE_CHECKING only, and a framework needs only their name.
        known = {"Run": Run, "Request": Request}.get(annotation.rpartition(".")[2])
        if known is not None:
            return known
        if where.endswith("return annotation"):
            return inspect.Signature.empty
        if or_left:
            return annotation
        raise ConfigurationError(
            f"{where}: the annotation {annotation!r} cannot be resolved ({exc}); "
            "import it at module level, not only for type checking"
        ) from exc


def _bare(annotation: object) -> object:
    """Without `Annotated[…]` and `… | None`."""
    while True:
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif origin in (typing.Union, types.UnionType):
            rest = [arg for arg in typing.get_args(annotation) if arg is not type(None)]
            if len(rest) != 1:
                return annotation
            annotation = rest[0]
        else:
            return annotation
