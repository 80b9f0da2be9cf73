"""Texts that nobody but their owner may ever read: each names the place where it was planted."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields

__all__ = ["CANARIES", "Canaries"]


def _planted(place: str) -> str:
    return f"canary-{place}-4f1d9c"


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
        """The names of the canaries that a text holds."""
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        return [field.name for field, value in zip(fields(self), astuple(self), strict=True) if value in text]


CANARIES = Canaries()
