"""What the page's side panel shows of a chat, and the switch of its database: an ASGI application to be mounted at
`/demo`, made of public parts of streamguard alone.

- `GET /facts`: how many workers there are, and which failures can be tried.
- `GET /inside?session=…`: the log of the chat's newest answer, whether that is saved and counted, and what is owed.
  With `stream=…&after=<epoch>.<number>` only what came to that stream's log since.
- `GET /database`, `POST /database` with `{"away": true}` or `{"away": false}`: the visitor's database, for the visitor
  alone.

Each visitor sees their own chats, and nobody else's.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Awaitable, Callable
from typing import Final

from answering import chats, store
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from surroundings import DAILY_TOKENS, owner

from streamguard import Fault, FaultCode, Persisted, QuotaState
from streamguard.errors import LogBrokenError, StoreError
from streamguard.stores import OutboxEntry, StreamMeta
from streamguard.values import START, Event, EventKind, Position, SessionKey

_SESSION: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_POSITION: Final = re.compile(r"(\d{1,18})\.(\d{1,18})")
_READ_BYTES: Final = 65_536
_SHOWN_CHARACTERS: Final = 60
_OUTBOX_ENTRIES: Final = 200

Answer = Callable[[Request, str], Awaitable[Response]]


def visitors_own(answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    """A route that is told who is asking, and that says so if the store cannot be read."""

    async def checked(request: Request) -> Response:
        visitor = await owner(request)
        if visitor is None:
            return _refused(Fault.of(FaultCode.UNAUTHENTICATED))
        try:
            return await answer(request, visitor)
        except StoreError:
            return _refused(Fault.of(FaultCode.STORE_UNAVAILABLE))

    return checked


async def facts(_request: Request) -> Response:
    """Where several workers run, the proxy before them adds what it can do: kill one."""
    can = ["cut", "database", *(["quota"] if DAILY_TOKENS else [])]
    worker = os.environ.get("DEMO_WORKER") or f"{os.getpid():x}"
    return _json({"workers": int(os.environ.get("DEMO_WORKERS") or 1), "worker": worker, "can": can})


@visitors_own
async def inside(request: Request, visitor: str) -> Response:
    query = request.query_params
    if _SESSION.fullmatch(query.get("session", "")) is None:
        return _refused(Fault.of(FaultCode.SESSION_INVALID))
    record = await store.session(SessionKey(visitor, query["session"]))
    meta = record.active or record.last
    at = _POSITION.fullmatch(query.get("after", "")) if meta and query.get("stream") == meta.ref.stream_id else None
    after = START if at is None else Position(int(at[1]), int(at[2]))
    events = [] if meta is None else await _events(meta, after)
    owed = [entry for entry in await _outbox() if entry.ref.key.owner == visitor]
    return _json(
        {
            "stream": None if meta is None else _stream(meta),
            "events": [_event(event) for event in events],
            "owed": [_owed(entry, await store.meta(entry.ref)) for entry in owed],
            "database": await _database(visitor),
        }
    )


@visitors_own
async def database(request: Request, visitor: str) -> Response:
    if request.method == "POST":
        # No form of another site's page can send this type without being asked first.
        if request.headers.get("content-type") != "application/json":
            return _refused(Fault.of(FaultCode.REQUEST_INVALID, status=415))
        try:
            wanted = json.loads(await request.body())
        except ValueError:
            wanted = None
        if not isinstance(wanted, dict) or not isinstance(wanted.get("away"), bool):
            return _refused(Fault.of(FaultCode.REQUEST_INVALID, status=422))
        await chats.take_away(visitor, away=wanted["away"])
    return _json({"database": await _database(visitor)})


async def _events(meta: StreamMeta, after: Position) -> list[Event]:
    """The log's next events. Of a log that does not go on from there, the first."""
    try:
        return await store.read(meta.ref, after, max_bytes=_READ_BYTES)
    except LogBrokenError:
        if after == START:
            return []
    return await _events(meta, START)


async def _outbox() -> list[OutboxEntry]:
    """What is owed to anybody. It reads the whole outbox, which is short in a demo."""
    due = await store.outbox_entries(dead=False, limit=_OUTBOX_ENTRIES)
    return due + await store.outbox_entries(dead=True, limit=_OUTBOX_ENTRIES)


async def _database(visitor: str) -> str:
    return "away" if await chats.is_away(visitor) else "here"


def _stream(meta: StreamMeta) -> dict[str, object]:
    return {
        "id": meta.ref.stream_id,
        "state": meta.state,
        "outcome": meta.seal and meta.seal.outcome,
        "events": meta.last_seq,
        "worker": meta.worker[-4:],
        "taken": meta.taken,
        "persisted": meta.persisted,
        "quota": meta.quota,
    }


def _event(event: Event) -> dict[str, object]:
    """Its number, its kind, and the beginning of what it says."""
    try:
        payload = json.loads(event.data)
    except ValueError:
        payload = None
    part = payload if isinstance(payload, dict) else {}
    text = part.get("delta") or part.get("message") or part.get("outcome") or ""
    kind = part.get("type") if event.kind in (EventKind.DATA, EventKind.CLOSING) else event.kind.name.lower()
    return {"number": event.seq, "epoch": event.epoch, "kind": kind or "data", "text": str(text)[:_SHOWN_CHARACTERS]}


def _owed(entry: OutboxEntry, meta: StreamMeta | None) -> dict[str, object]:
    """What is owed, how often it was tried, and when it is tried again."""
    owes_save = meta is not None and meta.persisted in (Persisted.PENDING, Persisted.NO)
    owes_settlement = meta is not None and meta.quota is QuotaState.PENDING
    return {
        "session": entry.ref.key.session_id,
        "what": [*(["save"] if owes_save else []), *(["settlement"] if owes_settlement else [])],
        "attempts": entry.attempts,
        "again_seconds": None if entry.dead else max(0.0, round(entry.due_seconds, 1)),
        "reason": entry.reason,
    }


def _json(document: dict[str, object]) -> Response:
    return JSONResponse(document, headers={"cache-control": "no-store"})


def _refused(fault: Fault) -> Response:
    return Response(fault.envelope(), fault.status, {"cache-control": "no-store"}, "application/json")


demo = Starlette(
    routes=[
        route
        for end in ("", "/")  # Litestar ends the path of a mounted application with a slash
        for route in (
            Route(f"/facts{end}", facts),
            Route(f"/inside{end}", inside),
            Route(f"/database{end}", database, methods=["GET", "POST"]),
        )
    ]
)
