from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamguard.web.headers import EXPOSED, expose, header_value, id_headers, request_id_of


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_id_survives_in_a_header(text: str) -> None:
    value = header_value(text)
    assert all(0x21 <= byte <= 0x7E for byte in value)
    assert unquote(value.decode()) == text


def test_plain_ids_stay_readable() -> None:
    assert header_value("chat/1:a") == b"chat/1:a"
    assert header_value("a%2Fb") == b"a%252Fb"


@pytest.mark.parametrize("sane", ["req-1", "a.b_c~d:e+f/g=h@i", "x" * 128])
def test_a_sane_request_id_is_kept(sane: str) -> None:
    assert request_id_of(sane) == sane


@pytest.mark.parametrize("other", [None, "", "x" * 129, "a b", "a\r\nb", "<x>", "é"])
def test_any_other_request_id_is_replaced(other: str | None) -> None:
    assert request_id_of(other).startswith("req_")
    assert request_id_of(other) != request_id_of(other)


def test_ids_come_in_one_order_and_may_be_read_across_origins() -> None:
    headers = id_headers(request_id="r", session_id="s", stream_id="t", message_id="m")
    assert [name for name, _ in headers] == [
        b"x-request-id",
        b"x-session-id",
        b"x-stream-id",
        b"x-message-id",
        b"access-control-expose-headers",
    ]
    assert expose(headers) == headers


def test_what_a_cors_middleware_exposes_is_kept() -> None:
    replaced = [(b"access-control-expose-headers", b"X-Mine, x-stream-id")]
    (name, value) = expose(replaced)[-1]
    assert name == b"access-control-expose-headers"
    named = value.decode().split(", ")
    assert named[:2] == ["X-Mine", "x-stream-id"]
    assert {item.lower() for item in EXPOSED} <= {item.lower() for item in named}
    assert len(named) == len({item.lower() for item in named})
    assert expose([(b"access-control-expose-headers", b"*")])[-1][1] == b"*"
