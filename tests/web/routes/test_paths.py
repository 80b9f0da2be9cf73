from __future__ import annotations

import pytest

from streamguard import FaultError
from streamguard.web.routes.paths import RouteName, RouteTarget, decode_segment, may_be_own, target_of

READ = ("GET", "HEAD")
ROUTES = {
    "RESUME": ("/{session}/stream", READ),
    "STOP": ("/{session}/stop", ("POST",)),
    "SESSION": ("/{session}", ("GET", "HEAD", "DELETE")),
    "RAW": ("/{session}/streams/{stream}/raw", READ),
    "MESSAGES": ("/{session}/messages", READ),
    "LIVE": ("/health/live", READ),
    "READY": ("/health/ready", READ),
    "STREAMING": ("/health/streaming", READ),
}
PREFIX = "/api/chat"


def scope(path: str, *, raw: str | None = None, root: str = "") -> dict[str, object]:
    found: dict[str, object] = {"type": "http", "path": path, "root_path": root}
    if raw is not None:
        found["raw_path"] = raw.encode()
    return found


@pytest.mark.parametrize(
    ("raw", "target"),
    [
        ("/api/chat/a/stream", RouteTarget(RouteName.RESUME, "a")),
        ("/api/chat/a%2Fb/stream", RouteTarget(RouteName.RESUME, "a%2Fb")),
        ("/api/chat/a/stop", RouteTarget(RouteName.STOP, "a")),
        ("/api/chat/a", RouteTarget(RouteName.SESSION, "a")),
        ("/api/chat/stream", RouteTarget(RouteName.SESSION, "stream")),
        ("/api/chat/health", RouteTarget(RouteName.SESSION, "health")),
        ("/api/chat/health/live", RouteTarget(RouteName.LIVE)),
        ("/api/chat/health/ready", RouteTarget(RouteName.READY)),
        ("/api/chat/health/streaming", RouteTarget(RouteName.STREAMING)),
        ("/api/chat/health/stream", RouteTarget(RouteName.RESUME, "health")),
        ("/api/chat/a/streams/b/raw", RouteTarget(RouteName.RAW, "a", "b")),
        ("/api/chat/a?x=/stop", RouteTarget(RouteName.SESSION, "a")),
        ("/api/chat", None),
        ("/api/chat/", None),
        ("/api/chat//stream", None),
        ("/api/chat/a/", None),
        ("/api/chat/a/streams//raw", None),
        ("/api/chat/a/other", None),
        ("/api/chats/a", None),
        ("/api", None),
    ],
)
def test_what_a_path_means(raw: str, target: RouteTarget | None) -> None:
    assert target_of(scope(raw.replace("%2F", "/"), raw=raw), PREFIX) == target


@pytest.mark.parametrize("route", RouteName)
@pytest.mark.parametrize(("prefix", "root"), [("", ""), (PREFIX, ""), (PREFIX, "/mounted")])
def test_no_request_for_a_route_is_taken_for_one_of_the_host_s(route: RouteName, prefix: str, root: str) -> None:
    raw = prefix + route.path.format(session="a%2Fb", stream="c")
    found = scope(root + raw.replace("%2F", "/"), raw=root + raw, root=root)
    target = target_of(found, prefix)
    assert target is not None
    assert target.route is route
    for method in route.methods:
        assert may_be_own({**found, "method": method})


def test_a_request_for_a_chat_is_none_for_a_route() -> None:
    assert not may_be_own({**scope("/v1/chat/completions"), "method": "POST"})
    assert not may_be_own({**scope("/v1/chats/a"), "method": "PUT"})
    assert may_be_own({**scope("/v1/chats/a"), "method": "GET"})


def test_the_mount_point_is_taken_off() -> None:
    inside = scope("/my app/sub/a/b/stream", raw="/my%20app/sub/a%2Fb/stream", root="/my app/sub")
    assert target_of(inside, "") == RouteTarget(RouteName.RESUME, "a%2Fb")
    # hypercorn, and proxies that strip the prefix, leave it out of the path
    stripped = scope("/a/stream", raw="/a/stream", root="/sub")
    assert target_of(stripped, "") == RouteTarget(RouteName.RESUME, "a")


def test_without_a_raw_path_the_decoded_one_is_used() -> None:
    assert target_of(scope("/api/chat/a b/stream"), PREFIX) == RouteTarget(RouteName.RESUME, "a%20b")


def test_every_route_has_its_path_and_methods() -> None:
    assert {route.name: (route.path, route.methods) for route in RouteName} == ROUTES, (
        "clients rely on each: write a new one into ROUTES, and what its path means above"
    )


def test_decoding() -> None:
    assert decode_segment("a%2Fb%C3%A9+%25") == "a/bé+%"
    with pytest.raises(FaultError):
        decode_segment("%FF")
