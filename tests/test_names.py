"""No module, class, function or attribute has a name that was given up for one of the field's words."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from .harness.sources import python_files

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = ROOT / "src/streamguard"
TESTS: Final = ROOT / "tests"

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
    "claim_owed": "claim_due",
    "discharge": "complete",
    "dismiss": "release_slot",
    "leave_owed": "release_claim",
    "misled": "missing_field",
    "open_once": "IdempotentOpening.open",
    "owe": "enqueue",
    "postpone": "retry_later",
    "put_off": "defer",
    "redis_lanes": "pipeline",
    "redis_owing": "outbox",
    "redis_start": "server facts",
    "redis_watch": "subscriptions",
    "repetition": "retry",
    "revive": "requeue",
    "said_bytes": "emitted_bytes",
    "stop_coming": "stop_pending_requests",
    "take_places": "take_slots",
    "tidy": "close_open_parts",
    "crowded": "backlog",
    "hurry": "flush",
}
"""Old names, without leading underscores, and the words that took their places."""

RENAMED_IN_ROOM: Final = {
    "runtime": {
        "Callbacks": "the parts of an Assembly",
        "IdempotentOpen": "KeyedRequest",
        "Meant": "StopTarget",
        "Steady": "RecentReasons",
        "WHATEVER_RUNS": "ANY_STREAM",
        "Withdrawals": "StepsInDoubt",
        "room": "capacity",
        "wait_sealed": "EndWait.until_sealed",
    },
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

OF_TESTS: Final = frozenset({"Counting", "Gate"})
"""Good names of tests: stores that count their calls, and places where an endpoint waits."""

SETTLES: Final = ("charging/", "quota/", "reconcile/reservations.py", "testing/_quota_store/")
"""Where quotas are settled. Elsewhere things end, finish, or are decided."""
OF_A_QUOTA: Final = re.compile(r"settlement|settle_visible_seconds", re.IGNORECASE)
"""What speaks of a quota's settlement by itself."""
SETTLES_ELSEWHERE: Final = {
    "ORPHAN_SETTLED": "a signal, which is public",
    "SETTLE": "a step of a quota",
    "SETTLED": "a state of a quota",
    "QUOTA_SETTLED": "a signal of a quota",
    "UNSETTLED": "of a quota",
    "_may_still_settle": "a quota",
    "settler": "of quotas",
    "health_settle_seconds": "a setting, which is public: until a reading has settled",
}


def _names(of: Path, concerned: Callable[[str], object]) -> Iterator[tuple[Path, int, str]]:
    """Every name that a module defines or uses as an attribute, and its own, as far as they are `concerned`.

    Only modules with such a word in their text are parsed: to parse all takes seconds.
    """
    for path in python_files(of):
        if path == Path(__file__):
            continue
        yield path, 0, path.stem
        text = path.read_text()
        if not any(map(concerned, set(re.findall(r"\w+", text)))):
            continue
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    yield path, node.lineno, name
                case ast.Attribute(attr=name) | ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                    yield path, node.lineno, name


def test_no_old_name_is_left() -> None:
    old = RENAMED.keys() | {word for words in RENAMED_IN_ROOM.values() for word in words}
    left = []
    for path, line, name in _names(SOURCE, lambda word: word.lstrip("_") in old):
        room = path.relative_to(SOURCE).parts[0]
        word = name.lstrip("_")
        now = RENAMED.get(word) or RENAMED_IN_ROOM.get(room, {}).get(word)
        if now is not None:
            left.append(f"{path.relative_to(SOURCE)}:{line}: {name} is {now} now")
        if line == 0 and word in RENAMED_MODULES:
            left.append(f"{path.relative_to(SOURCE)} is {RENAMED_MODULES[word]} now")
    assert not left, "\n".join(left)


def test_no_old_name_is_left_in_tests() -> None:
    old = RENAMED.keys() - OF_TESTS
    left = [
        f"{path.relative_to(ROOT)}:{line}: {name} is {RENAMED[word]} now"
        for path, line, name in _names(TESTS, lambda word: word.lstrip("_") in old)
        if (word := name.lstrip("_")) in old
    ]
    assert not left, "\n".join(left)


def _says_settle(name: str) -> bool:
    return "settl" in name.lower()


def test_only_quotas_are_settled() -> None:
    left = {
        name: f"{path.relative_to(SOURCE)}:{line}"
        for path, line, name in _names(SOURCE, _says_settle)
        if _says_settle(name)
        and not OF_A_QUOTA.search(name)
        and not path.relative_to(SOURCE).as_posix().startswith(SETTLES)
    }
    assert left.keys() == SETTLES_ELSEWHERE.keys(), left
