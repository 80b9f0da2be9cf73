"""Clients of httpx in tests do not read the authorities' certificates again and again."""

from __future__ import annotations

import ssl

import httpx
import pytest


def test_a_client_makes_no_context_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    httpx.Client(trust_env=False).close()

    def refuse(*_: object, **__: object) -> ssl.SSLContext:
        raise AssertionError("a second context")

    monkeypatch.setattr(ssl, "create_default_context", refuse)
    httpx.Client(trust_env=False).close()
    with pytest.raises(AssertionError, match="a second context"):
        httpx.create_ssl_context()


def test_a_context_of_pythons_knows_no_authority_until_one_is_named() -> None:
    context = ssl.create_default_context()
    assert context.get_ca_certs() == []
    assert context.verify_mode is ssl.CERT_REQUIRED
