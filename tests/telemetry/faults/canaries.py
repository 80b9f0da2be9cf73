"""Texts that nobody but their owner may ever read: each names the place where it was planted."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from functools import cache
from typing import Final

__all__ = ["CANARIES", "PIECE", "Canaries", "forms"]

PIECE: Final = 12
"""Characters of a canary that are enough to find it: what was cut is found, too."""


def _planted(place: str) -> str:
    """One word, so that a filter which lets words through lets it through. Its ends occur nowhere else."""
    digest = hashlib.sha256(place.encode()).hexdigest()
    return f"{digest[:PIECE]}-{place}-{digest[-PIECE:]}"


@cache
def forms(canary: str) -> frozenset[str]:
    """What to look for, in lower case: its first and its last piece as they are (which URL-encoding, JSON and `repr`
    leave alone), and what both look like in base64, at each of the three places a text can have in it, and in hex."""
    return frozenset(form for piece in (canary[:PIECE], canary[-PIECE:]) for form in _forms_of_piece(piece.encode()))


def _forms_of_piece(piece: bytes) -> Iterator[str]:
    yield piece.decode().lower()
    yield piece.hex()
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + piece).decode()
        # What is around it changes the characters at its ends.
        whole = encoded[(0, 2, 3)[shift] : len(encoded) - 4]
        yield whole.lower()


@dataclass(frozen=True, slots=True)
class Canaries:
    """One text for each place that holds what must not leave the process. Give others to find out who leaked."""

    prompt: str = _planted("prompt")
    completion: str = _planted("completion")
    reasoning: str = _planted("reasoning")
    tool_arguments: str = _planted("tool-arguments")
    tool_output: str = _planted("tool-output")
    left_out: str = _planted("left-out")
    """In an item that its protocol cannot carry."""
    provider: str = _planted("provider")
    """In the provider's exception: its text."""
    cause: str = _planted("cause")
    note: str = _planted("note")
    grouped: str = _planted("grouped")
    bug: str = _planted("bug")
    """In the text of an exception of the host's own."""
    quota_service: str = _planted("quota-service")
    database: str = _planted("database")
    """In the text of an exception of the host's message store."""
    authorization: str = _planted("authorization")
    cookie: str = _planted("cookie")
    query: str = _planted("query")
    key: str = _planted("idempotency-key")
    cursor: str = _planted("cursor")
    password: str = _planted("password")
    """A local variable of the endpoint; also the password in URLs of stores."""
    owner: str = _planted("owner")
    """Whom a request is for: appears as a hash alone."""

    def found_in(self, text: str | bytes) -> list[str]:
        """The names of the canaries of which a text holds a piece, in whatever encoding."""
        return [name for name, _ in self.places_in(text)]

    def places_in(self, text: str | bytes) -> list[tuple[str, int]]:
        """The same, with where a piece of each stands."""
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        text = text.lower()
        found = []
        for field, value in zip(fields(self), astuple(self), strict=True):
            places = [text.index(form) for form in forms(value) if form in text]
            if places:
                found.append((field.name, min(places)))
        return found


CANARIES = Canaries()
