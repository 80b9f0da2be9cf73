"""ledger: S2-EVID-1. The log tells when events were appended, woke their viewer and were sent, where it is asked to."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from streamguard.event_times import EVENTS_LOGGER
from streamguard.log_lines import LogEvent

from .observed import Worker, asked

pytestmark = pytest.mark.anyio


@pytest.fixture
def asked_for(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG, logger=EVENTS_LOGGER):
        yield caplog


def lines_of(caplog: pytest.LogCaptureFixture, event: LogEvent) -> list[dict[str, Any]]:
    records = [vars(record) for record in caplog.records if record.name == EVENTS_LOGGER]
    return [record["streamguard"] for record in records if record["streamguard_event"] == event]


async def test_each_event_has_its_times(asked_for: pytest.LogCaptureFixture) -> None:
    worker = Worker()
    async with worker.running() as chat:
        answer = await asked(chat)
        worker.go.set()
        await answer.rest()
        ended = await chat.ended(answer)
    appended, sent = lines_of(asked_for, LogEvent.EVENTS_APPENDED), lines_of(asked_for, LogEvent.EVENTS_SENT)
    for lines in (appended, sent):
        assert lines[0]["first_seq"] == 1
        assert all(after["first_seq"] == before["last_seq"] + 1 for before, after in pairwise(lines))
        assert {(line["stream_id"], line["message_id"], line["request_id"], line["session_id"]) for line in lines} == {
            (answer.stream_id, answer.message_id, ended.request_id, "s")
        }
        assert all(line["seconds"] >= 0 for line in lines)
    assert sent[-1]["last_seq"] == ended.fields["events"]
    first = next(line for line in sent if line["woken_at"] is not None)
    assert first["woken_at"] <= first["at"] <= first["at"] + first["seconds"]
    shown = {seq: line["at"] for line in appended for seq in range(line["first_seq"], line["last_seq"] + 1)}
    assert all(line["at"] >= shown[line["last_seq"]] - 0.001 for line in sent if line["last_seq"] in shown)


async def test_nobody_pays_who_does_not_ask(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker()
    with caplog.at_level(logging.DEBUG):  # of the root logger, as many hosts have it
        async with worker.running() as chat:
            await worker.whole(chat)
    assert not [record for record in caplog.records if record.name == EVENTS_LOGGER]


async def test_they_hold_no_content(asked_for: pytest.LogCaptureFixture) -> None:
    worker = Worker()
    async with worker.running() as chat:
        await worker.whole(chat)
    lines = [record.getMessage() for record in asked_for.records if record.name == EVENTS_LOGGER]
    assert lines
    assert not [line for line in lines if "one " in line.replace("None ", "") or "two" in line or "owner=ann" in line]
