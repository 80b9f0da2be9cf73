"""One fault has one id, wherever it is told of: to the client, in the log, in Sentry and in the audit trail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamguard import Fault, FaultError
from streamguard.telemetry.audit import AuditRecord, AuditTrail
from streamguard.telemetry.sentry.errors import is_captured
from streamguard.telemetry.sentry.fields import ALLOWED
from streamguard.telemetry.vocabulary import SENTRY_KEYS, SENTRY_TAGS
from tests.docs.tables import IDS_IN_SENTRY, OWN_TEXTS

from .faults import ALL_SCENARIOS, Provoked, Scenario
from .logged import logged
from .receiver import receiving, sent_to

pytestmark = [pytest.mark.anyio, pytest.mark.processes]  # Sentry asks git for the release


class Kept:
    """A sink that keeps its records."""

    def __init__(self) -> None:
        self.records: list[AuditRecord] = []

    def write(self, record: AuditRecord) -> None:
        self.records.append(record)


def got(provoked: Provoked) -> Iterator[Fault]:
    """The faults that a client got, in a body or a part, or that the host's own code did."""
    yield from provoked.sent
    yield from (error.fault for error in provoked.raised if isinstance(error, FaultError))


@pytest.mark.parametrize("scenario", ALL_SCENARIOS, ids=str)
async def test_each_fault_that_a_client_gets_is_found_by_its_id(scenario: Scenario) -> None:
    kept = Kept()
    with receiving() as receiver, sent_to(receiver), logged() as lines:
        provoked = await scenario.run(observers=(AuditTrail(kept),))
        events = [event for event in receiver.events() if event["logger"] == "streamguard"]
    in_log = {line.get("fault_id") for line in lines}
    in_audit = {record.fault_id for record in kept.records}
    in_sentry = {event["contexts"]["streamguard"].get("fault_id") for event in events}
    captured = {one.fault.fault_id for one in provoked.observations if one.fault is not None and is_captured(one)}
    for fault in got(provoked):
        assert fault.fault_id in in_log, fault
        assert fault.fault_id in in_audit, fault
        assert (fault.fault_id in in_sentry) == (fault.fault_id in captured), fault
    for event in events:  # and the other way round: what Sentry shows is in the log and in the trail
        context = event["contexts"]["streamguard"]
        assert set(event["tags"]) == SENTRY_TAGS.keys()
        assert context.keys() <= {*ALLOWED, *OWN_TEXTS, *IDS_IN_SENTRY, *SENTRY_KEYS}, "docs/tables.py lists them"
        fault_id = context.get("fault_id")
        assert fault_id is None or (fault_id in in_log and fault_id in in_audit)
