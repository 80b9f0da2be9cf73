"""What a host's own events lose when it gives Sentry our hooks: through the real SDK, read from the wire."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Final

import pytest
import sentry_sdk
from sentry_sdk.consts import DEFAULT_OPTIONS

from streamguard.telemetry.sentry import (
    Scrubber,
    before_send_metric,
    before_send_span,
    hooks,
)

from .receiver import Receiver, receiving, sent_to

HAS_LOGS: Final = "enable_logs" in DEFAULT_OPTIONS
"""Early versions of the SDK have none."""
ALL_ON: Final[dict[str, Any]] = {"traces_sample_rate": 1.0, **({"enable_logs": True} if HAS_LOGS else {})}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one, sent_to(one, **ALL_ON, **hooks()):
        yield one


def speak_of_everything() -> None:
    secret = "canary-local"
    sentry_sdk.set_user({"email": "canary-user@example.org"})
    sentry_sdk.set_tag("question", "canary tag")
    sentry_sdk.set_extra("body", {"prompt": "canary-extra"})
    sentry_sdk.set_context("chat", {"prompt": "canary-context"})
    sentry_sdk.add_breadcrumb(
        message="canary-crumb", category="httpx", data={"url": "https://u:canary-url@x/?q=canary"}
    )
    logging.getLogger("a.host").warning("a line with %s", "canary-log")
    with sentry_sdk.start_transaction(op="http.server", name="/api/canary-session/stream", source="url"):
        with sentry_sdk.start_span(op="db.query") as span:
            span.description = "SELECT 'canary-sql'"
            span.set_data("gen_ai.prompt", "canary-prompt")
            span.set_data("gen_ai.request.model", "gpt-x")
        try:
            try:
                raise LookupError(f"canary-cause {secret}")
            except LookupError as error:
                raise RuntimeError("canary-text") from error
        except RuntimeError:
            sentry_sdk.capture_exception()
            logging.getLogger("a.host").error("canary-line %s", secret)
    sentry_sdk.capture_message("canary-message")


def test_a_hosts_events_hold_nothing_that_anybody_wrote(receiver: Receiver) -> None:
    speak_of_everything()
    event, logged, message = receiver.events()
    assert logged["logger"] == "a.host"
    assert [value["type"] for value in event["exception"]["values"]] == ["LookupError", "RuntimeError"]
    assert event["exception"]["values"][1]["stacktrace"]["frames"][-1]["function"] == "speak_of_everything"
    assert event["contexts"]["trace"]["trace_id"]
    assert message["logentry"] == {"message": "[removed]"}
    (transaction,) = (item.payload for item in receiver.items("transaction"))
    assert transaction["spans"][0]["op"] == "db.query"
    assert transaction["spans"][0]["data"]["gen_ai.request.model"] == "gpt-x"
    assert {item.type for item in receiver.items()} >= {"event", "transaction", *(["log"] if HAS_LOGS else [])}
    assert "canary" not in receiver.text()


def admins_own(names: list[str]) -> None:
    """Code of the host's that no stream knows of."""
    raise LookupError(f"no plan called {names[0]}")


def test_a_hosts_own_bug_can_still_be_found(receiver: Receiver) -> None:
    """Class, chain, and each frame with file, line and function; by what Sentry groups; where it was caught."""
    try:
        try:
            admins_own(["canary"])
        except LookupError as error:
            raise RuntimeError("the page failed") from error
    except RuntimeError:
        sentry_sdk.capture_exception(tags={"binding": "admin"})
    (event,) = receiver.events()
    first, second = event["exception"]["values"]
    assert (first["type"], second["type"]) == ("LookupError", "RuntimeError")
    frames = first["stacktrace"]["frames"]
    assert [frame["function"] for frame in frames][-1] == "admins_own"
    assert all(frame["lineno"] and frame["abs_path"].endswith(".py") and "in_app" in frame for frame in frames)
    assert event["level"] == "error"
    assert event["tags"] == {"binding": "admin"}
    assert event["release"] == "1"


def test_without_the_hooks_they_hold_it_all() -> None:
    """So the test above would see it."""
    with receiving() as receiver, sent_to(receiver, **ALL_ON):
        speak_of_everything()
        text = receiver.text()
    for what in (
        "local",
        "user",
        "extra",
        "context",
        "crumb",
        "url",
        "log",
        "session",
        "sql",
        "prompt",
        "text",
        "cause",
    ):
        assert f"canary-{what}" in text, what


def test_a_host_keeps_tags_and_adds_a_hook_of_its_own() -> None:
    def own(event: dict[str, Any], hint: dict[str, Any]) -> dict[str, Any] | None:
        return None if isinstance(hint["exc_info"][1], KeyError) else {**event, "environment": "staging"}

    scrubber = Scrubber(tags=("plan",), then=own)
    with receiving() as receiver, sent_to(receiver, before_send=scrubber.before_send):
        sentry_sdk.set_tags({"plan": "gold", "other": "silver"})
        for error in (KeyError("a"), ValueError("canary")):
            try:
                raise error
            except (KeyError, ValueError):
                sentry_sdk.capture_exception()
        (event,) = receiver.events()
        assert "canary" not in receiver.text()
    assert event["tags"] == {"plan": "gold"}
    assert event["environment"] == "staging"


def test_a_metric_keeps_its_name_and_listed_attributes() -> None:
    metric = {"name": "chats", "value": 1, "attributes": {"user.email": "canary", "streamguard.code": "stalled"}}
    kept = before_send_metric(metric, {})
    assert kept == {"name": "chats", "value": 1, "attributes": {"streamguard.code": "stalled"}}


def test_all_hooks_that_the_installed_sdk_knows() -> None:
    assert {"before_send", "before_send_transaction", "before_breadcrumb"} <= hooks().keys() <= DEFAULT_OPTIONS.keys()
    with receiving() as receiver, sent_to(receiver, **hooks()):
        sentry_sdk.capture_message("canary-message")
        assert len(receiver.events()) == 1
        assert "canary" not in receiver.text()


@pytest.mark.skipif("trace_lifecycle" not in DEFAULT_OPTIONS, reason="this sentry-sdk does not stream spans")
def test_spans_that_are_streamed_are_scrubbed_too() -> None:
    streamed: dict[str, Any] = {
        "traces_sample_rate": 1.0,
        "trace_lifecycle": "stream",
        "before_send_span": before_send_span,
    }
    with receiving() as receiver, sent_to(receiver, **streamed):
        secrets: dict[str, Any] = {
            "sentry.op": "http.server",
            "gen_ai.request.model": "gpt-x",
            "gen_ai.prompt": "canary-prompt",
        }
        with sentry_sdk.traces.start_span(name="/api/canary-session/stream", attributes=secrets):
            pass
        with sentry_sdk.traces.start_span(name="streamguard.stream"):
            pass
        assert {"span"} <= {item.type for item in receiver.items()}
        assert "canary" not in receiver.text()
        assert "streamguard.stream" in receiver.text()
        assert "gpt-x" in receiver.text()


def test_a_name_without_a_kind_is_removed() -> None:
    assert before_send_span({"name": "GET /canary", "attributes": None, "status": "ok"}, {}) == {
        "name": "[removed]",
        "attributes": {},
        "status": "ok",
    }
