"""Lines of JSON that are passed on: every byte of the upstream's, and nothing that is not a line of JSON."""

from __future__ import annotations

import json

import pytest

from streamguard.errors import InvalidPartError
from streamguard.faults import REGISTRY, Fault, FaultCode
from streamguard.values import Event, EventKind, Outcome
from streamguard.wire import protocol_named
from streamguard.wire.base import LeftOut

from .transcripts import TRANSCRIPTS, transcript
from .upstreams import cut, folded, logged

PROTOCOL = protocol_named("ndjson")


def test_each_line_is_one_event() -> None:
    assert list(logged(PROTOCOL, [b'{"a":', b"1}\r", b'\n\n{"b":2}\n']).data) == [b'{"a":1}\r\n', b"\n", b'{"b":2}\n']


def test_every_line_that_a_client_gets_is_json_whatever_happens() -> None:
    fault = Fault.of(FaultCode.PROVIDER_ABORTED)
    for ids in (False, True):
        frames = cut(PROTOCOL, b'{"a":1}\n{"b":').frames(ids=ids, outcome=Outcome.FAILED, fault=fault, warning=True)
        lines = [json.loads(line) for line in b"".join(frames).splitlines()]
        assert lines == [
            {"a": 1},
            {"type": "error", "error": {"type": "streamguard_error", "code": fault.code, "message": fault.message}},
        ]


@pytest.mark.parametrize("code", FaultCode)
def test_a_fault_outside_the_log_is_a_line_and_a_warning_is_nothing(code: FaultCode) -> None:
    frame = PROTOCOL.fault_frame(Fault.of(code), "1.x.7.1")
    assert (frame == b"") == (REGISTRY[code].severity == "warning")
    assert frame.count(b"\n") == (1 if frame else 0)
    assert PROTOCOL.frame(Event(3, EventKind.NOTICE, Fault.of(code).to_json()), None) == b""


def test_an_unfinished_line_at_the_natural_end_is_passed_on_last() -> None:
    got = logged(PROTOCOL, [b'{"a":1}\n{"b":2}'])
    assert (list(got.data), list(got.held)) == ([b'{"a":1}\n'], [b'{"b":2}'])


def test_dicts_become_lines() -> None:
    encoder = PROTOCOL.encoder(message_id="m", max_event_bytes=1_000)
    assert list(encoder.encode({"text": "a\nb\u2028"})) == [b'{"text":"a\\nb\\u2028"}\n']


@pytest.mark.parametrize("item", [None, 7, ["x"]], ids=str)
def test_other_items_are_refused(item: object) -> None:
    with pytest.raises(InvalidPartError) as caught:
        PROTOCOL.encoder(message_id="m", max_event_bytes=1_000).encode(item)
    assert caught.value.protocol == "ndjson"


def test_a_line_over_the_limit_is_left_out_and_told_of() -> None:
    told: list[LeftOut] = []
    encoder = PROTOCOL.encoder(message_id="m", max_event_bytes=100, on_left_out=told.append)
    body = b'{"a":1}\n"' + b"x" * 500 + b'"\n{"b":2}\n"' + b"y" * 120 + b'"\n{"c":3}\n'
    for size in (1, 30, 99, 1_000):
        told.clear()
        out = [line for at in range(0, len(body), size) for line in encoder.encode(body[at : at + size])]
        assert out == [b'{"a":1}\n', b'{"b":2}\n', b'{"c":3}\n']
        assert [(one.part, one.reason) for one in told] == [("block", "too_large")] * 2


def test_it_cannot_say_nothing() -> None:
    assert PROTOCOL.keep_alive == b""


# -- Ollama ------------------------------------------------------------------------------------------------------------


def test_ollamas_last_line_is_the_closing_part() -> None:
    for one in TRANSCRIPTS:
        if "ollama" in one.name:
            got = logged(PROTOCOL, [one.body])
            assert b"".join(got.held) == one.body.splitlines(keepends=True)[-1]
            assert (dict(got.encoder.usage), got.encoder.failure) == (one.usage, one.failure)


def test_a_failure_that_ollama_tells_of_is_not_talked_over() -> None:
    one = transcript("ndjson-ollama-error")
    frames = logged(PROTOCOL, [one.body]).frames(ids=False, outcome=Outcome.FAILED, fault=Fault.of(FaultCode.INTERNAL))
    assert b"".join(frames) == one.body


def test_an_answer_of_ollamas_that_ends_without_its_end_has_failed() -> None:
    one = transcript("ndjson-ollama")
    beginning = one.body.splitlines(keepends=True)[0]
    assert logged(PROTOCOL, [beginning]).encoder.failure == "provider_aborted"
    assert [part["text"] for part in folded(PROTOCOL, [beginning]).parts] == ["Grüße"]


@pytest.mark.parametrize(
    "line", [b'{"error":"x","n":1}', b'{"error":null}', b'{"done":true}', b'{"message":"x"}', b"[1]"]
)
def test_lines_of_others_mean_nothing(line: bytes) -> None:
    got = logged(PROTOCOL, [line + b"\n"])
    assert (list(got.data), got.encoder.failure, dict(got.encoder.usage)) == ([line + b"\n"], None, {})
    (part,) = folded(PROTOCOL, got.data).parts
    assert part == {"type": "data-streamguard-ndjson", "data": line.decode() + "\n"}
