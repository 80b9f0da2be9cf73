"""How scripts are stated: what comes of a statement, and that every script of ours keeps to its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from streamguard.lua import Call, Digits, FarKey, Key, Rest, read_reply, read_scripts
from streamguard.messages.redis.calls import CALLS as MESSAGE_CALLS
from streamguard.quota.redis.calls import CALLS as QUOTA_CALLS
from streamguard.stores.redis.index_calls import CALLS as INDEX_CALLS
from streamguard.stores.redis.report_calls import CALLS as REPORT_CALLS
from streamguard.stores.redis.scripts import Scripts
from streamguard.stores.redis.session_calls import CALLS as SESSION_CALLS
from streamguard.stores.redis.stream_calls import CALLS as STREAM_CALLS

STATED: Final = {
    "streamguard.stores.redis": (*STREAM_CALLS, *SESSION_CALLS, *INDEX_CALLS, *REPORT_CALLS),
    "streamguard.messages.redis": MESSAGE_CALLS,
    "streamguard.quota.redis": QUOTA_CALLS,
}
BY_HAND: Final = frozenset({"append.lua"})
"""Called by hand, in the stream store: it names its keys and arguments itself."""


class Note(NamedTuple):
    status: int
    text: bytes | None = None
    others: tuple[bytes, ...] = ()


class Write(Call[Note], script="write"):
    """Write a note."""

    note_key: Key
    index_key: Key
    epoch: Digits
    ttl_ms: int
    limit: int | None
    force: bool
    text: str
    ids: Rest = ()


HEADING: Final = """-- Writes a note.
-- KEYS: note_key (a text, or nothing), index_key
-- ARGV: epoch, ttl_ms, limit (how many, or ''), force,
--       text (of (any) kind), ids…
-- Reply: {status [, text, others…]}
"""


# -- a statement ------------------------------------------------------------------------------------------------------


def test_a_statement_gives_lua_its_locals() -> None:
    assert Write.prelude == (
        "local note_key, index_key = KEYS[1], KEYS[2]\n"
        "local epoch, ttl_ms, limit, force, text, ids_from = "
        "ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1', ARGV[5], 6\n"
    )


def test_a_call_is_packed_in_the_order_of_its_statement() -> None:
    call = Write(
        ids=[b"a", 1], text="t", force=True, limit=None, ttl_ms=5, epoch=7, index_key=b"index", note_key=b"note"
    )
    assert call.sent() == (2, [b"note", b"index", 7, 5, "", "1", "t", b"a", 1])
    assert (call.keys(), call.arguments()) == ([b"note", b"index"], [7, 5, "", "1", "t", b"a", 1])
    assert call.sent() == call.sent()


def test_a_call_lacks_no_argument() -> None:
    with pytest.raises(TypeError, match="ttl_ms"):
        Write(note_key=b"", index_key=b"", epoch=1, limit=None, force=False, text="")  # type: ignore[call-arg] # so


def test_a_call_has_no_other_argument() -> None:
    with pytest.raises(TypeError, match="unexpected: more"):
        Write(  # type: ignore[call-arg] # so
            note_key=b"", index_key=b"", epoch=1, ttl_ms=1, limit=None, force=False, text="", more=1
        )


class Spread(Call[int], script="spread"):
    """Write a note, and list it elsewhere."""

    note_key: Key
    list_key: FarKey
    index_key: FarKey
    text: str
    more: int | None
    ids: Rest = ()


def test_far_keys_are_sent_all_or_none() -> None:
    near = Spread(note_key=b"note", list_key=None, index_key=None, text="t", more=None, ids=[b"a"])
    assert near.sent() == (1, [b"note", "t", "", b"a"])
    assert (near.keys(), near.arguments()) == ([b"note"], ["t", "", b"a"])
    far = Spread(note_key=b"note", list_key=b"list", index_key=b"index", text="t", more=1)
    assert (far.keys(), far.arguments()) == ([b"note", b"list", b"index"], ["t", 1])
    assert Spread.far_key_names == ("list_key", "index_key")


def test_keys_come_first() -> None:
    with pytest.raises(TypeError, match="keys come first"):

        class _Mixed(Call[int], script="mixed"):
            ttl_ms: int
            note_key: Key


# -- a reply ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "note"),
    [
        ([0], Note(0)),
        ([0, None], Note(0)),
        ([0, b"a"], Note(0, b"a")),
        ([0, b"a", b"b", b"c"], Note(0, b"a", (b"b", b"c"))),
        ([0, None, b"b"], Note(0, None, (b"b",))),
    ],
)
def test_a_reply_is_read_by_name(reply: object, note: Note) -> None:
    read: Note = read_reply(Note, reply)
    assert read == note


def test_the_next_reply_of_the_same_types_is_read_alike() -> None:
    for known in ([0], [0, b"a"], [0, None], [0, b"a", b"b"]):
        first, again = read_reply(Note, known), read_reply(Note, [*known])
        assert first == again
    for other in ([True], [0, 1], [b"a"], [0, b"a", 1]):
        with pytest.raises((TypeError, ValueError)):
            read_reply(Note, other)


@pytest.mark.parametrize("reply", [None, 0, b"0", [], [b"0"], [None], [0, 1], [0, b"a", 1], [True]])
def test_a_reply_of_another_form_is_none(reply: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        read_reply(Note, reply)


def test_a_reply_may_be_nil_or_a_list() -> None:
    assert read_reply(Note | None, None) is None
    assert read_reply(list[Note], [[0], [1, b"a"]]) == [Note(0), Note(1, b"a")]
    with pytest.raises(ValueError, match="3 parts"):
        read_reply(Pair, [1, 2, 3])


class Pair(NamedTuple):
    one: int
    other: int


# -- a script and its statement ---------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Makes a package with one script."""

    def make(source: str) -> str:
        name = f"scripts_of_{re.sub('[^a-z0-9]', '_', tmp_path.name)}"
        include = tmp_path / name / "lua" / "include"
        include.mkdir(parents=True)
        (tmp_path / name / "__init__.py").write_text("")
        (include / "nothing.lua").write_text("-- nothing, @VALUE@\n")
        (include.parent / "write.lua").write_text(source)
        return name

    monkeypatch.syspath_prepend(str(tmp_path))
    return make


