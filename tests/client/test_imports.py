"""`streamguard.client` needs httpx only once a client is made."""

from __future__ import annotations

import subprocess
import sys

import pytest

import streamguard.client

WITHOUT_HTTPX = """
import sys
sys.modules["httpx"] = None  # as if it were not installed
import streamguard.testing
from streamguard.client import RefusedError, StreamEvent
from streamguard.errors import ConfigurationError
try:
    from streamguard.client import StreamClient
except ConfigurationError as exc:
    print(exc)
"""


@pytest.mark.processes
def test_it_imports_without_httpx_and_says_what_a_client_needs() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_HTTPX], capture_output=True, text=True, timeout=50)
    assert done.stderr == ""
    assert "pip install 'streamguard-asgi[client]'" in done.stdout


@pytest.mark.parametrize("name", streamguard.client.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(streamguard.client, name).__name__ == name


def test_an_unknown_name_is_an_ordinary_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'NoSuchName'"):
        streamguard.client.NoSuchName  # type: ignore[attr-defined]  # noqa: B018 - looking it up is the test
