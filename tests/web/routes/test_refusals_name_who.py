"""What operators are told of a refused request says who was refused, and for which session, wherever that is known."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from streamguard import Observation, Settings, StreamGuard
from streamguard.messages import MemoryMessageStore
from streamguard.stores.memory import MemoryStore
from streamguard.telemetry.audit import AuditRecord, AuditTrail
from streamguard.testing import FaultyStore
from streamguard.web.routes.health import HEALTH_ROUTES
from streamguard.web.routes.paths import RouteName

from ..serving import calling, user_of

pytestmark = pytest.mark.anyio

GONE: Final = f"1.{'a' * 24}.1.1"
FOREIGN: Final = {"Origin": "https://evil.example", "Cookie": "session=1"}


@dataclass
class Case:
    """A request for session `s`, and what it is refused with."""

    route: RouteName | None
    """None for the guarded endpoint."""
    code: str
    method: str = "GET"
    query: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, object] = field(default_factory=dict)
    before: int = 0
    """How many such requests are let through before."""
    store_away: bool = False
    saving: bool = True
    session: str | None = "s"
    """The session that is told."""

    def __str__(self) -> str:
        return f"{self.route.name if self.route else 'ENDPOINT'}-{self.method}-{self.code}"


READS: Final[dict[str, object]] = {"max_resumes_per_minute": 1}
CHANGES: Final[dict[str, object]] = {"max_changes_per_minute": 1}
RESUME, STOP, SESSION, RAW, MESSAGES = (name for name in RouteName if name not in HEALTH_ROUTES)
CASES: Final = [
    Case(RESUME, "cursor_invalid", options={"headers": {"Last-Event-ID": "garbage"}}),
    Case(RESUME, "cursor_invalid", query="?cursor=garbage"),
    Case(RESUME, "cursor_invalid", "HEAD", options={"headers": {"Last-Event-ID": "garbage"}}),
    Case(RESUME, "cursor_invalid", query="?errors=stream&cursor=garbage"),
    Case(RESUME, "resume_failed", query=f"?cursor={GONE}"),
    Case(RESUME, "limit_rate", settings=READS, before=1),
    Case(RESUME, "store_unavailable", store_away=True),
    Case(STOP, "cursor_invalid", "POST", query="?cursor=garbage"),
    Case(STOP, "request_invalid", "POST", query="?stream_id="),
    Case(STOP, "request_invalid", "POST", options={"json": {"stream_id": 7}}),
    Case(STOP, "payload_too_large", "POST", options={"content": b" " * 70_000}),
    Case(STOP, "forbidden_origin", "POST", options={"headers": FOREIGN}),
    Case(STOP, "limit_rate", "POST", settings=CHANGES, before=1),
    Case(STOP, "store_unavailable", "POST", store_away=True),
    Case(SESSION, "store_unavailable", store_away=True),
    Case(SESSION, "store_unavailable", "DELETE", store_away=True),
    Case(SESSION, "forbidden_origin", "DELETE", options={"headers": FOREIGN}),
    Case(SESSION, "limit_rate", "DELETE", settings=CHANGES, before=1),
    Case(RAW, "not_found"),
    Case(RAW, "limit_rate", settings=READS, before=1),
    Case(RAW, "store_unavailable", store_away=True),
    Case(MESSAGES, "request_invalid", query="?limit=many"),
    Case(MESSAGES, "not_found", saving=False),
    Case(MESSAGES, "limit_rate", settings=READS, before=1),
    Case(None, "forbidden_origin", "POST", options={"headers": FOREIGN}, session=None),
    Case(None, "cursor_invalid", "POST", options={"headers": {"Idempotency-Key": "k", "Last-Event-ID": "garbage"}}),
]


class Kept:
    """A sink that keeps its records."""

    def __init__(self) -> None:
        self.records: list[AuditRecord] = []

    def write(self, record: AuditRecord) -> None:
        self.records.append(record)


def app_of(guard: StreamGuard) -> Starlette:
    @guard.stream("request.query_params.id")
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "one"

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])])
    guard.install(app, "/api/chat")
    return app


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_refusal_says_who_was_refused(case: Case) -> None:
    store, kept, told = FaultyStore(MemoryStore()), Kept(), list[Observation]()
    guard = StreamGuard(
        store,
        authenticate=user_of,
        settings=Settings.model_validate(case.settings),
        messages=MemoryMessageStore() if case.saving else None,
        observers=(told.append, AuditTrail(kept, owner_name=str)),
    )
    path = "/chat?id=s" if case.route is None else "/api/chat" + case.route.path.format(session="s", stream="a" * 24)
    async with calling(app_of(guard), guard) as client:
        for _ in range(case.before):
            await client.request(case.method, path + case.query, **case.options)
        told.clear()
        kept.records.clear()
        if case.store_away:
            store.faults.fail()
        await client.request(case.method, path + case.query, **case.options)
    (refused,) = [one for one in told if one.fault is not None and one.ref is None and one.request_id is not None]
    assert refused.fault is not None
    assert (str(refused.fault.code), refused.owner, refused.fault.session_id) == (case.code, "ann", case.session)
    (record,) = [one for one in kept.records if one.outcome == "denied"]
    assert (record.code, record.owner, record.session_id) == (case.code, "ann", case.session)


def test_every_route_of_a_session_has_its_refusals() -> None:
    of_sessions = {(name, method) for name in RouteName if name not in HEALTH_ROUTES for method in name.methods}
    assert {(case.route, case.method) for case in CASES if case.route} >= {
        (name, method) for name, method in of_sessions if method != "HEAD"
    }
