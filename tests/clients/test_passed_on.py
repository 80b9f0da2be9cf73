"""Parts of AI SDK that are passed on byte for byte, read by every release of its client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from streamguard.faults import Fault, FaultCode
from streamguard.values import Outcome
from streamguard.wire import protocol_named

from ..wire.transcripts import TRANSCRIPTS, transcript
from ..wire.upstreams import Logged, cut, folded, logged
from .test_clients import node, run_script

__all__ = ["node"]

PROTOCOL: Final = protocol_named("ui-message-raw")
FAULT: Final = Fault.of(FaultCode.PROVIDER_ABORTED)


def case(stream: Logged, *, failed: bool = False) -> dict[str, object]:
    outcome = Outcome.FAILED if failed else Outcome.COMPLETED
    frames = stream.frames(ids=True, outcome=outcome, fault=FAULT if failed else None, warning=not failed)
    message = folded(PROTOCOL, stream.payloads if not failed or stream.encoder.failure else stream.data)
    return {"text": b"".join(frames).decode(), "message": message.as_dict(), "failed": failed}


def test_every_release_reads_them(node: str, tmp_path: Path) -> None:
    tools = transcript("ui-message-tools").body.replace(b',"finishReason":"stop"', b"")  # 5.0.0 refuses it
    cases = {
        "whole": case(logged(PROTOCOL, [tools])),
        "named by the upstream": case(
            logged(PROTOCOL, [transcript("ui-message-text").body], message_id="msg-upstream")
        ),
        "the upstream failed": case(logged(PROTOCOL, [transcript("ui-message-error").body]), failed=True),
        "cut in a text": case(
            cut(PROTOCOL, tools[: tools.rindex(b"data: ", 0, tools.rindex(b"text-end"))]), failed=True
        ),
        "cut in an input": case(cut(PROTOCOL, tools[: tools.index(b"tool-input-available")]), failed=True),
        "cut in a call": case(cut(PROTOCOL, tools[: tools.index(b"tool-output-available")]), failed=True),
        "cut in a reasoning": case(cut(PROTOCOL, tools[: tools.index(b"reasoning-end")]), failed=True),
    }
    cases["named by the upstream"]["message"] = {
        **json.loads(json.dumps(cases["named by the upstream"]["message"])),
        "id": "msg-upstream",
    }
    path = tmp_path / "cases.json"
    path.write_text(json.dumps(cases), "utf-8")
    run_script(node, "passed_on.test.mjs", {"CASES": str(path)})


def test_every_release_takes_what_is_saved_of_providers(node: str, tmp_path: Path) -> None:
    """Whole, and cut off after any block."""
    messages: dict[str, object] = {}
    for one in TRANSCRIPTS:
        if one.protocol_name in ("openai", "anthropic", "ndjson"):
            said = logged(one.protocol, [one.body]).payloads
            for count in range(1, len(said) + 1):
                message = folded(one.protocol, said[:count])
                waiting = any(part.get("state") == "input-available" for part in message.parts)  # for a result
                if message.parts and not waiting:
                    messages[f"{one.name}, {count} of {len(said)}"] = message.as_dict()
    assert len(messages) > 100
    path = tmp_path / "messages.json"
    path.write_text(json.dumps(messages), "utf-8")
    run_script(node, "histories_of_upstreams.test.mjs", {"MESSAGES": str(path)})
