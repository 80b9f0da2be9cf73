"""Finds a value of a request for a rule: by `"body.id"`, `"path.id"`, `"query.id"`, `"header.x-id"`, or a function."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final

from starlette.requests import Request

from ...errors import ConfigurationError, FaultError
from ...faults import Fault, FaultCode
from .matched_request import matched_request

__all__ = ["RuleEstimate", "RuleSource", "RuleSourceLike"]

RuleSourceLike = str | Callable[[Request], object | Awaitable[object]]
"""`"body.field"` of a JSON body, `"path.name"` of a parameter of the rule's path, `"query.name"`, `"header.name"`, or a
function of the request, sync or async, which may read the body."""

_PLACES: Final = ("body", "path", "query", "header")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_NUMBER: Final = re.compile(r"[0-9]{1,16}")
_MOST: Final = 2**53 - 1
_INDEX: Final = re.compile(r"-?[0-9]{1,6}")


class RuleSource:
    """A value of every request that a rule matches; checked against the rule's path when constructed.

    Args:
        source: where the value is.
        option: the rule's option that names it, for messages.
        parameters: the parameters of the rule's path.

    Raises:
        ConfigurationError: there can be no such value.
    """

    __slots__ = ("_function", "_names", "_place")

    def __init__(self, source: object, option: str, parameters: Collection[str]) -> None:
        self._function: Callable[[Request], object] | None = None
        self._place = ""
        self._names: list[str] = []
        if callable(source):
            _check_function(source, option)
            self._function = source
            return
        if not isinstance(source, str):
            raise _invalid(option, source, "give a text such as 'body.id', or a function of the request")
        self._place, _, rest = source.partition(".")
        self._names = rest.split(".") if self._place == "body" else [rest]
        if self._place not in _PLACES or not all(self._names):
            known = ", ".join(f"'{place}.…'" for place in _PLACES)
            raise _invalid(option, source, f"a value of the request is one of {known}, or a function of the request")
        if self._place == "path" and rest not in parameters:
            there = ", ".join(sorted(parameters)) or "none"
            raise _invalid(option, source, f"the parameters of the rule's path are: {there}")
        if self._place == "header" and not _HEADER.fullmatch(rest):
            raise _invalid(option, source, "no header can have this name")

    @classmethod
    def optional(cls, source: object, option: str, parameters: Collection[str]) -> RuleSource | None:
        """The source; None for None."""
        return None if source is None else cls(source, option, parameters)

    async def find(self, arguments: Mapping[str, object], request: Request) -> object:
        """The value for one request; None if it has none. `arguments` is empty.

        Raises:
            BodyTooLargeError: the body must be read for it, and is too large.
            Exception: what the host's function raises.
        """
        if self._function is not None:
            found = self._function(request)
            return await found if inspect.isawaitable(found) else found
        matched, name = matched_request(request), self._names[0]
        match self._place:
            case "path":
                return matched.parameters[name]
            case "query":
                return request.query_params.get(name)
            case "header":
                return request.headers.get(name)
            case _:
                return _walk(await matched.body.json(), self._names)


class RuleEstimate(RuleSource):
    """An estimate that each request has of its own. Nobody else has checked what the client gave, so that is done
    here; what a host's function gives is the host's."""

    __slots__ = ()

    async def find(self, arguments: Mapping[str, object], request: Request) -> object:
        """The estimate of one request.

        Raises:
            FaultError: `request_invalid`: the request has none, or it is no whole number from 0 to 2**53-1.
            BodyTooLargeError: the body must be read for it, and is too large.
            Exception: what the host's function raises.
        """
        found = await super().find(arguments, request)
        if self._function is not None:
            return found
        if isinstance(found, str) and _NUMBER.fullmatch(found):
            found = int(found)
        if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= _MOST:
            raise FaultError(Fault.of(FaultCode.REQUEST_INVALID, reason="estimate"))
        return found


def _walk(value: object, names: list[str]) -> object:
    for name in names:
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and _INDEX.fullmatch(name) and -len(value) <= int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def _check_function(function: Callable[..., object], option: str) -> None:
    if isinstance(function, type) or inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise _invalid(option, function, "give a function that returns the value")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # written in C
        return
    try:
        signature.bind(None)
    except TypeError:
        raise _invalid(option, function, "the function is called with the request alone") from None


def _invalid(option: str, source: object, remedy: str) -> ConfigurationError:
    shown = getattr(source, "__qualname__", None) or repr(source)
    return ConfigurationError(f"{option}={shown} of a StreamRule can find nothing: {remedy}")
