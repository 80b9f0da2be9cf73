"""What may be said of an owner or an exception where others can read it."""

from __future__ import annotations

import traceback
from typing import Final
from urllib.parse import quote

from .. import values
from ..errors import ConfigurationError, InvalidPartError, MessageStoreError, QuotaError, StoreError, StreamLimitError
from ..frames import own_place, raised_in
from ..unavailable import Unavailable, UnavailableReason, reason_of

__all__ = ["class_name", "error_fields", "id_text", "plain_text", "short_hash", "told_error_reason"]

MAX_TEXT: Final = 1_000
"""Characters of one field of a log line: every id that is admitted fits, percent-encoded."""
_PLAIN: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '%"')

_OURS: Final = (ConfigurationError, InvalidPartError, StreamLimitError)
"""Their texts hold no content, only names, types and sizes, where we raise them. A host may raise them too."""


def short_hash(text: str) -> str:
    """16 hex digits that tell owners and sessions apart without naming them: the start of their SHA-256."""
    return values.short_hash(text)


def id_text(text: str) -> str:
    """An id that may come from a client, as a log may have it: percent-encoded like in the header that carries it, so
    that it has no space, quote, line break or invisible character, and not longer than `MAX_TEXT`."""
    return _bounded(quote(text.encode("utf-8", "replace"), safe=_PLAIN))


def plain_text(text: str) -> str:
    """Any other text: what cannot be printed is escaped, and it is not longer than `MAX_TEXT`."""
    text = text[: MAX_TEXT + 1]
    if not text.isprintable():
        text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return _bounded(text)


def _bounded(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


def class_name(error: BaseException) -> str:
    """`module.Class`, without the module for built-in ones."""
    cls = type(error)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def told_error_reason(error: BaseException | None) -> str | None:
    """Why a store could not be used, as the error or one of its causes says; None if it is about something else. A
    host may raise our errors too: what it gives in place of a reason is told nobody."""
    reason: object = reason_of(error)
    if reason is UnavailableReason.OTHER and not isinstance(error, Unavailable):
        return None
    return str(reason if isinstance(reason, UnavailableReason) else UnavailableReason.OTHER)


def error_fields(error: BaseException) -> dict[str, str | int | None]:
    """An exception without its text, which may hold a provider's words or a user's: class, where the host's own code
    was (`error_at`), where it was raised if that is elsewhere (`raised_at`), safe attributes, why a store could not be
    used (`error_reason`)."""
    fields: dict[str, str | int | None] = {"error": class_name(error)}
    place = own_place(error)
    if place is not None:
        fields["error_at"] = str(place)
        last, line = list(traceback.walk_tb(error.__traceback__))[-1]
        if (last.f_code.co_filename, line) != (place.filename, place.line):
            fields["raised_at"] = f"{last.f_code.co_filename}:{line} in {last.f_code.co_name}"
    if isinstance(error, _OURS) and raised_in(error) in ("streamguard", None):  # None: never raised, so ours
        fields["error_text"] = str(error)
    if isinstance(error, (StoreError, MessageStoreError, QuotaError)):
        fields["operation"] = error.operation
    if (reason := told_error_reason(error)) is not None:
        fields["error_reason"] = reason
    cause = error.__cause__
    if cause is not None:
        fields["cause"] = class_name(cause)
        if (at := own_place(cause)) is not None:
            fields["cause_at"] = str(at)
    return fields
