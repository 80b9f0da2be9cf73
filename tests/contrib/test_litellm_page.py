"""The chats of the how-to page on LiteLLM."""

from __future__ import annotations

from .page_suite import PageSuite


class TestLiteLLM(PageSuite):
    page = "litellm"
