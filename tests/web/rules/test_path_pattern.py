"""Which paths a rule's pattern matches."""

from __future__ import annotations

import pytest

from streamguard import ConfigurationError
from streamguard.web.rules.path_pattern import PathPattern, path_below_mount


@pytest.mark.parametrize(
    ("pattern", "path", "parameters"),
    [
        ("/v1/chat/completions", "/v1/chat/completions", {}),
        ("/v1/chat/completions", "/v1/chat/completions/", None),
        ("/v1/chat/completions", "/V1/chat/completions", None),
        ("/v1/*", "/v1/responses", {}),
        ("/v1/*", "/v1/threads/t/runs", {}),
        ("/v1/*", "/v1/", {}),
        ("/v1/*", "/v1", None),
        ("/v1/*", "/v1x/a", None),
        ("/*", "/", {}),
        ("/*", "/anything/at all\n", {}),
        ("/*/chat", "/a/chat", {}),
        ("/*/chat", "/a/b/chat", None),
        ("/threads/{thread}/runs", "/threads/t 1/runs", {"thread": "t 1"}),
        ("/threads/{thread}/runs", "/threads//runs", None),
        ("/threads/{thread}/runs", "/threads/a/b/runs", None),
        ("/{a}/{b}/*", "/1/2/3/4", {"a": "1", "b": "2"}),
        ("/a.b(c)", "/a.b(c)", {}),
        ("/a.b(c)", "/axb(c)", None),
        ("/", "/", {}),
    ],
)
def test_a_pattern_matches(pattern: str, path: str, parameters: dict[str, str] | None) -> None:
    assert PathPattern(pattern).match(path) == parameters


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "v1/chat",
        "/v1/{thread:path}",
        "/v1/{}",
        "/v1/a*",
        "/v1/{a}b",
        "/v1/{a}/{a}",
        "/v1/**",
        "/v1?x=1",
        "/v1#a",
        7,
    ],
)
def test_another_pattern_is_refused(pattern: object) -> None:
    with pytest.raises(ConfigurationError, match="can match no request"):
        PathPattern(pattern)


@pytest.mark.parametrize(
    ("path", "root", "below"),
    [
        ("/api/v1", "/api", "/v1"),
        ("/api", "/api", "/"),
        ("/apiv1", "/api", "/apiv1"),
        ("/v1", "/api", "/v1"),  # servers differ in whether the path begins with their own root path
        ("/v1", "", "/v1"),
    ],
)
def test_the_mount_is_left_out(path: str, root: str, below: str) -> None:
    assert path_below_mount({"type": "http", "path": path, "root_path": root}) == below
