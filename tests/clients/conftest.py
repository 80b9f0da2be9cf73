"""What tests of pages in a browser share: the browser, the directory of pages, and the application that has them.

Browser and application last for a module: a page that is left open goes on asking.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..examples.browser import Browser
from ..harness.workers import Worker
from .test_packed_client import SETTINGS


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pages are that `page_server` has."""
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def page_server(pages: Path) -> Iterator[Worker]:
    environment = {"STREAMGUARD_URL": "memory://", "STREAMGUARD_SETTINGS": SETTINGS, "CLIENT_PAGES": str(pages)}
    with Worker("tests.apps.client_chat:app", env=environment) as worker:
        yield worker


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser
