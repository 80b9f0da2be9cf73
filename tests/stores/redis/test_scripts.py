"""Scripts that are added by their text, by several threads."""

from __future__ import annotations

import hashlib
import threading
from typing import Any, Self

from streamguard.stores.redis.scripts import Scripts

TEXT = "return ARGV[1]"


class SlowText(str):
    """A text whose digest takes until it is let go."""

    __slots__ = ("digesting", "go")

    digesting: threading.Event
    go: threading.Event

    def __new__(cls, text: str) -> Self:
        self = super().__new__(cls, text)
        self.digesting, self.go = threading.Event(), threading.Event()
        return self

    def encode(self, *args: Any, **options: Any) -> bytes:
        self.digesting.set()
        assert self.go.wait(10)
        return super().encode(*args, **options)


def test_a_script_that_another_thread_adds_has_its_digest() -> None:
    scripts = Scripts({})
    slow = SlowText(TEXT)
    other = threading.Thread(target=scripts.add, args=(slow,))
    other.start()
    try:
        assert slow.digesting.wait(10)
        digest = scripts.digests[scripts.add(TEXT)]  # used at once, as `RedisClient.call` does
    finally:
        slow.go.set()
        other.join()
    assert digest == hashlib.sha1(TEXT.encode()).hexdigest().encode()
    assert scripts.digests == {TEXT: digest}
    assert scripts.sources == {TEXT: TEXT}
