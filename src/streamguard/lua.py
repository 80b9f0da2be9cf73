"""Lua scripts for Redis: how one is stated, loaded and called, and how its reply is read.

A script is stated once, as a `Call`: its keys, its arguments and its reply, by name and type. From that statement come
the locals that its Lua begins with and the call in Python, which mypy checks. The heading of the Lua file repeats the
names for whoever reads the file alone; a heading that differs from the statement fails at import.
"""

from __future__ import annotations

import operator
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cache
from importlib import resources
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Generic,
    Protocol,
    TypeVar,
    Union,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from .errors import ConfigurationError

__all__ = [
    "Call",
    "Digits",
    "FarKey",
    "Key",
    "Rest",
    "ScriptClient",
    "Word",
    "check_script_client",
    "read_reply",
    "read_scripts",
]

Word = str | bytes | int
"""What is sent to a script."""

R = TypeVar("R")

Key = Annotated[bytes, "key"]
"""A key that a script works on: in Lua, text."""

FarKey = Annotated[bytes | None, "far key"]
"""A key that lies on another slot than the rest: one server takes it too, a cluster would refuse it. So a call names
all of its far keys, and the script does everything in one step, or None for all, and the caller takes a step of its own
for them; in Lua they are nil then. They follow the other keys."""

Digits = Annotated[int, "digits"]
"""A number that Lua keeps as text: it is compared with stored text, has more digits than Lua writes (14), or is only
handed on (Redis takes as long to write a number as for a small command)."""

