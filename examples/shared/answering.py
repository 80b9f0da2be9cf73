"""The chat itself: its guard, what an answer may cost, and the answer. The web framework is no matter here."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, cast

import model as scripted
from allowance import MORE_THAN_ANY_DAY, AllowanceStore
from chat_body import ChatBody
from chats import ChatStore
from openai import AsyncOpenAI
from surroundings import DAILY_TOKENS, DATABASE, GAP_SECONDS, METRICS, OWN, SETTINGS, URL, owner

from streamguard import Run, StreamGuard
from streamguard.quota import Quota
from streamguard.stores import make_store
from streamguard.values import SessionKey, StreamRef

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam

OPENAI_MODEL = os.environ.get("OPENAI_MODEL", "gpt-4o-mini")
OPENAI_TOKENS = 1_000  # what an answer of a real model is expected to have; one that has more is charged more
QUOTA = Quota(limit=DAILY_TOKENS, per="day", unit="tokens") if DAILY_TOKENS else False

openai = AsyncOpenAI() if os.environ.get("OPENAI_API_KEY") else None
allowance = AllowanceStore(URL, SETTINGS)
chats = ChatStore(DATABASE, away=OWN / "away")
store = make_store(URL, SETTINGS)
guard = StreamGuard(
    store,
    authenticate=owner,
    messages=chats,
    quota=allowance if DAILY_TOKENS else None,
    settings=SETTINGS,
    observers=(METRICS,),
)


def most(body: ChatBody) -> dict[str, int]:
    """How many tokens question and answer may be."""
    prompt = body.question.text
    if body.over_quota or scripted.is_refused(prompt):
        return {"tokens": MORE_THAN_ANY_DAY}
    if openai is None or scripted.is_command(prompt):
        return {"tokens": scripted.tokens_in(prompt) + scripted.most_tokens(prompt)}
    return {"tokens": sum(scripted.tokens_in(message.text) for message in body.messages) * 2 + OPENAI_TOKENS}


async def answer(body: ChatBody, run: Run) -> AsyncIterator[str]:
    """The model's answer to a conversation's last question, which is saved."""
    run.save(body.question)  # an edited one takes the old one's place; not awaited: the model need not wait for that
    prompt = body.question.text
    if DAILY_TOKENS and (milliseconds := scripted.settling_fails_ms(prompt)):
        ref = StreamRef(SessionKey(run.owner, run.session_id), run.stream_id)
        allowance.fail_settling(ref, milliseconds=milliseconds)
    if openai is None or scripted.is_command(prompt):
        run.usage(input_tokens=scripted.tokens_in(prompt))
        async for piece in scripted.answer(prompt, gap_seconds=GAP_SECONDS):
            run.usage(output_tokens=1)
            yield piece
        return
    messages = [{"role": message.role, "content": message.text} for message in body.messages]
    usage = None
    async with await openai.chat.completions.create(
        model=OPENAI_MODEL,
        messages=cast("list[ChatCompletionMessageParam]", messages),
        stream=True,
        stream_options={"include_usage": True},
    ) as chunks:
        async for chunk in chunks:
            usage = chunk.usage or usage  # the last one counts; without any, the estimate is charged
            if chunk.choices and (text := chunk.choices[0].delta.content):
                yield text
    if usage is not None:
        run.usage(input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens)
