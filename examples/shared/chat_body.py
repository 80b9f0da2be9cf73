"""What a chat page sends: the body that AI SDK's `DefaultChatTransport` posts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """Any part of a message; those that are not text are kept as they are."""

    model_config = ConfigDict(extra="allow")

    type: str
    text: str | None = None


class Message(BaseModel):
    id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    role: Literal["system", "user", "assistant"]
    parts: list[Part] = []

    @property
    def text(self) -> str:
        return "".join(part.text or "" for part in self.parts if part.type == "text")


class ChatBody(BaseModel):
    """A conversation and its messages so far. The guard reads the other fields itself: `trigger` and `messageId` say
    that a question was edited, or is to be answered again."""

    id: str
    messages: Annotated[list[Message], Field(min_length=1)]
    over_quota: Annotated[bool, Field(alias="overQuota")] = False
    """The page's button "Over quota": ask for more tokens than any day has."""

    @property
    def question(self) -> Message:
        return next((message for message in reversed(self.messages) if message.role == "user"), Message(role="user"))
