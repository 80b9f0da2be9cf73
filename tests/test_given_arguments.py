"""Arguments of another type or range: refused when given, by an error that names the argument and what it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
from fastapi import FastAPI
from pydantic import RedisDsn, TypeAdapter

from streamguard import Anonymous, ConfigurationError, StreamGuard, StreamGuardMiddleware
from streamguard.durations import MAX_SECONDS, is_duration
from streamguard.messages import MemoryMessageStore, RedisMessageStore
from streamguard.messages.sql import SQLMessageStore
from streamguard.quota import RedisQuotaStore
from streamguard.stores import RedisClient
from tests.web.serving import make_guard

URL: Final = "redis://localhost:6379/0"
SECRET_URL: Final = "redis://:hush-hush@localhost:6379/0"
SQLITE: Final = "sqlite+aiosqlite:///:memory:"


def client() -> RedisClient:
    """Connects to nothing until it is used."""
    return RedisClient(URL)


@pytest.mark.parametrize("value", [0, -1, True, "5", None, float("nan"), float("inf"), MAX_SECONDS + 1, 10**30])
def test_what_is_no_time(value: object) -> None:
    assert not is_duration(value)


@pytest.mark.parametrize("value", [0.001, 1, MAX_SECONDS])
def test_what_is_one(value: object) -> None:
    assert is_duration(value)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda given: RedisMessageStore(given(URL), ttl_seconds=60),
            "RedisMessageStore takes a client first, not a str",
        ),
        (lambda given: RedisQuotaStore(given(URL)), "RedisQuotaStore takes a client first, not a str"),
        (lambda given: RedisMessageStore(client(), ttl_seconds=given("60")), "ttl_seconds is a positive number"),
        (lambda given: RedisMessageStore(client(), ttl_seconds=60, namespace=given(None)), "namespace of RedisMessage"),
        (lambda given: RedisMessageStore(client(), ttl_seconds=60, namespace=given("a{b}")), "namespace of RedisMess"),
        (lambda given: RedisQuotaStore(client(), namespace=given("")), "namespace of RedisQuotaStore"),
        (lambda given: RedisQuotaStore(client(), hold_seconds=given("60")), "hold_seconds is a positive number"),
        (lambda given: RedisClient(given(5)), "a Redis is named by its URL"),
        (lambda given: RedisClient(URL, command_seconds=given("1")), "command_seconds is a positive number"),
        (lambda given: SQLMessageStore(SQLITE, ttl_seconds=given("60")), "ttl_seconds is a positive number"),
        (lambda given: SQLMessageStore(SQLITE, timeout_seconds=given("5")), "timeout_seconds is a positive number"),
        (lambda given: MemoryMessageStore(ttl_seconds=given("60")), "ttl_seconds is a positive number"),
        (lambda given: MemoryMessageStore(max_bytes=given("1000")), "max_bytes is a positive number of bytes"),
        (lambda given: MemoryMessageStore(max_bytes=given(0)), "max_bytes is a positive number of bytes"),
        (lambda given: Anonymous("s" * 40, max_age_seconds=given("60")), "max_age_seconds is a positive number"),
        (lambda given: make_guard().install(FastAPI(), given(5)), "install needs a plain path"),
        (lambda given: StreamGuardMiddleware(FastAPI(), guard=make_guard(), rules=given(5)), "rules of StreamGuard"),
    ],
)
def test_another_type_is_refused_when_given(make: Callable[[Callable[[Any], Any]], object], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        make(lambda value: value)


@pytest.mark.parametrize("url", [b"redis://:hush-hush@localhost", TypeAdapter(RedisDsn).validate_python(SECRET_URL)])
def test_a_url_of_another_type_is_not_repeated(url: Any) -> None:
    """Pydantic's settings give one, and its `repr` has the password."""
    with pytest.raises(ConfigurationError, match="a Redis is named by its URL, which is a str") as refused:
        RedisClient(url)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("debug", ["0", "false", 0, 1])
def test_debug_is_no_text(debug: Any) -> None:
    """`os.environ["DEBUG"]` is true even if it says "0", and clients would read the texts of exceptions."""
    with pytest.raises(ConfigurationError, match="debug is True, False or None"):
        StreamGuard(authenticate=lambda connection: "ann", debug=debug)


@pytest.mark.parametrize("prefix", ["/a b", "/\u00e9", "/a//b", "/a/../b", "/./a", "/a/..", "/a\\b", "/a\n"])
def test_a_prefix_that_no_request_begins_with(prefix: str) -> None:
    """A client percent-encodes it, or resolves it, so the guard's routes would be found by nobody."""
    with pytest.raises(ConfigurationError, match="install needs a plain path"):
        make_guard().install(FastAPI(), prefix)


@pytest.mark.parametrize("prefix", ["/api/chat", "/v1.0/chat", "/a/..b", "/~ann/chat-2_x", "/a:b"])
def test_a_prefix_as_it_is_in_a_path(prefix: str) -> None:
    make_guard().install(FastAPI(), prefix)
