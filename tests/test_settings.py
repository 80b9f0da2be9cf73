from __future__ import annotations

import math
import sys
from typing import get_type_hints

import pytest
from pydantic import ValidationError

from streamguard.settings import Settings


def test_the_defaults_agree_with_each_other() -> None:
    settings = Settings()
    assert settings.heartbeat_seconds * 2 <= settings.lease_seconds
    assert settings.max_event_bytes <= settings.max_stream_bytes


def test_a_smaller_stream_has_smaller_events() -> None:
    assert Settings(max_stream_bytes=2_000_000).max_event_bytes == 2_000_000
    with pytest.raises(ValidationError, match="max_event_bytes"):
        Settings(max_stream_bytes=2_000_000, max_event_bytes=2_000_001)


@pytest.mark.parametrize("name", sorted(name for name in Settings.model_fields if name.endswith("_seconds")))
def test_no_time_is_longer_than_a_store_can_count(name: str) -> None:
    """`sys.maxsize` for "never" was taken, and then Redis refused every stream."""
    with pytest.raises(ValidationError, match=name):
        Settings.model_validate({name: sys.maxsize})


def test_every_number_carries_its_unit() -> None:
    for name, kind in get_type_hints(Settings, include_extras=False).items():
        if kind in (float, float | None):
            assert name.endswith("_seconds")
        elif kind is int:
            assert name.startswith("max_") or name.endswith(("_bytes", "_per_second"))


@pytest.mark.parametrize(
    "origin",
    [
        *("https://app.example.com/", "https://app.example.com/chat", "app.example.com", "*", "https://*.example.com"),
        *("https://App.example.com", "https://app.example.com:443", "http://localhost:80", "", "https://"),
        *("https://b\u00fccher.example", "file:///index.html", "chrome-extension://abc/page.html"),
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    with pytest.raises(ValidationError, match="is no origin as browsers send it"):
        Settings(cors_origins=("https://other.example", origin))


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.com",
        "http://localhost:5173",
        "http://[::1]:8000",
        "https://a.example:8443",
        "capacitor://localhost",
        "tauri://localhost",
        "https://tauri.localhost",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
        "safari-web-extension://E5A1C8F0-17A5-4E43-9C2B-7D5A0E1B2C3D",
        "file://",
    ],
)
def test_origins_as_browsers_send_them_are_taken(origin: str) -> None:
    assert Settings(cors_origins=(origin,)).cors_origins == (origin,)


def test_the_origin_of_any_sandboxed_frame_is_refused() -> None:
    with pytest.raises(ValidationError, match="every site may use your users' cookies"):
        Settings(cors_origins=("null",))


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings().__setattr__("lease_seconds", 1)


@pytest.mark.parametrize(
    "name", sorted(n for n in Settings.model_fields if n.endswith(("_seconds", "_bytes")) or n.startswith("max_"))
)
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "soon", None], ids=str)
def test_impossible_values_are_refused(name: str, value: object) -> None:
    if value is None and Settings.model_fields[name].default is None:
        assert Settings.model_validate({name: value}) == Settings()  # switched off, as it is anyway
        return
    with pytest.raises(ValidationError):
        Settings.model_validate({name: value})


@pytest.mark.parametrize("name", sorted(n for n in Settings.model_fields if n.endswith("_seconds")))
def test_only_what_may_be_left_out_may_be_zero(name: str) -> None:
    if name in ("replay_after_finish_seconds", "health_settle_seconds"):
        assert Settings.model_validate({name: 0}).model_dump()[name] == 0
    else:
        with pytest.raises(ValidationError):
            Settings.model_validate({name: 0})


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"heartbeat_seconds": 8}, "heartbeat_seconds"),
        ({"lease_seconds": 4}, "heartbeat_seconds"),
        ({"live_ttl_seconds": 59}, "live_ttl_seconds"),
        ({"max_stream_bytes": 1000, "max_event_bytes": 1001}, "max_event_bytes"),
    ],
)
def test_contradictions_are_refused(values: dict[str, float], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        Settings.model_validate(values)


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="lease_second"):
        Settings.model_validate({"lease_second": 1})


@pytest.mark.parametrize("namespace", ["", "a b", "{x}", "a:b", "x" * 33, "ключ", "a\n"])
def test_a_namespace_cannot_break_a_key(namespace: str) -> None:
    with pytest.raises(ValidationError):
        Settings(namespace=namespace)