Rest = Annotated[Sequence[Word], "rest"]
"""All further arguments. For a field `ids` of this kind, the local in Lua is `ids_from`: the index in `ARGV` of the
first."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Call(Generic[R]):
    """A call of one script: a subclass states the script, its fields are the keys and then the arguments, in order.

    In Lua each field is a local of its name. An `int` is a number there, or nil for None; a `bool` is a boolean;
    everything else is text. `R` is the type of the reply: see `read_reply`.
    """

    script: ClassVar[str] = ""
    """The name of its file."""
    prelude: ClassVar[str]
    """The Lua that gives keys and arguments their names."""
    key_names: ClassVar[tuple[str, ...]]
    far_key_names: ClassVar[tuple[str, ...]]
    """The last of `key_names`, which are on other slots."""
    argument_names: ClassVar[tuple[str, ...]]
    reply_type: ClassVar[Any]
    _kinds: ClassVar[Mapping[str, Any]]
    _defaults: ClassVar[Mapping[str, Any]]
    _reader: ClassVar[Any]
    _has_rest: ClassVar[bool]
    _sent_otherwise: ClassVar[tuple[int, ...]]

    def __init_subclass__(cls, *, script: str = "") -> None:
        super().__init_subclass__()
        dataclass(kw_only=True, repr=False, init=False)(cls)  # frozen for mypy alone
        if not script:
            return  # a group of fields that several scripts have in common
        hints = get_type_hints(cls, include_extras=True)
        stated = fields(cls)  # type: ignore[arg-type] # a dataclass now
        kinds = cls._kinds = {field.name: hints[field.name] for field in stated}
        cls._defaults = {field.name: field.default for field in stated if field.default is not MISSING}
        cls.script = script
        near = tuple(name for name, hint in kinds.items() if hint == Key)
        cls.far_key_names = tuple(name for name, hint in kinds.items() if hint == FarKey)
        cls.key_names = near + cls.far_key_names
        cls.argument_names = tuple(kinds)[len(cls.key_names) :]
        if tuple(kinds)[: len(cls.key_names)] != cls.key_names or Rest in list(kinds.values())[:-1]:
            raise TypeError(
                f"{cls.__name__}: keys come first, those on other slots after the rest, and Rest comes last"
            )
        cls.prelude = _prelude(cls.key_names, {name: kinds[name] for name in cls.argument_names})
        cls.reply_type = next(get_args(base)[0] for base in cls.__orig_bases__ if get_args(base))  # type: ignore[attr-defined] # generic
        cls._reader = staticmethod(_reader_of(cls.reply_type))
        cls._has_rest = Rest in kinds.values()
        cls._sent_otherwise = tuple(
            n for n, hint in enumerate(kinds.values()) if hint is bool or (_is_optional(hint) and hint != FarKey)
        )

    def __init__(self, **given: Any) -> None:
        # Hot path: as a dataclass does it, but not field by field.
        if given.keys() != self._kinds.keys():
            given = {**self._defaults, **given}
            if wrong := given.keys() ^ self._kinds.keys():
                raise TypeError(f"{type(self).__name__}: missing or unexpected: {', '.join(sorted(wrong))}")
        self.__dict__ = given

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"  # the arguments are owners, payloads and messages

    def sent(self) -> tuple[int, list[Word]]:
        """How many keys are sent, the far ones only where they are given; and the keys and the arguments."""
        words = [*map(self.__dict__.__getitem__, self._kinds)]
        for n in self._sent_otherwise:
            if words[n] is None or words[n] is False:
                words[n] = ""
            elif words[n] is True:
                words[n] = "1"
        if self._has_rest:
            words += words.pop()
        count = len(self.key_names)
        if self.far_key_names and words[count - 1] is None:
            near = count - len(self.far_key_names)
            del words[near:count]
            return near, words
        return count, words

    def keys(self) -> list[bytes]:
        """The keys alone."""
        count, words = self.sent()
        return cast("list[bytes]", words[:count])

    def arguments(self) -> list[Word]:
        """The arguments alone, as they are sent."""
        count, words = self.sent()
        return words[count:]

    def read(self, reply: object) -> R:
        """The script's reply.

        Raises:
            TypeError, ValueError: it is no such reply.
        """
        read: R = self._reader(reply)
        return read


def _is_optional(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)


def _prelude(keys: Sequence[str], arguments: Mapping[str, Any]) -> str:
    names, values = [], []
    for n, (name, hint) in enumerate(arguments.items(), start=1):
        names.append(f"{name}_from" if hint == Rest else name)
        if hint == Rest:
            values.append(f"{n}")
        elif hint is bool:
            values.append(f"ARGV[{n}] == '1'")
        elif hint is int or (_is_optional(hint) and int in get_args(hint)):
            values.append(f"tonumber(ARGV[{n}])")
        else:
            values.append(f"ARGV[{n}]")
    lines = [f"local {', '.join(keys)} = {', '.join(f'KEYS[{n}]' for n in range(1, len(keys) + 1))}"]
    if names:
        lines.append(f"local {', '.join(names)} = {', '.join(values)}")
    return "".join(f"{line}\n" for line in lines)


# -- replies ----------------------------------------------------------------------------------------------------------


def read_reply(kind: Any, reply: object) -> Any:
    """A reply, or a part of one, as a value of the type `kind`.

    `int`, `bytes` and `object` are taken as they are; `X | None` may be nil; `list[X]` has any number of them; a
    `NamedTuple` is a list with its fields in order: those with a default may be missing, since Lua drops nils at the
    end, and a last one of type `tuple[X, ...]` takes all the rest.

    Raises:
        TypeError, ValueError: it is no such value.
    """
    return _reader_of(kind)(reply)


_Reader = Callable[[object], Any]


@cache
def _reader_of(kind: Any) -> _Reader:
    if kind is object:
        return lambda reply: reply
    if _is_optional(kind):
        (present,) = (_reader_of(one) for one in get_args(kind) if one is not type(None))
        return lambda reply: None if reply is None else present(reply)
    if (made := get_origin(kind)) in (list, tuple):
        item = _reader_of(get_args(kind)[0])
        return lambda reply: made([item(one) for one in _list(reply)])
    if hasattr(kind, "_fields"):
        return _fields_reader(kind)

    def read(reply: object) -> object:
        if type(reply) is not kind:
            raise TypeError(f"not {kind.__name__}")
        return reply

    return read


def _fields_reader(kind: Any) -> _Reader:
    hints = get_type_hints(kind)
    has_rest = get_origin(hints[kind._fields[-1]]) is tuple
    readers = [(hints[name], _reader_of(hints[name])) for name in kind._fields]
    fixed = readers[:-1] if has_rest else readers
    least = sum(name not in kind._field_defaults for name in kind._fields[: len(fixed)])
    taken_whole: set[tuple[type, ...]] = set()
    """The types of the parts of replies that were taken as they are: nearly all replies of a script are alike."""

    def read_fields(reply: object) -> object:
        found = _list(reply)
        types_found = tuple(map(type, found))
        if types_found in taken_whole:
            return kind(*found)
        if len(found) < least or (len(found) > len(fixed) and not has_rest):
            raise ValueError(f"a reply of {len(found)} parts")
        values = []
        for (hint, read), part in zip(fixed, found, strict=False):
            values.append(part if type(part) is hint or hint is object else read(part))  # no call for most of them
        if has_rest and len(found) > len(fixed):
            values.append(readers[-1][1](found[len(fixed) :]))
        if len(found) <= len(fixed) and all(map(operator.is_, values, found)):
            taken_whole.add(types_found)
        return kind(*values)

    return read_fields


def _list(reply: object) -> list[object]:
    if not isinstance(reply, list):
        raise TypeError("not a list")
    return reply


# -- files ------------------------------------------------------------------------------------------------------------

_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_INCLUDE: Final = re.compile(r"^--@include (\w+)$", re.MULTILINE)
_HEADING: Final = re.compile(r"(?:-- .*\n)+")
_PART: Final = re.compile(r"^-- (KEYS|ARGV|Reply): (.*(?:\n--  .*)*)", re.MULTILINE)
_EXPLAINED: Final = re.compile(r"\([^()]*\)")


def read_scripts(
    package: str, calls: Iterable[type[Call[Any]]], constants: Mapping[str, object], *, by_hand: Iterable[str] = ()
) -> dict[str, str]:
    """The scripts in a package's `lua` directory, by name: locals put before, includes resolved, constants put in.

    To be called while importing: a store may be made on an event loop, which must not block. `by_hand` are scripts
    without a statement.

    Raises:
        ValueError: a script and its statement differ, or one is there without the other.
    """
    directory = resources.files(package) / "lua"
    included = {file.name.removesuffix(".lua"): file.read_text("utf-8") for file in (directory / "include").iterdir()}
    stated = {call.script: call for call in calls}

    def whole(source: str) -> str:
        return _INCLUDE.sub(lambda match: whole(included[match[1]]), source)

    sources = {}
    for file in directory.iterdir():
        if not file.name.endswith(".lua"):
            continue
        name, source = file.name.removesuffix(".lua"), file.read_text("utf-8")
        if name not in by_hand:
            if name not in stated:
                raise ValueError(f"{file.name}: no call states it")
            _check_heading(stated[name], source)
            source = stated.pop(name).prelude + source
        source = whole(source)
        for constant, value in constants.items():
            source = source.replace(constant, str(value))
        sources[name] = source
    if stated:
        raise ValueError(f"no such script: {', '.join(stated)}")
    return sources


def _check_heading(call: type[Call[Any]], source: str) -> None:
    """Compare the comment that a script begins with with its statement.

    Raises:
        ValueError: it names other keys or arguments, or not all of the reply's fields in their order.
    """
    heading = _HEADING.match(source)
    parts = {} if heading is None else {match[1]: match[2] for match in _PART.finditer(heading[0])}
    for part, names in (("KEYS", call.key_names), ("ARGV", call.argument_names)):
        text = parts.get(part, "")
        while _EXPLAINED.search(text):
            text = _EXPLAINED.sub("", text)
        named = [one.strip(" \n-…") for one in text.split(",")]
        if named != (list(names) or ["none"]):
            raise ValueError(f"{call.script}.lua: {part} are {', '.join(names) or 'none'} by its statement")
    if "Reply" not in parts:
        raise ValueError(f"{call.script}.lua does not say what it replies")
    kind = call.reply_type
    kind = next((one for one in get_args(kind) if one is not type(None)), kind) if _is_optional(kind) else kind
    names = getattr(kind, "_fields", ())
    if re.search(r"\b.*?\b".join(names), parts["Reply"], re.DOTALL) is None:
        raise ValueError(f"{call.script}.lua: the reply is {', '.join(names)} by its statement")


# -- clients ----------------------------------------------------------------------------------------------------------


class ScriptClient(Protocol):
    """What a store needs of Redis: `streamguard.stores.RedisClient` has it."""

    async def start(self) -> list[str]:
        """Connect; warnings for the operator. Does not raise for an unreachable server."""
        ...

    async def call(
        self, operation: str, script: str, keys: Sequence[bytes], args: Sequence[str | bytes | int] = ()
    ) -> object:
        """What the Lua text `script` answers: bytes, int, None, or a list of such.

        Raises:
            StoreError: it could not be run, or no answer came; its cause is a `TimeoutError` if none came in time.
        """
        ...


def check_script_client(store: str, client: object, namespace: object) -> None:
    """Refuse what a store of ours is given in place of a client, or as the namespace of its keys.

    Raises:
        ConfigurationError: it says what the store takes.
    """
    if not callable(getattr(client, "call", None)):
        raise ConfigurationError(
            f"{store} takes a client first, not a {type(client).__name__}: {store}(RedisClient('redis://…'), …), with "
            "RedisClient of streamguard.stores"
        )
    if not isinstance(namespace, str) or _NAMESPACE.fullmatch(namespace) is None:
        raise ConfigurationError(f"namespace of {store} is 1 to 32 letters, digits, '_' and '-', not {namespace!r:.80}")