def test_a_script_begins_with_its_locals(package: Callable[[str], str]) -> None:
    name = package(f"{HEADING}--@include nothing\nreturn {{0}}\n")
    (source,) = read_scripts(name, [Write], {"@VALUE@": 5}).values()
    assert source == f"{Write.prelude}{HEADING}-- nothing, 5\n\nreturn {{0}}\n"


@pytest.mark.parametrize(
    ("there", "instead", "message"),
    [
        ("note_key (a text, or nothing), ", "", "KEYS are note_key, index_key"),
        ("epoch, ttl_ms", "ttl_ms, epoch", "ARGV are epoch, ttl_ms"),
        ("ids…", "ids…, more", "ARGV are"),
        ("-- Reply: {status [, text, others…]}\n", "", "does not say what it replies"),
        ("{status [, text, others…]}", "{status [, others…, text]}", "the reply is status, text, others"),
    ],
)
def test_a_heading_that_differs_from_the_statement_fails(
    package: Callable[[str], str], there: str, instead: str, message: str
) -> None:
    assert there in HEADING
    with pytest.raises(ValueError, match=message):
        read_scripts(package(HEADING.replace(there, instead)), [Write], {})


def test_every_script_has_a_statement_and_every_statement_a_script(package: Callable[[str], str]) -> None:
    name = package(HEADING)
    with pytest.raises(ValueError, match="no call states it"):
        read_scripts(name, [], {})
    with pytest.raises(ValueError, match="no such script: write"):
        read_scripts(name, [Write], {}, by_hand=("write",))
    assert read_scripts(name, [], {}, by_hand=("write",)) == {"write": HEADING}


# -- our scripts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package_name", STATED)
def test_no_script_counts_its_keys_and_arguments(package_name: str) -> None:
    """All go by the names that the statement gives them; `ARGV[i]` in a loop is for those without number."""
    lua = resources.files(package_name) / "lua"
    files = [*lua.iterdir(), *(lua / "include").iterdir()]
    for file in files:
        if file.is_file() and not (package_name.endswith("stores.redis") and file.name in BY_HAND):
            assert re.findall(r"KEYS\[|ARGV\[\d", file.read_text("utf-8")) == [], file.name


@pytest.mark.parametrize("package_name", STATED)
def test_every_argument_is_used(package_name: str) -> None:
    sources = read_scripts(
        package_name, STATED[package_name], {}, by_hand=("append",) if "stores" in package_name else ()
    )
    calls: tuple[type[Call[Any]], ...] = STATED[package_name]
    for call in calls:
        body = re.sub(r"--.*", "", sources[call.script].removeprefix(call.prelude))
        for name in {*call.key_names, *call.argument_names} - {"still_key"}:  # it is named for a cluster to see
            assert re.search(rf"\b{name}(_from)?\b", body), f"{call.script}: {name}"


def test_a_loaded_script_has_no_placeholder_left() -> None:
    for name, source in Scripts.load().sources.items():
        code = re.sub(r"--.*", "", source)
        assert re.search(r"@\w+@", code) is None, name
        assert "--@" not in source, name
