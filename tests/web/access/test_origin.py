from __future__ import annotations

import pytest
from starlette.requests import HTTPConnection

from streamguard import FaultCode, FaultError
from streamguard.web.access.origin import ForbiddenOriginError, check_origin


def connection(headers: dict[str, str], scheme: str = "http") -> HTTPConnection:
    lines = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return HTTPConnection({"type": "http", "scheme": scheme, "path": "/", "query_string": b"", "headers": lines})


COOKIE = {"Cookie": "session=1", "Host": "chat.example"}


@pytest.mark.parametrize(
    "headers",
    [
        COOKIE,
        {**COOKIE, "Origin": "http://chat.example"},
        {**COOKIE, "Origin": "https://chat.example"},  # a proxy ended TLS
        {**COOKIE, "Origin": "http://CHAT.example:80"},
        {**COOKIE, "Origin": "https://app.example"},
        {**COOKIE, "Origin": "https://elsewhere.example", "Sec-Fetch-Site": "same-origin"},  # a proxy rewrote Host
        {**COOKIE, "Origin": "https://front.example", "X-Forwarded-Host": "front.example"},
        {**COOKIE, "Origin": "https://front.example", "X-Forwarded-Host": "front.example:443, proxy.internal"},
        {"Host": "chat.example", "Origin": "https://evil.example"},  # nothing a browser would add by itself
        {"Host": "chat.example", "Origin": "https://evil.example", "Authorization": "Bearer x"},
    ],
)
def test_allowed(headers: dict[str, str]) -> None:
    check_origin(connection(headers), ("https://app.example",))


@pytest.mark.parametrize(
    "headers",
    [
        {**COOKIE, "Origin": "https://evil.example"},
        {**COOKIE, "Origin": "null"},
        {**COOKIE, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {**COOKIE, "Origin": "https://evil.example", "Sec-Fetch-Site": "same-site"},
        {**COOKIE, "Origin": "https://evil.example", "Sec-Fetch-Site": "none"},
        {**COOKIE, "Origin": "https://evil.example", "X-Forwarded-Host": "front.example"},
        {**COOKIE, "Origin": "null", "X-Forwarded-Host": ""},
        {**COOKIE, "Origin": "http://chat.example.evil.example"},
        {**COOKIE, "Origin": "http://chat.example:8080"},
        {**COOKIE, "Origin": "https://app.example.evil"},
        {**COOKIE, "Origin": "http://[bad"},
        {"Cookie": "session=1", "Origin": "http://chat.example"},
        {"Host": "chat.example", "Origin": "https://evil.example", "Authorization": "Basic eDp5"},
    ],
)
def test_refused(headers: dict[str, str]) -> None:
    with pytest.raises(FaultError) as refused:
        check_origin(connection(headers), ("https://app.example",))
    assert refused.value.fault.code is FaultCode.FORBIDDEN_ORIGIN


def test_a_plain_page_may_not_act_on_the_encrypted_site() -> None:
    check_origin(connection({**COOKIE, "Origin": "https://chat.example"}, "https"), ())
    with pytest.raises(FaultError):
        check_origin(connection({**COOKIE, "Origin": "http://chat.example"}, "https"), ())


@pytest.mark.parametrize(
    ("origin", "shown"),
    [
        ("https://evil.example", "https://evil.example"),
        ("https://evil.example code=internal", "https://evil.example?code=internal"),
        ('https://ev\x1b[2Jil.example"<script>', "https://ev?[2Jil.example??script?"),
        ("https://" + "e" * 5_000, "https://" + "e" * 192),
        ("", "?"),
    ],
)
def test_a_refusal_names_the_origin_and_the_setting_and_no_more(origin: str, shown: str) -> None:
    with pytest.raises(ForbiddenOriginError) as refused:
        check_origin(connection({**COOKIE, "Origin": origin}), ())
    assert refused.value.origin == shown
    assert refused.value.fault.message == (
        f"A page of {shown} may not make that request, unless cors_origins lists that origin."
    )
    assert refused.value.fault.reason == "cors_origins"
