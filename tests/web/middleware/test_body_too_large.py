"""Which failures of an application come from a body that was refused."""

from __future__ import annotations

import pytest

from streamguard.web.middleware.body_too_large import BodyTooLargeError, caused_by_large_body


def caused() -> Exception:
    error = LookupError()
    error.__cause__ = BodyTooLargeError()
    return error


def met_while_handling() -> Exception:
    error = LookupError()
    error.__context__ = caused()
    return error


def in_a_group() -> BaseException:
    return ExceptionGroup("of a task group", [LookupError(), ExceptionGroup("inside", [met_while_handling()])])


def around_itself(error: BaseException) -> BaseException:
    other = LookupError()
    error.__cause__, other.__context__ = other, error
    return error


@pytest.mark.parametrize("make", [BodyTooLargeError, caused, met_while_handling, in_a_group])
def test_however_it_is_wrapped(make: type[BaseException]) -> None:
    assert caused_by_large_body(make())


@pytest.mark.parametrize(
    "error",
    [LookupError(), ExceptionGroup("", [ValueError()]), around_itself(ValueError())],
    ids=["one", "group", "cycle"],
)
def test_other_failures_are_the_applications_own(error: BaseException) -> None:
    assert not caused_by_large_body(error)
