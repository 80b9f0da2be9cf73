"""The tables of what each version of AI SDK's client takes, asked of the packages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from streamguard.wire.ui_message.client_versions import VERSIONS, ClientVersion
from streamguard.wire.ui_message.parts import KNOWN

from .test_clients import node, run_script

__all__ = ["node"]

METADATA: Final = {"provider": {"key": "value"}}
VALUES: Final[dict[str, object]] = {
    **dict.fromkeys(("id", "delta", "toolCallId", "toolName", "inputTextDelta", "errorText", "approvalId"), "x"),
    **dict.fromkeys(("sourceId", "url", "mediaType", "title", "filename", "messageId", "reason", "signature"), "x"),
    **dict.fromkeys(("approved", "dynamic", "providerExecuted", "preliminary", "transient", "isAutomatic"), True),
    **dict.fromkeys(("input", "output", "data", "messageMetadata", "approvalDescriptor", "inputSchemaInput"), 1),
    "parts": [],
    "citations": [],
    "providerMetadata": METADATA,
    "toolMetadata": {"a": 1},
    "kind": "provider.kind",
    "inputEncoding": "json",
    "finishReason": "stop",
    "ofTheFuture": "x",
}
"""A value for every field that some version has, and for one that none has."""
REQUIRED: Final = {
    "text-start": "id",
    "text-delta": "id delta",
    "text-end": "id",
    "reasoning-start": "id",
    "reasoning-delta": "id delta",
    "reasoning-end": "id",
    "tool-input-start": "toolCallId toolName",
    "tool-input-delta": "toolCallId inputTextDelta",
    "tool-input-available": "toolCallId toolName input",
    "tool-input-error": "toolCallId toolName input errorText",
    "tool-output-available": "toolCallId output",
    "tool-output-error": "toolCallId errorText",
    "tool-output-denied": "toolCallId",
    "tool-approval-request": "approvalId toolCallId",
    "tool-approval-response": "approvalId approved",
    "source-url": "sourceId url",
    "source-document": "sourceId mediaType title",
    "file": "url mediaType",
    "reasoning-file": "url mediaType",
    "custom": "kind",
    "steering-message": "id parts",
    "message-metadata": "messageMetadata",
    "error": "errorText",
    "data-x": "data",
}
"""What a part needs; nothing besides its type, if it is not here."""
UNKNOWN: Final = ("done", "reasoning-part-of-the-future", "tool-of-the-future")


def probes(client: ClientVersion) -> Iterator[dict[str, object]]:
    """Every part, alone and with each field, and whether the client should take it."""
    for kind in (*sorted(KNOWN), "data-x", *UNKNOWN):
        part = {"type": kind, **{name: VALUES[name] for name in REQUIRED.get(kind, "").split()}}
        yield {"part": part, "taken": client.takes(kind)}
        for name, value in VALUES.items() if client.takes(kind) else ():
            yield {"part": {**part, name: value}, "taken": not client.refused(kind, [*part, name])}
    for reason in ("stop", "length", "content-filter", "tool-calls", "error", "other", "interrupted", "unknown", "new"):
        taken = reason in client.finish_reasons and not client.refused("finish", ["finishReason"])
        yield {"part": {"type": "finish", "finishReason": reason}, "taken": taken}


def test_the_tables_say_what_the_packages_do(node: str, tmp_path: Path) -> None:
    found = tmp_path / "probes.json"
    found.write_text(json.dumps({client.name: list(probes(client)) for client in VERSIONS.values()}))
    run_script(node, "versions.test.mjs", {"PROBES": str(found)})
