from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator
from typing import cast
from urllib.parse import unquote

import pytest
import structlog
from structlog.testing import LogCapture

from streamguard import ConfigurationError, Fault, FaultCode, Observation, Severity, Signal, StoreUnavailableError
from streamguard.errors import MessageTimeoutError, MessageUnavailableError
from streamguard.telemetry import StructlogObserver
from streamguard.telemetry.observers import checked_observers
from streamguard.telemetry.safety import short_hash
from streamguard.unavailable import UnavailableReason
from streamguard.values import SessionKey, StreamRef

REF = StreamRef(SessionKey("ann@example.org", "s"), "a" * 24)


@pytest.fixture
def entries() -> Iterator[list[dict[str, object]]]:
    """What is logged through a structlog that the host has configured."""
    capture = LogCapture()
    structlog.configure(processors=[capture])
    yield capture.entries  # type: ignore[misc]
    structlog.reset_defaults()


def failed(error: RuntimeError) -> RuntimeError:
    try:
        raise error
    except RuntimeError as caught:
        return caught


def test_an_event_is_its_constant_with_ids_and_fields(entries: list[dict[str, object]]) -> None:
    StructlogObserver()(
        Observation(
            Signal.STREAM_OPENED,
            ref=REF,
            message_id="m",
            request_id="r",
            fields={"protocol": "plain", "degraded": False},
        )
    )
    assert entries == [
        {
            "event": "streamguard.stream_opened",
            "log_level": "info",
            "owner_hash": short_hash("ann@example.org"),
            "session_id": "s",
            "stream_id": "a" * 24,
            "message_id": "m",
            "request_id": "r",
            "protocol": "plain",
            "degraded": False,
        }
    ]


def test_a_fault_is_logged_without_anybodys_words(entries: list[dict[str, object]]) -> None:
    fault = Fault.of(FaultCode.PROVIDER_ERROR, session_id="s", reason="quota")
    error = failed(RuntimeError("the prompt was: secret"))
    error.__cause__ = LookupError("secret")
    StructlogObserver()(Observation(Signal.FAULT, ref=REF, fault=fault, error=error))
    (entry,) = entries
    assert "secret" not in str(entry)
    assert (entry["log_level"], entry["code"], entry["phase"], entry["reason"]) == (
        "error",
        "provider_error",
        "provider",
        "quota",
    )
    assert (entry["error"], entry["cause"]) == ("RuntimeError", "LookupError")
    assert "test_logging.py" in str(entry["error_at"])


def test_a_line_says_why_a_store_could_not_be_used(entries: list[dict[str, object]]) -> None:
    """In a word of a closed list, also where only a cause of the error knows it; and nothing of what a host gives."""
    error = MessageUnavailableError("append: it is full", operation="append", reason=UnavailableReason.OUT_OF_MEMORY)
    wrapped = RuntimeError("the prompt was: secret")
    wrapped.__cause__ = error
    hosts = StoreUnavailableError("away", operation="append", reason=cast("UnavailableReason", "secret"))
    timeout = MessageTimeoutError("append: no answer", operation="append")
    for one in (error, wrapped, hosts, timeout, RuntimeError("secret")):
        StructlogObserver()(Observation(Signal.SAVE_FAILED, error=one))
    told = [entry.get("error_reason") for entry in entries]
    assert told == ["out_of_memory", "out_of_memory", "other", "timeout", None]
    assert "secret" not in str(entries)


def test_what_we_wrote_ourselves_may_be_read(entries: list[dict[str, object]]) -> None:
    observer = StructlogObserver()
    with pytest.raises(ConfigurationError) as raised:
        checked_observers("no observers")
    observer(Observation(Signal.FAULT, error=raised.value))
    observer(Observation(Signal.FAULT, error=StoreUnavailableError("redis://password@", operation="append")))
    assert entries[0]["error_text"] == str(raised.value)
    assert entries[1]["operation"] == "append"
    assert entries[1]["error"] == "streamguard.errors.StoreUnavailableError"
    assert entries[1]["error_reason"] == "other"
    assert "password" not in str(entries[1])
    observer(Observation(Signal.SAVE_FAILED, error=MessageUnavailableError("what she said", operation="append")))
    assert entries[2]["operation"] == "append"
    assert "said" not in str(entries[2])


def test_whose_message_it_was_can_be_found(entries: list[dict[str, object]]) -> None:
    fault = Fault.of(FaultCode.PERSISTENCE_FAILED, message_id="m1", user_message_id="u1")
    StructlogObserver()(Observation(Signal.FAULT, ref=REF, fault=fault))
    assert (entries[0]["message_id"], entries[0]["user_message_id"]) == ("m1", "u1")


