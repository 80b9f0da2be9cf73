"""What every protocol that is registered must do, whatever its wire form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from streamguard import StreamGuard, wire
from streamguard.errors import ConfigurationError
from streamguard.faults import Fault, FaultCode
from streamguard.values import Event, EventKind, Outcome

from .chunking import independent_events
from .golden import GOLDEN

ROOT: Final = Path(__file__).parents[2]
NAMES: Final = sorted(wire._PROTOCOLS.keys() - {wire.UNDECIDED.name})
"""Those that encode something."""
CURSOR: Final = f"1.{'a' * 24}.7."
SSE: Final = "text/event-stream"
MAX_BYTES: Final = 100
UPSTREAMS: Final = {
    "opaque": "data: TEXT\n\n",
    "openai": 'data: {"choices":[{"delta":{"content":"TEXT"}}]}\n\n',
    "anthropic": 'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"TEXT"}}\n\n',
    "ui-message-raw": (
        'data: {"type":"text-start","id":"TEXT"}\n\ndata: {"type":"text-delta","id":"TEXT","delta":"TEXT"}\n\n'
    ),
    "ndjson": '{"text":"TEXT"}\n',
}
"""Items of protocols that take no bare text."""
SAID: Final = ["one ", "two"]

every_protocol: Final = pytest.mark.parametrize("name", NAMES)
every_sse_protocol: Final = pytest.mark.parametrize(
    "name", [name for name in NAMES if wire.protocol_named(name).media_type == SSE]
)


def item(name: str, text: str) -> str:
    """An item that says this text."""
    return UPSTREAMS.get(name, "TEXT").replace("TEXT", text)


def encoder_of(name: str) -> wire.Encoder:
    return wire.protocol_named(name).encoder(message_id="m", max_event_bytes=MAX_BYTES)


def said(name: str, *texts: str) -> list[bytes]:
    encoder = encoder_of(name)
    payloads = [*encoder.begin()]
    for text in texts:
        payloads += encoder.encode(item(name, text))
    return payloads


@every_protocol
def test_protocols_are_found_by_name(name: str) -> None:
    protocol = wire.protocol_named(name)
    assert protocol.name == name
    assert (protocol.media_type == SSE) == (protocol.keep_alive == wire.KEEP_ALIVE), "keep-alives are SSE comments"
    assert wire.protocol_named(name) is protocol


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=f"'sse'; known are: {', '.join(sorted(wire._PROTOCOLS))}$"):
        wire.protocol_named("sse")


def test_what_is_exported_exists() -> None:
    assert all(hasattr(wire, name) for name in wire.__all__)


@every_sse_protocol
def test_every_event_is_whole_blocks_with_its_id_inside(name: str) -> None:
    protocol = wire.protocol_named(name)
    for seq, payload in enumerate(said(name, *SAID), 1):
        event = Event(seq, EventKind.DATA, payload)
        with_id, without = protocol.frame(event, f"{CURSOR}{seq}"), protocol.frame(event, None)
        assert with_id.endswith(b"\n\n")
        assert [one.id for one in independent_events(with_id)] == [f"{CURSOR}{seq}"]
        (bare,) = independent_events(without)
        assert (bare.id, bare.data) == ("", independent_events(with_id)[0].data)
        assert protocol.block(seq, EventKind.DATA, payload, f"id: {CURSOR}".encode()) == with_id


@every_protocol
def test_no_payload_is_over_the_limit(name: str) -> None:
    encoder = encoder_of(name)
    text = "x" * (10 * MAX_BYTES)
    payloads = [*encoder.encode(item(name, text)), *encoder.finish()]
    started = [payload for payload in payloads if b"x" in payload]
    assert all(len(payload) <= MAX_BYTES for payload in started)


@every_protocol
def test_a_stream_that_ends_early_is_tidy_once(name: str) -> None:
    encoder = encoder_of(name)
    encoder.encode(item(name, "one"))
    encoder.abandon()
    assert list(encoder.abandon()) == []


@every_protocol
@pytest.mark.parametrize("outcome", Outcome)
def test_closing_parts_can_be_framed(name: str, outcome: Outcome) -> None:
    protocol = wire.protocol_named(name)
    fault = None if outcome is Outcome.COMPLETED else Fault.of(FaultCode.STALLED)
    for payload in protocol.closing(outcome, fault, ()):
        framed = protocol.frame(Event(9, EventKind.CLOSING, payload), f"{CURSOR}9")
        assert independent_events(framed) if protocol.media_type == SSE else json.loads(framed)


@every_protocol
def test_a_new_encoder_knows_of_no_usage_and_no_failure(name: str) -> None:
    encoder = encoder_of(name)
    assert (dict(encoder.usage), encoder.failure) == ({}, None)
    parts = wire.protocol_named(name).open_parts()
    assert parts is None or dict(parts.usage) == {}


@every_protocol
@pytest.mark.parametrize("code", FaultCode)
def test_clients_are_told_of_every_fault(name: str, code: FaultCode) -> None:
    """In the stream as a notice, outside any log by a frame, and at its end by the closing parts."""
    protocol, fault = wire.protocol_named(name), Fault.of(code)
    notice = protocol.frame(Event(3, EventKind.NOTICE, fault.to_json()), f"{CURSOR}3")
    told = notice + protocol.fault_frame(fault)
    for payload in protocol.closing(Outcome.FAILED, fault, ()):
        told += protocol.frame(Event(4, EventKind.CLOSING, payload), f"{CURSOR}4")
    assert code.encode() in told
    assert fault.message.encode() in told


@every_protocol
def test_the_payloads_fold_into_the_message(name: str) -> None:
    folding = wire.protocol_named(name).folding("m")
    for payload in said(name, *SAID):
        folding.add(payload)
    message = folding.message()
    assert message.id == "m"
    assert "one" in str(message.parts)
    assert "two" in str(message.parts)


# -- what stands elsewhere ---------------------------------------------------------------------------------------------


@every_protocol
def test_it_has_golden_logs(name: str) -> None:
    assert [log for log in GOLDEN if log.startswith(f"{name}/")], f"record one in tests/data/golden/{name}/"


@every_protocol
@pytest.mark.parametrize("page", ["docs/reference/faults.md", "docs/reference/wire.md"])
def test_pages_tell_of_it(name: str, page: str) -> None:
    text = (ROOT / page).read_text()
    assert f"`{name}`" in text, f"describe the protocol in {page}"


@every_protocol
def test_the_decorator_tells_of_it(name: str) -> None:
    assert f"`{name}`" in str(StreamGuard.stream.__doc__), "name the protocol in the docstring of StreamGuard.stream"
