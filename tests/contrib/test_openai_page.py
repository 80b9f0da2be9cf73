"""The chats of the how-to page on OpenAI."""

from __future__ import annotations

from .page_suite import PageSuite


class TestOpenAI(PageSuite):
    page = "openai"