@pytest.mark.parametrize(
    ("code", "severity", "level"),
    [
        (FaultCode.UNAUTHENTICATED, None, "warning"),
        (FaultCode.LIMIT_RATE, None, "warning"),
        (FaultCode.STORE_UNAVAILABLE, None, "error"),
        (FaultCode.INTERNAL, None, "error"),
        (FaultCode.NOT_RESUMABLE, None, "warning"),
        (FaultCode.INTERNAL, Severity.WARNING, "warning"),
    ],
)
def test_levels_of_faults(
    entries: list[dict[str, object]], code: FaultCode, severity: Severity | None, level: str
) -> None:
    StructlogObserver()(Observation(Signal.FAULT, fault=Fault.of(code, severity=severity)))
    assert entries[0]["log_level"] == level


def test_an_answer_that_nobody_watched_is_no_error(entries: list[dict[str, object]]) -> None:
    StructlogObserver()(Observation(Signal.FAULT, fault=Fault.of(FaultCode.INTERRUPTED, reason="abandoned")))
    assert (entries[0]["log_level"], entries[0]["reason"]) == ("info", "abandoned")


@pytest.mark.parametrize(
    ("signal", "level"),
    [
        (Signal.STREAM_ENDED, "info"),
        (Signal.BREAKER_OPENED, "error"),
        (Signal.STREAM_RESUMED, "debug"),
        (Signal.REPLY_SAVED, "info"),
        (Signal.SAVE_FAILED, "warning"),
        (Signal.SAVE_OWED, "warning"),
        (Signal.SAVE_RECOVERED, "info"),
        (Signal.SAVE_BURIED, "error"),
    ],
)
def test_levels_of_events(entries: list[dict[str, object]], signal: Signal, level: str) -> None:
    """An end that mentions its fault is not a second error."""
    StructlogObserver()(Observation(signal, fault=Fault.of(FaultCode.INTERNAL)))
    assert entries[0]["log_level"] == level


def test_a_fault_is_wanted_where_the_worst_of_them_would_be_logged(caplog: pytest.LogCaptureFixture) -> None:
    structlog.reset_defaults()
    observer = StructlogObserver()
    with caplog.at_level(logging.ERROR, "streamguard"):
        assert observer.wants(Signal.FAULT)
        assert not observer.wants(Signal.STREAM_ENDED)
    with caplog.at_level(logging.CRITICAL, "streamguard"):
        assert not observer.wants(Signal.FAULT)


def test_without_a_configured_structlog_the_standard_library_is_used(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    structlog.reset_defaults()
    with caplog.at_level(logging.INFO, "streamguard"):
        StructlogObserver()(Observation(Signal.STREAM_OPENED, ref=REF))
        StructlogObserver()(Observation(Signal.STREAM_RESUMED, ref=REF))
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("streamguard", logging.INFO)
    assert "streamguard.stream_opened" in record.getMessage()
    assert "session_id=s" in record.getMessage()
    assert capsys.readouterr().out == ""


NASTY = [
    "a code=internal",
    'a" code="internal',
    "a\nstreamguard.fault code=internal",
    "\x1b[2J",
    "a\u202eb",
    "ключ",
    "x" * 5_000,
]


@pytest.mark.parametrize("text", NASTY)
def test_what_a_client_chose_forges_no_field_and_no_line(text: str, caplog: pytest.LogCaptureFixture) -> None:
    fault = Fault.of(FaultCode.NOT_FOUND, session_id=text, request_id=text, message_id=text, reason=text)
    ref = StreamRef(SessionKey("ann", text), "a" * 24)
    with caplog.at_level("DEBUG", "streamguard"):
        StructlogObserver()(
            Observation(Signal.FAULT, ref=ref, fault=fault, fields={"origin": text, "outcome": "failed"})
        )
    (record,) = caplog.records
    line = record.getMessage()
    assert line.isprintable()
    assert len(line) < 8_000
    words = shlex.split(line)
    assert words.count("code=not_found") == 1
    assert not [word for word in words if word.startswith("code=") and word != "code=not_found"]
    names = [word.partition("=")[0] for word in words[1:]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("text", NASTY)
def test_nor_where_structlog_is_configured(text: str, entries: list[dict[str, object]]) -> None:
    StructlogObserver()(
        Observation(
            Signal.STREAM_OPENED,
            ref=StreamRef(SessionKey("ann", text), "a" * 24),
            message_id=text,
            request_id=text,
            fields={"user_message_id": text, "origin": text},
        )
    )
    (entry,) = entries
    for name in ("session_id", "message_id", "user_message_id", "request_id", "origin"):
        value = str(entry[name])
        assert value.isascii() or value.endswith("…")
        assert value.isprintable()
        assert not set(value) & set(' "\n')
        assert len(value) <= 1_001
        if len(value) <= 1_000:
            assert unquote(value) == text
