"""Which parts of a UI message stream, and which of their fields, each version of AI SDK's client takes.

Source: `uiMessageChunkSchema` of the npm package `ai` at each version named here. Some releases are strict: an unknown
field ends their stream, just as a part of an unknown type does. `tests/clients` asks the packages themselves about
every part and field in these tables.

A version between two of these counts as the earlier one: later versions take everything that it takes, up to the next
major version, which has its own entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, TypeAlias

__all__ = ["UNSPECIFIED", "VERSIONS", "ClientVersion", "client_version"]

_Fields: TypeAlias = Mapping[str, str]
"""By part, the names of its fields except `type`, separated by spaces."""

_WRITTEN: Final = re.compile(r"v?([0-9]{1,6})(?:\.([0-9]{1,6}))?(?:\.([0-9]{1,6}))?(?:[-+][0-9A-Za-z.+-]{1,64})?")


def _with(base: _Fields, more: _Fields) -> _Fields:
    return {**base} | {kind: f"{base.get(kind, '')} {names}" for kind, names in more.items()}


_5_0_0: Final[_Fields] = {
    "start": "messageId messageMetadata",
    "text-start": "id providerMetadata",
    "text-delta": "id delta providerMetadata",
    "text-end": "id providerMetadata",
    "reasoning-start": "id providerMetadata",
    "reasoning-delta": "id delta providerMetadata",
    "reasoning-end": "id providerMetadata",
    "tool-input-start": "toolCallId toolName providerExecuted dynamic",
    "tool-input-delta": "toolCallId inputTextDelta",
    "tool-input-available": "toolCallId toolName input providerExecuted providerMetadata dynamic",
    "tool-output-available": "toolCallId output providerExecuted dynamic",
    "tool-output-error": "toolCallId errorText providerExecuted dynamic",
    "source-url": "sourceId url title providerMetadata",
    "source-document": "sourceId mediaType title filename providerMetadata",
    "file": "url mediaType providerMetadata",
    "data-": "id data transient",
    "start-step": "",
    "finish-step": "",
    "finish": "messageMetadata",
    "abort": "",
    "message-metadata": "messageMetadata",
    "error": "errorText",
}
_5_0_277: Final = _with(
    _5_0_0,
    {
        "tool-input-error": "toolCallId toolName input errorText providerExecuted providerMetadata dynamic",
        "tool-output-available": "preliminary",
        "finish": "finishReason",
    },
)
_6_0_0: Final = _with(
    _5_0_277,
    {
        "tool-input-start": "title",
        "tool-input-available": "title",
        "tool-input-error": "title",
        "tool-approval-request": "approvalId toolCallId",
        "tool-output-denied": "toolCallId",
    },
)
_7_0_0: Final = _with(
    _6_0_0,
    {
        "tool-input-start": "providerMetadata toolMetadata",
        "tool-input-available": "toolMetadata",
        "tool-input-error": "toolMetadata",
        "tool-output-available": "providerMetadata toolMetadata",
        "tool-output-error": "providerMetadata toolMetadata",
        "tool-approval-request": "isAutomatic signature",
        "tool-approval-response": "approvalId approved reason providerExecuted providerMetadata",
        "custom": "kind providerMetadata",
        "reasoning-file": "url mediaType providerMetadata",
        "abort": "reason",
    },
)
_7_0_173: Final = _with(_7_0_0, {"steering-message": "id parts", "reset-step": ""})

_FINISH_REASONS: Final = frozenset({"stop", "length", "content-filter", "tool-calls", "error", "other"})


@dataclass(frozen=True, slots=True)
class ClientVersion:
    """What a version of AI SDK's client takes."""

    name: str
    """The version, such as `6.0.12`; empty when the client did not name it."""
    parts: frozenset[str]
    """Types of parts. `data-` stands for all types that begin with it."""
    fields: Mapping[str, frozenset[str]] | None
    """By part, the fields that it may have; None for a version that ignores unknown fields."""
    finish_reasons: frozenset[str] = _FINISH_REASONS
    """Allowed values of `finishReason` in a `finish` part."""
    finds_calls: bool = True
    """Whether the client finds a result's call by the id alone. Version 5 finds a dynamic call only if the result has
    `dynamic`."""

    @property
    def appends_replays(self) -> bool:
        """Whether the client appends a resumed answer to the message that it shows, instead of beginning it anew. The
        first release of each major version does."""
        return self.fields is not None

    def takes(self, kind: str) -> bool:
        """Whether a part of this type may be sent."""
        return kind in self.parts or kind.startswith("data-")

    def refused(self, kind: str, names: Iterable[str]) -> list[str]:
        """The fields of the part that may not be sent."""
        if self.fields is None:
            return []
        taken = self.fields["data-" if kind.startswith("data-") else kind]
        return [name for name in names if name not in taken]


def _strict(name: str, fields: _Fields) -> ClientVersion:
    taken = {kind: frozenset(("type", *names.split())) for kind, names in fields.items()}
    return ClientVersion(name, frozenset(fields), taken)


def _loose(name: str, fields: _Fields, *more_reasons: str) -> ClientVersion:
    return ClientVersion(name, frozenset(fields), None, _FINISH_REASONS.union(more_reasons))


VERSIONS: Final[Mapping[tuple[int, int, int], ClientVersion]] = {
    (5, 0, 0): replace(_strict("5.0.0", _5_0_0), finds_calls=False),
    (5, 0, 277): replace(_loose("5.0.277", _5_0_277, "unknown"), finds_calls=False),
    (6, 0, 0): _strict("6.0.0", _6_0_0),
    (6, 0, 322): _loose("6.0.322", _6_0_0),
    (7, 0, 0): _strict("7.0.0", _7_0_0),
    (7, 0, 173): _loose("7.0.173", _7_0_173, "interrupted"),
}
"""What clients take from each of these versions on."""

UNSPECIFIED: Final = _loose("", _7_0_173)
"""A client of unknown version. It counts as a recent one, without the finish reasons that only some of these take."""


@lru_cache(maxsize=256)
def client_version(text: str) -> ClientVersion:
    """What the client of a version such as `5`, `6.0` or `v7.0.12` takes. A pre-release counts as its release.

    Raises:
        ValueError: `text` is not a version, or it is before 5, whose clients read another protocol.
    """
    found = _WRITTEN.fullmatch(text.strip())
    if found is None:
        raise ValueError("no version of the npm package ai, which look like 6.0.12")
    major, minor, patch = (int(number or 0) for number in found.groups())
    earlier = [version for at, version in VERSIONS.items() if at <= (major, minor, patch)]
    if not earlier:
        raise ValueError("a version of AI SDK that reads no UI message streams: they came with 5")
    return replace(earlier[-1], name=f"{major}.{minor}.{patch}")
