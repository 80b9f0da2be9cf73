"""Misuses of `@guard.stream`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, NamedTuple, TypedDict

from fastapi import APIRouter, FastAPI
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from streamguard import Run, StreamGuard
from streamguard.messages import MemoryMessageStore
from streamguard.quota import Quota
from streamguard.web.misuse import Misuse

from ...harness.versions import skip_before
from ..serving import make_guard
from .sites import ID, Body, asked, named, row, said, said_when, site, told_of_requests, visiting

__all__: list[str] = []


class Chat(BaseModel):
    id: str


class Nested(BaseModel):
    chat: Chat | None = None
    chat_id: str = Field(alias="chatId")


class Typed(TypedDict, total=False):
    id: str


@dataclass
class Data:
    chat: Typed
    id: str


class Tuple(NamedTuple):
    data: Data


def decorated(annotation: Any, **options: Any) -> str:
    async def chat(body: Any) -> AsyncIterator[str]:
        yield "word"

    chat.__annotations__["body"] = annotation
    return said(lambda: make_guard().stream(**options)(named(chat)))


@row(Misuse.NO_SUCH_FIELD)
def a_model_without_the_field() -> str:
    return decorated(Body, session="body.chat_id")


_NO_FIELD: Final = "{} of app:chat would be None for every request: {}"


@row(Misuse.NO_SUCH_FIELD, _NO_FIELD.format("session='body.chat.key'", "Chat has no field 'key'; its fields are: id"))
def a_nested_model_without_it() -> str:
    return decorated(Nested, session="body.chat.key")


@row(
    Misuse.NO_SUCH_FIELD,
    _NO_FIELD.format("session='body.chatId'", "'chatId' is only how clients write the field 'chat_id' of Nested"),
)
def the_name_that_clients_use() -> str:
    return decorated(Nested, session="body.chatId")


@row(Misuse.NO_SUCH_FIELD, _NO_FIELD.format("session='body.key'", "Data has no field 'key'; its fields are: chat, id"))
def a_dataclass() -> str:
    return decorated(Data, session="body.key")


@row(Misuse.NO_SUCH_FIELD, _NO_FIELD.format("session='body.key'", "Typed has no field 'key'; its fields are: id"))
def a_typed_dictionary() -> str:
    return decorated(Typed | None, session="body.key")


@row(
    Misuse.NO_SUCH_FIELD,
    _NO_FIELD.format("session='body.data.chat.key'", "Typed has no field 'key'; its fields are: id"),
)
def a_dictionary_in_a_dataclass_in_a_named_tuple() -> str:
    return decorated(Annotated[Tuple, "the body"], session="body.data.chat.key")


@row(Misuse.NO_SUCH_FIELD, _NO_FIELD.format("session='body.id'", "str has no field 'id'"))
def a_parameter_that_is_the_id_itself() -> str:
    return decorated(str, session=ID)


@row(
    Misuse.NO_SUCH_FIELD,
    _NO_FIELD.format("message_id='body.reply'", "Body has no field 'reply'; its fields are: id, messages"),
)
def the_message_ids_selector() -> str:
    return decorated(Body, message_id="body.reply")


@row(
    Misuse.NO_SUCH_FIELD,
    _NO_FIELD.format("estimate='body.tokens'", "Body has no field 'tokens'; its fields are: id, messages"),
)
def the_estimates_selector() -> str:
    return decorated(Body, quota=Quota(10, "day", "tokens"), estimate="body.tokens")


@row(Misuse.NO_SUCH_PARAMETER)
def a_selector_without_its_parameter() -> str:
    return decorated(Body, session="chat.id")


@row(Misuse.SELECTED_NONE)
async def a_client_that_sends_no_id() -> str:
    guard = make_guard()
    return await told_of_requests(site(guard), guard, id_=None)


@row(
    Misuse.SELECTED_NONE,
    "session='request.query_params.id' of app:chat was None for a request, which got a session of its own: a client "
    "that does not read X-Session-Id cannot come back to its answer. Have clients send the id. If requests without one "
    "are meant, say so with a function: session=lambda request: …",
)
async def a_query_without_the_parameter() -> str:
    guard = make_guard()

    @guard.stream("request.query_params.id")
    @named
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "word"

    app = Starlette(routes=[Route("/api/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    return await told_of_requests(app, guard)


def swapped(app: FastAPI | APIRouter, guard: StreamGuard) -> None:
    skip_before("fastapi", "0.134", "refuses such an endpoint itself")

    @guard.stream(session=ID)
    @app.post("/api/chat")
    @named
    async def chat(body: Body) -> AsyncIterator[str]:
        yield "word"


@row(Misuse.SSE_RESPONSE_CLASS)
def fastapis_response_class_on_another_librarys_route() -> str:
    skip_before("fastapi", "0.135", "has no SSE of its own")
    from fastapi.sse import EventSourceResponse  # noqa: PLC0415 -- which earlier versions lack

    class OtherRoute(Route):
        response_class = EventSourceResponse

    @named
    async def chat() -> AsyncIterator[str]:
        yield "word"

    guard, app = make_guard(), FastAPI()
    app.router.routes.append(OtherRoute("/api/chat", guard.stream()(chat), methods=["POST"]))
    return said(lambda: guard.install(app, "/api/chat"))


def whole(guard: StreamGuard, answer: Response, **options: Any) -> FastAPI:
    app = FastAPI(lifespan=guard.lifespan)

    @app.post("/api/chat")
    @guard.stream(ID, **options)
    @named
    async def chat(body: Body) -> Response:
        return answer

    guard.install(app, "/api/chat")
    return app


@row(Misuse.WHOLE_ANSWER)
async def json_past_a_quota() -> str:
    guard = make_guard()
    app = whole(guard, JSONResponse({"answer": 1}), quota=Quota(limit=9, per="day", unit="requests"))
    return await told_of_requests(app, guard)


@row(Misuse.WHOLE_ANSWER)
async def json_that_is_not_saved() -> str:
    guard = make_guard()
    app = whole(guard, JSONResponse({"answer": 1}), save=MemoryMessageStore())
    return await told_of_requests(app, guard)


def nested(guard: StreamGuard, outer: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Starlette:
    @guard.stream()
    @named
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "word"

    app = Starlette(
        routes=[Route("/api/chat", guard.stream(protocol="opaque")(outer(chat)), methods=["POST"])],
        lifespan=guard.lifespan,
    )
    guard.install(app, "/api/chat")
    return app


def returns_anothers(inner: Callable[..., Any]) -> Callable[..., Any]:
    async def v2(request: Request) -> Response:
        answer: Response = await inner(request)
        return answer

    return v2


def returns_its_call(inner: Callable[..., Any]) -> Callable[..., Any]:
    def v2(request: Request) -> Any:
        return inner(request)

    return v2


def yields_anothers(inner: Callable[..., Any]) -> Callable[..., Any]:
    async def v2(request: Request) -> AsyncIterator[bytes]:
        yield (await inner(request)).body

    return v2


async def said_by_a_nested_one(outer: Callable[[Callable[..., Any]], Callable[..., Any]]) -> str:
    guard = make_guard()
    app = nested(guard, outer)
    async with guard:
        return await said_when(asked(app))


@row(Misuse.NESTED)
async def an_endpoint_that_returns_anothers_answer() -> str:
    return await said_by_a_nested_one(returns_anothers)


@row(Misuse.NESTED)
async def a_sync_endpoint_that_returns_anothers_call() -> str:
    return await said_by_a_nested_one(returns_its_call)


@row(Misuse.NESTED)
async def an_endpoint_that_yields_anothers_answer() -> str:
    return await said_by_a_nested_one(yields_anothers)


@row(Misuse.DECORATORS_SWAPPED)
def the_guards_decorator_above_the_applications() -> str:
    guard, app = make_guard(), FastAPI()
    swapped(app, guard)
    return said(lambda: guard.install(app, "/api/chat"))


@row(Misuse.DECORATORS_SWAPPED)
async def the_same_after_install() -> str:
    guard = make_guard()
    app = FastAPI(lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    swapped(app, guard)
    return await said_when(visiting(app, guard).__aenter__())


@row(Misuse.DECORATORS_SWAPPED)
async def the_same_on_a_router() -> str:
    guard, router = make_guard(), APIRouter()
    app = FastAPI(lifespan=guard.lifespan)
    swapped(router, guard)
    app.include_router(router)
    return await said_when(visiting(app, guard).__aenter__())


@row(Misuse.DECORATORS_SWAPPED)
def the_same_in_a_mounted_application() -> str:
    guard, app, sub = make_guard(), FastAPI(), FastAPI()
    swapped(sub, guard)
    app.mount("/api", Starlette(routes=[Mount("/chat", sub)]))
    text = said(lambda: guard.install(app, "/chat"))
    return text.replace("/api/chat/api/chat", "/api/chat")


@row(Misuse.DECORATORS_SWAPPED)
def a_route_of_the_function_itself() -> str:
    guard = make_guard()

    @named
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "word"

    guard.stream()(chat)
    app = Starlette(routes=[Route("/api/chat", chat, methods=["POST"])])
    return said(lambda: guard.install(app, "/api/chat"))


@row(Misuse.NO_PARENTHESES)
def a_generator_without_parentheses() -> str:
    @named
    async def chat(body: Body) -> AsyncIterator[str]:
        yield "word"

    return said(lambda: make_guard().stream(chat))


@row(Misuse.NO_PARENTHESES)
def a_sync_generator_without_them() -> str:
    @named
    def chat(body):  # type: ignore[no-untyped-def]
        yield "word"

    return said(lambda: make_guard().stream(chat))


@row(Misuse.NO_PARENTHESES)
def a_coroutine_that_takes_a_run() -> str:
    @named
    async def chat(body: Body, run: Run) -> object: ...

    return said(lambda: make_guard().stream(chat))


@row(Misuse.NO_PARENTHESES)
def a_coroutine_that_returns_a_response() -> str:
    @named
    async def chat(body: Body) -> StreamingResponse:
        return StreamingResponse(iter(()))

    return said(lambda: make_guard().stream(chat))


@row(Misuse.NO_PARENTHESES)
def a_coroutine_that_could_be_a_selector_too() -> str:
    @named
    async def chat(body):  # type: ignore[no-untyped-def]
        return StreamingResponse(iter(()))

    decorator = make_guard().stream(chat)
    texts = {
        said(lambda: FastAPI().post("/api/chat")(decorator)),
        said(lambda: Route("/api/chat", decorator)),
        said(lambda: decorator(Request({"type": "http"}))),  # type: ignore[arg-type]
    }
    (text,) = texts
    return text


@row(Misuse.NOT_APPLIED)
def a_decorator_without_a_function() -> str:
    decorator = make_guard().stream(ID)
    (text,) = {said(lambda: FastAPI().post("/api/chat")(decorator)), said(lambda: Route("/api/chat", decorator))}
    return text
