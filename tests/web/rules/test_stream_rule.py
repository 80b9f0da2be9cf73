"""What a rule takes, and what it refuses when it is made."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from streamguard import ConfigurationError, StreamGuardMiddleware, StreamRule
from streamguard.quota import Quota

from ..serving import make_guard

PATH = "/threads/{thread}/runs"


async def session_of(request: Request) -> str:
    return request.headers["x-session"]


@pytest.mark.parametrize(
    "options",
    [
        {"session": "body.id"},
        {"session": "body.messages.-1.id"},
        {"session": "path.thread"},
        {"session": "query.session"},
        {"session": "header.X-Session-Id"},
        {"session": session_of, "message_id": lambda r: None, "when": lambda request: True, "estimate": None},
        {"when": "body.stream"},
        {"methods": ["get", "POST"], "media_types": ["Text/Event-Stream"]},
        {"protocol": "openai"},
        {"protocol": "ui-message-raw", "ids": True},
        {"abandon_after_seconds": False, "keep_alive": "block"},
    ],
)
def test_a_rule_takes(options: dict[str, Any]) -> None:
    StreamGuardMiddleware(Starlette(), guard=make_guard(), rules=[StreamRule(PATH, **options)])


def no_parameter() -> str:
    return ""


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"session": "id"}, "session='id' of a StreamRule can find nothing"),
        ({"session": "body."}, "a value of the request is one of 'body.…'"),
        ({"session": "cookie.id"}, "a value of the request is one of"),
        ({"session": "path.id"}, "the parameters of the rule's path are: thread"),
        ({"session": "header.x y"}, "no header can have this name"),
        ({"session": 7}, "give a text such as 'body.id', or a function of the request"),
        ({"session": no_parameter}, "session=no_parameter of a StreamRule .* is called with the request alone"),
        ({"when": lambda request, body: True}, "is called with the request alone"),
        ({"when": "stream"}, "when='stream' of a StreamRule"),
        ({"estimate": "tokens"}, "estimate='tokens'"),
        ({"methods": "POST"}, r"write methods=\['POST'\]"),
        ({"methods": []}, "are names such as 'POST'"),
        ({"methods": ["HEAD"]}, "such requests always pass by"),
        ({"media_types": "text/event-stream"}, r"write media_types=\['text/event-stream'\]"),
        ({"media_types": ["text/plain"]}, "other streams cannot be cut into events"),
        ({"media_types": ["text/event-stream; charset=utf-8"]}, "without parameters"),
        ({"protocol": "ui-message"}, "leave protocol out .* or name 'ui-message-raw'"),
        ({"protocol": "plain"}, "name 'opaque'"),
        ({"on_conflict": "wait"}, "on_conflict is"),
        ({"stall_seconds": -1}, "stall_seconds is a positive number"),
        ({"abandon_after_seconds": 0}, "abandon_after_seconds is"),
        ({"keep_alive": "ping"}, "keep_alive is"),
    ],
)
def test_a_rule_refuses(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        StreamRule(PATH, **options)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"protocol": "opneai"}, "there is no protocol 'opneai'"),
        ({"estimate": 5}, "estimate= needs quota"),
        ({"quota": Quota(limit=1, per="day", unit="tokens")}, "give estimate="),
        ({"ids": True, "keep_alive": "block"}, "keep_alive='block' is for endpoints whose events carry no ids"),
    ],
)
def test_the_middleware_refuses(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        StreamGuardMiddleware(Starlette(), guard=make_guard(), rules=[StreamRule(PATH, **options)])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"rules": []}, "without rules guards nothing"),
        ({"rules": [PATH]}, r"write rules=\[StreamRule\('/v1/chat/completions'\)\]"),
        ({"guard": Starlette(), "rules": [StreamRule(PATH)]}, "is a StreamGuard, not Starlette"),
    ],
)
def test_the_middleware_refuses_other_arguments(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        StreamGuardMiddleware(Starlette(), **{"guard": make_guard(), **arguments})


def test_two_rules_that_save_differently_need_names() -> None:
    async def save(message: object) -> None: ...

    rules = [StreamRule("/v1", save=False), StreamRule("/v1", save=save, when="body.keep")]
    with pytest.raises(ConfigurationError, match="binding"):
        StreamGuardMiddleware(Starlette(), guard=make_guard(), rules=rules)
    named = [StreamRule("/v1", save=False), StreamRule("/v1", save=save, when="body.keep", binding="kept")]
    StreamGuardMiddleware(Starlette(), guard=make_guard(), rules=named)
