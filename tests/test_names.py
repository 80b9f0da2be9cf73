"""No module, class, function or attribute has a name that was given up for one of the field's words."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).parents[1] / "src/streamguard"

RENAMED: Final = {
    "Allowances": "ProcessLimits",
    "Asked": "Request",
    "Audience": "ViewerRegistry",
    "Before": "UserMessages",
    "Counting": "DemandSource",
    "CutLayer": "OutermostLayer",
    "Gate": "GuardContext",
    "Ids": "ResponseIds",
    "Intake": "RequestReader",
    "KeptFeed": "Feed",
    "Lane": "Connection",
    "Lanes": "Pipeline",
    "Once": "IdempotentOpening",
    "OutboxSteps": "RedisOutbox, MemoryOutbox",
    "Oversize": "TooLargeResponse",
    "RedisSurvey": "server facts",
    "Share": "Partition",
    "WholeAnswer": "WholeResponse",
    "answer_meant": "stop_target_of",
    "bury": "dead_letter",
    "carries_key": "has_idempotency_key",
    "discharge": "complete",
    "misled": "missing_field",
    "open_once": "open_idempotently",
    "owe": "enqueue",
    "postpone": "retry_later",
    "redis_lanes": "pipeline",
    "redis_owing": "outbox",
    "redis_start": "server facts",
    "redis_watch": "subscriptions",
    "repetition": "retry",
    "revive": "requeue",
    "said_bytes": "emitted_bytes",
    "take_places": "take_slots",
    "tidy": "close_open_parts",
    "crowded": "backlog",
    "hurry": "flush",
}
"""Old names, without leading underscores, and the words that took their places."""

RENAMED_IN_ROOM: Final = {
    "web": {
        "Admitted": "AdmittedRequest",
        "Call": "ApplicationCall",
        "Delivery": "ChunkSender",
        "Incoming": "MessageInput",
        "Items": "EndpointCall",
        "Places": "RequestSlots",
        "Rate": "RateLimit",
        "Slots": "SlotPool",
    },
}
"""Names that are good ones in another room."""

RENAMED_MODULES: Final = {"unreadable": "versions"}

SETTLES_NOTHING: Final = frozenset({"guard.py", "lifetime.py", "lua.py", "messages", "retrying.py", "web"})
"""Rooms in which nothing is settled: that is said of quotas alone. Here things end, finish or are decided."""


def _names() -> Iterator[tuple[Path, int, str]]:
    """Every name that a module defines or uses as an attribute, and its own."""
    for path in sorted(SOURCE.rglob("*.py")):
        yield path, 0, path.stem
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    yield path, node.lineno, name
                case ast.Attribute(attr=name) | ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                    yield path, node.lineno, name


def test_no_old_name_is_left() -> None:
    left = []
    for path, line, name in _names():
        room = path.relative_to(SOURCE).parts[0]
        word = name.lstrip("_")
        now = RENAMED.get(word) or RENAMED_IN_ROOM.get(room, {}).get(word)
        if now is not None:
            left.append(f"{path.relative_to(SOURCE)}:{line}: {name} is {now} now")
        if line == 0 and word in RENAMED_MODULES:
            left.append(f"{path.relative_to(SOURCE)} is {RENAMED_MODULES[word]} now")
    assert not left, "\n".join(left)


def test_only_quotas_are_settled() -> None:
    left = [
        f"{path.relative_to(SOURCE)}:{line}: {name}"
        for path, line, name in _names()
        if "settle" in name.lower() and path.relative_to(SOURCE).parts[0] in SETTLES_NOTHING
    ]
    assert not left, "\n".join(left)
