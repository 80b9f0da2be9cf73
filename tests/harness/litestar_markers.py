"""Litestar's markers of what a parameter of a handler is, which its newest versions ask for.

Earlier versions lack some or all of them: there these are what comes nearest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeVar

from litestar.enums import RequestEncodingType
from litestar.params import Body, Dependency, Parameter, ParameterKwarg

__all__ = ["FromPath", "FromQuery", "JSONBody", "MultipartBody", "NamedDependency", "header"]

T = TypeVar("T")

try:
    from litestar.params import FromPath, FromQuery, HeaderParameter
except ImportError:  # before 2.22
    if not TYPE_CHECKING:
        FromPath = FromQuery = Annotated[T, None]

        def HeaderParameter(*, name: str) -> ParameterKwarg:  # noqa: N802
            return Parameter(header=name)


try:
    from litestar.di import NamedDependency
    from litestar.params import JSONBody, MultipartBody
except ImportError:  # before 2.23
    if not TYPE_CHECKING:
        JSONBody = Annotated[T, Body()]
        NamedDependency = Annotated[T, Dependency()]
        MultipartBody = Annotated[T, Body(media_type=RequestEncodingType.MULTI_PART)]


def header(name: str) -> object:
    """The marker of a parameter that is a header's value."""
    return HeaderParameter(name=name)
