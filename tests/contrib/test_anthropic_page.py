"""The chats of the how-to page on Anthropic."""

from __future__ import annotations

from .page_suite import PageSuite


class TestAnthropic(PageSuite):
    page = "anthropic"
