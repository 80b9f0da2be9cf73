"""A selector is refused for what is certain, and for nothing else."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, NamedTuple, NewType, Required, TypeVar
from typing import TypedDict as TypedDictOfTyping

import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, PrivateAttr, RootModel, computed_field
from pydantic.dataclasses import dataclass as pydantic_dataclass
from starlette.requests import Request
from typing_extensions import TypedDict

from streamguard.web.endpoint.field_paths import missing_field

if TYPE_CHECKING:
    from decimal import Decimal

T = TypeVar("T")
ChatId = NewType("ChatId", str)


class Typed(TypedDict, total=False):
    id: Required[str]
    chat: Chat


class Standard(TypedDictOfTyping):
    id: str


class Chat(BaseModel):
    id: str
    names: dict[str, Data] = {}
    _cache: str = PrivateAttr("")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def key(self) -> str:
        return self.id

    @property
    def plain(self) -> str:
        return self.id


@dataclass
class Data:
    chat: Chat | None
    typed: Typed

    @property
    def whatever(self) -> Any:
        return None


class Pair(NamedTuple):
    data: Data


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Dynamic(BaseModel):
    id: str

    def __getattr__(self, name: str) -> object: ...


@dataclass
class DynamicData:
    id: str

    def __getattr__(self, name: str) -> object: ...


class Aliased(BaseModel):
    chat_id: str = Field(validation_alias=AliasChoices("chatId", "id"))


class Child(Chat):
    more: int = 0


class Ordinary:
    """Sets what it likes in its `__init__`."""


@pydantic_dataclass
class Checked:
    id: str


@dataclass
class Box(Generic[T]):
    it: T


class ModelBox(BaseModel, Generic[T]):
    it: T


@dataclass
class Unresolved:
    price: Decimal
    chat: Chat


@pytest.mark.parametrize(
    ("annotation", "path"),
    [
        (Chat, "id"),
        (Child, "id"),
        (Child, "more"),
        (Chat, "key"),
        (Chat, "plain"),
        (Chat, "names.anything.chat.id"),
        (Data, "chat.id"),
        (Data, "typed.chat.id"),
        (Data, "whatever.at.all"),
        (Data | None, "chat.id"),
        (Pair, "data.chat.id"),
        (Annotated[Data, "the body"], "chat.id"),
        (Chat | dict[str, Any], "anything"),
        (Chat | Data, "chat.id"),
        (Chat | Data, "id"),
        (Open, "anything.below"),
        (Dynamic, "anything"),
        (DynamicData, "anything"),
        (Ordinary, "anything"),
        (Aliased, "chat_id"),
        (Checked, "id"),
        (Box[Chat], "it.anything"),
        (ModelBox[Chat], "it.id"),
        (ModelBox[Any], "it.anything"),
        (RootModel[dict[str, Any]], "root.anything"),
        (Unresolved, "price.anything"),
        (dict[str, Any], "anything.below"),
        (Mapping[str, Chat], "anything.id"),
        (dict, "anything"),
        (Any, "anything"),
        (object, "anything"),
        (T, "anything"),
        (type[Chat], "anything"),
        (Literal["a"], "anything"),
        (Request, "path_params.chat"),
        (Request, "anything"),
        (uuid.UUID, "hex"),
        (datetime.datetime, "year"),
        ("Chat", "anything"),
    ],
    ids=str,
)
def test_what_may_lead_somewhere_is_left_alone(annotation: object, path: str) -> None:
    assert missing_field(annotation, path.split(".")) is None


@pytest.mark.parametrize(
    ("annotation", "path", "why"),
    [
        (Chat, "_id", "Chat has no field '_id'; its fields are: key, id, names"),
        (Child, "name", "Child has no field 'name'; its fields are: key, id, names, more"),
        (Chat, "names.anything.id", "Data has no field 'id'; its fields are: chat, typed"),
        (Chat | Data, "name", "Chat has no field 'name'; its fields are: key, id, names"),
        (Typed, "name", "Typed has no field 'name'; its fields are: id, chat"),
        (Standard, "name", "Standard has no field 'name'; its fields are: id"),
        (Typed, "keys", "Typed has no field 'keys'; its fields are: id, chat"),
        (Checked, "name", "Checked has no field 'name'; its fields are: id"),
        (Unresolved, "name", "Unresolved has no field 'name'; its fields are: price, chat"),
        (ModelBox[Chat], "it.name", "Chat has no field 'name'; its fields are: key, id, names"),
        (Mapping[str, Chat], "anything.name", "Chat has no field 'name'; its fields are: key, id, names"),
        (Chat, "id.name", "str has no field 'name'"),
        (ChatId, "name", "str has no field 'name'"),
        (list[Chat], "id", "list has no field 'id'"),
        (uuid.UUID | None, "id", "UUID has no field 'id'"),
    ],
    ids=str,
)
def test_what_leads_nowhere_is_named(annotation: object, path: str, why: str) -> None:
    assert missing_field(annotation, path.split(".")) == why
