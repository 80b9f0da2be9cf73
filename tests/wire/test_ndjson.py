"""Lines of JSON that are passed on: every byte of the upstream's, and nothing that is not a line of JSON."""

from __future__ import annotations

import json

import pytest

from streamguard.errors import InvalidPartError
from streamguard.faults import REGISTRY, Fault, FaultCode
from streamguard.values import Event, EventKind, Outcome
from streamguard.wire import protocol_named
from streamguard.wire.base import LeftOut

from .upstreams import cut, logged

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
