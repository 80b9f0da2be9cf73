from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..harness.workers import Worker
from .browser import Browser
from .page import Page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, live: Worker) -> Page:
    """The page of the module's server, `live`."""
    return Page(browser, live.url)
