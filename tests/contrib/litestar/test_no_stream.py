"""A route handler that answers with no stream: nothing is left of the one that was registered for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from litestar import Response, post
from litestar.exceptions import HTTPException, NotFoundException
from litestar.response import Redirect

from streamguard import Signal
from streamguard.quota import Quota

from ...harness.litestar_markers import JSONBody
from .apps import ChatBody, plugin, visiting

pytestmark = pytest.mark.anyio

ONE = Quota(1, "day", "requests")


async def cached(data: JSONBody[ChatBody]) -> Response[dict[str, bool]]:
    return Response({"cached": True})


async def refused(data: JSONBody[ChatBody]) -> Response[dict[str, str]]:
    return Response({"detail": "no"}, status_code=422)


async def moved(data: JSONBody[ChatBody]) -> Redirect:
    return Redirect("/elsewhere")


async def not_found(data: JSONBody[ChatBody]) -> Response[None]:
    raise NotFoundException("no such chat")


async def unavailable(data: JSONBody[ChatBody]) -> Response[None]:
    raise HTTPException("later", status_code=503)


@pytest.mark.parametrize(
    ("handler", "status"), [(cached, 201), (refused, 422), (moved, 302), (not_found, 404), (unavailable, 503)]
)
async def test_nothing_is_left_of_it(handler: Any, status: int) -> None:
    streams = plugin()
    guarded = streams.stream(session="data.id", quota=ONE)(handler)
    async with visiting(streams, post("/api/chat")(guarded)) as chat:
        for _ in range(2):  # of a quota of one
            answer = await chat.post({"id": "c1"})
            assert answer.status == status
            assert "x-stream-id" not in answer.headers
            await chat.idle()
        left = json.loads((await chat.request("GET", "/api/chat/c1")).body)
        assert left["active"] is left["last"] is None
        assert (await chat.resume("c1")).headers["x-resume-reason"] == "none"
        names = [seen.name for seen in chat.observations]
    assert names.count(Signal.STREAM_WITHDRAWN) == 2
    assert not {Signal.FAULT, Signal.STREAM_ENDED} & set(names)
