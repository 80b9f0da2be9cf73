"""Checks that a host's `authenticate` can be called as the guard calls it: with the connection alone.

A function for FastAPI's dependency injection looks the same, but fails in a request, or lets everybody in. FastAPI's
classes are recognised by their module, since FastAPI may not be installed.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from contextlib import suppress

from pydantic import BaseModel

from ..misuse import Misuse

__all__ = ["check_authenticate"]

_VALUES = (str, int, float, bool, bytes, dict, list, BaseModel)
"""Types of parameters that FastAPI fills from the request; no connection is one of them."""
_PASSED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def check_authenticate(authenticate: object) -> None:
    """Raises `ConfigurationError` unless it can be called with a connection and may return an owner."""
    if _is_of_fastapi(authenticate) and hasattr(authenticate, "dependency"):
        function = _name(authenticate.dependency)
        raise Misuse.AUTHENTICATE_DEPENDS.error(given=f"{type(authenticate).__name__}({function})", function=function)
    if not callable(authenticate):
        raise Misuse.NO_AUTHENTICATE.error()
    if any(base.__name__ == "SecurityBase" and base.__module__.startswith("fastapi.") for base in _bases(authenticate)):
        raise Misuse.AUTHENTICATE_SECURITY.error(given=type(authenticate).__name__)
    if isinstance(authenticate, type) and not issubclass(authenticate, str):
        raise Misuse.AUTHENTICATE_RESULT.error(
            given=authenticate.__name__, remedy="pass a function that gives the user's id"
        )
    called: list[object] = [authenticate, type(authenticate).__call__]
    for code in called:
        if inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code):
            raise Misuse.AUTHENTICATE_RESULT.error(
                given="a generator", remedy="return the user's id, after a `with` block around what has to be closed"
            )
    _check_parameters(authenticate)


def _check_parameters(authenticate: Callable[..., object]) -> None:
    try:
        signature = inspect.signature(authenticate)
    except (TypeError, ValueError):  # a class written in C
        return
    parameters = list(signature.parameters.values())
    hints: dict[str, object] = {}
    with suppress(Exception):  # an annotation whose name is imported for type checkers only
        routine = authenticate if inspect.isroutine(authenticate) else type(authenticate).__call__
        hints = typing.get_type_hints(routine, include_extras=True)
    variable = any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters)
    given = next((parameter for parameter in parameters if parameter.kind in _PASSED), None)
    foreign = [
        parameter.name
        for parameter in parameters
        if _is_injected(parameter, hints.get(parameter.name, parameter.annotation), given=parameter is given)
    ]
    if foreign or (given is None and not variable):
        raise Misuse.AUTHENTICATE_PARAMETERS.error(
            function=_name(authenticate),
            parameters=f"its parameters: {', '.join(signature.parameters)}" if foreign else "it takes none",
        )


def _is_injected(parameter: inspect.Parameter, annotation: object, *, given: bool) -> bool:
    """Whether only a framework would fill this parameter. `given`: the guard fills it with the connection."""
    if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        return False
    if _is_of_fastapi(parameter.default) or any(map(_is_of_fastapi, typing.get_args(annotation)[1:])):
        return True
    if given:
        bare = typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation
        return isinstance(bare, type) and issubclass(bare, _VALUES)
    return parameter.default is inspect.Parameter.empty


def _is_of_fastapi(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "fastapi"


def _bases(value: object) -> tuple[type, ...]:
    return (value if isinstance(value, type) else type(value)).__mro__


def _name(function: object) -> str:
    return getattr(function, "__name__", type(function).__name__)
