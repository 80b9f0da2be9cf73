"""The example's page in a browser, seen the way its reader sees it."""

from __future__ import annotations

import uuid

from ..harness.waiting import wait_until
from .browser import Browser

__all__ = ["Page"]


class Page:
    """The page with one chat open."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        self.url = url
        self.chat_id = uuid.uuid4().hex
        self.open()

    def open(self) -> None:
        # Another chat in the address alone would not load the page anew.
        self.browser.open("about:blank")
        self.browser.open(f"{self.url}/#{self.chat_id}")
        self.browser.find("#prompt")

    @classmethod
    def of_new_visitor(cls, browser: Browser, url: str, *, width: int = 1280, height: int = 800) -> Page:
        """In a window of that size, to somebody who has no chats."""
        browser.resize(width, height)
        browser.open(f"{url}/static/icon.svg")  # a page of the same origin, which keeps nothing
        browser.script("localStorage.clear()")
        browser.forget_cookies()
        browser.severe_console_messages()  # those of before are read
        return cls(browser, url)

    def ask(self, prompt: str) -> None:
        self.browser.find("#prompt").type(f"{prompt}\n")

    def press(self, label: str) -> None:
        """Press the last button with that label that is shown and can be pressed."""
        source = (
            "return [...document.querySelectorAll('button:enabled')]"
            ".findLast((one) => one.checkVisibility() && one.textContent === arguments[0])"
        )
        button = wait_until(lambda: self.browser.element(source, label), description=f"a button {label}")
        assert button is not None
        button.click()

    @property
    def answer(self) -> str:
        """The last answer's text, as the model wrote it."""
        return str(
            self.browser.script("return [...document.querySelectorAll('[data-role=assistant]')].at(-1)?.source ?? ''")
        )

    @property
    def state(self) -> str:
        """The last answer's state."""
        return str(
            self.browser.script("return [...document.querySelectorAll('[data-role=assistant]')].at(-1)?.dataset.state")
        )

    @property
    def note(self) -> str:
        """What stands under the last answer."""
        return str(self.browser.script("return [...document.querySelectorAll('.note')].at(-1)?.textContent"))

    @property
    def save(self) -> str:
        """What the page knows of the last answer's being kept: `saved`, `saving`, `unsaved` or nothing."""
        return str(
            self.browser.script("return [...document.querySelectorAll('[data-role=assistant]')].at(-1)?.dataset.save")
        )

    @property
    def banners(self) -> list[str]:
        """The codes of the faults shown."""
        return [str(banner.attribute("data-code")) for banner in self.browser.find_all("#banners [role=alert]")]

    @property
    def said(self) -> str:
        """What the page says of the last button."""
        return self.browser.find("#said").text

    @property
    def focused(self) -> str:
        """The id of the element that has the focus."""
        return str(self.browser.script("return document.activeElement.id"))

    @property
    def allowance(self) -> str:
        """What the page says of the day's tokens."""
        return self.browser.find("#allowance").text

    def wait_for(self, state: str, *, timeout: float = 15) -> None:
        wait_until(lambda: self.state == state, description=f"the answer is {state}", timeout=timeout)

    def wait_for_said(self, beginning: str, *, timeout: float = 15) -> str:
        """Wait until the page says a sentence that begins so, and give it."""
        wait_until(lambda: self.said.startswith(beginning), description=f"it says: {beginning}", timeout=timeout)
        return self.said

    def wait_for_save(self, save: str, *, timeout: float = 15) -> None:
        wait_until(lambda: self.save == save, description=f"the answer is {save}", timeout=timeout)

    def wait_for_text(self, characters: int = 20) -> str:
        """Wait until the answer has begun, and give what is there."""
        return wait_until(
            lambda: self.answer if len(self.answer) > characters else "", description="the answer begins", timeout=10
        )

    def texts(self) -> list[str]:
        """What the messages say, from top to bottom, as it was written."""
        found = self.browser.script("return [...document.querySelectorAll('#log .message')].map((one) => one.source)")
        return list(map(str, found)) if isinstance(found, list) else []

    def messages(self) -> int:
        return len(self.browser.find_all("#log .message"))
