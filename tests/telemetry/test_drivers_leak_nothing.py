"""What real databases say when they refuse, a Redis that does not let us in, and clients of providers: all of it quotes
passwords, statements, rows or prompts, and none of it gets out."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import socket
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from streamguard import Run, Signal, StreamGuardError
from streamguard.messages import RedisMessageStore
from streamguard.messages.sql import SQLMessageStore
from streamguard.stores import RedisClient
from streamguard.stores.redis import RedisStore
from tests.harness.mariadb import MariaDBServer
from tests.harness.postgres import PostgresServer
from tests.harness.redis import RedisServer
from tests.messages.sql.places import Place, fresh_tables

from .faults import CANARIES, Application, Stage
from .faults.watched import Watched, watching

pytestmark = [pytest.mark.anyio, pytest.mark.long]

PASSWORD: Final = CANARIES.password


@pytest.fixture(scope="module", autouse=True)
def _imported() -> None:
    """As a host's process has it before its loop runs."""
    for name in ("asyncpg", "asyncmy.errors", "sqlalchemy.dialects.mysql.asyncmy", "openai", "anthropic.types"):
        importlib.import_module(name)


def nowhere() -> int:
    """A port where nothing listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextmanager
def looked_through(*, configured: bool = True) -> Iterator[tuple[Stage, Watched]]:
    """A stage of which nothing may leak."""
    with watching(configured=configured) as watched:
        stage = Stage(CANARIES, ())
        yield stage, watched
        watched.note("observations", *map(repr, stage.told.observations))
        watched.note("faults", *(repr(fault.as_dict()) for answer in stage.answers for fault in answer.faults))
        watched.note_errors(one.error for one in stage.told.observations if one.error is not None)
    assert watched.leaks(CANARIES) == []


async def asked(stage: Stage, *signals: Signal, **options: Any) -> None:
    """An answer whose message is to be saved, until these signals were seen."""
    app = stage.application(
        **{"max_outbox_attempts": 1, "save_total_seconds": 5.0, "save_visible_seconds": 2.0, **options}
    )
    async with app.running() as chat:
        await stage.ask(app, chat, whole=True)
        for signal in signals:
            await stage.told.of(signal)


def causes_of(stage: Stage, signal: Signal) -> str:
    """What the exceptions behind these facts say, as Python would print them."""
    errors = [one.error for one in stage.told.observations if one.name is signal and one.error is not None]
    return "".join("".join(traceback.format_exception(error)) for error in errors)


# -- databases ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def password_asked(postgres_server: PostgresServer) -> Iterator[None]:
    """The server asks the user `app` for a password."""
    path = Path(postgres_server.directory, "data", "pg_hba.conf")
    before = path.read_text()
    path.write_text(f"host all app 127.0.0.1/32 scram-sha-256\n{before}")
    yield
    path.write_text(before)


async def told_to_reload(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await connection.execute(sqlalchemy.text("SELECT pg_reload_conf()"))
    await engine.dispose()


@pytest.mark.usefixtures("password_asked")
async def test_postgres_refuses_a_password(postgres_server: PostgresServer) -> None:
    await told_to_reload(create_async_engine(postgres_server.url()))
    url = f"postgresql+asyncpg://app:{PASSWORD}@127.0.0.1:{postgres_server.port}/postgres?ssl=disable"
    with looked_through() as (stage, watched):
        await asked(stage, Signal.SAVE_FAILED, messages=SQLMessageStore(url))
        assert "InvalidPasswordError" in causes_of(stage, Signal.SAVE_FAILED)
        await shown_directly(SQLMessageStore(url), watched)


@pytest.mark.parametrize("scheme", ["postgresql+asyncpg", "mysql+asyncmy"])
async def test_a_database_that_is_away(scheme: str) -> None:
    options = "?ssl=disable" if scheme.startswith("postgresql") else ""  # else asyncpg looks for certificates
    url = f"{scheme}://app:{PASSWORD}@127.0.0.1:{nowhere()}/chat{options}"
    with looked_through(configured=False) as (stage, watched):
        await asked(stage, Signal.SAVE_FAILED, messages=SQLMessageStore(url))
        await shown_directly(SQLMessageStore(url), watched)


async def test_mariadb_has_no_such_database(mariadb_server: MariaDBServer) -> None:
    """Its answer names what was asked for."""
    url = f"mysql+asyncmy://app:{PASSWORD}@127.0.0.1:{mariadb_server.port}/{CANARIES.database}"
    with looked_through() as (stage, watched):
        await asked(stage, Signal.SAVE_FAILED, messages=SQLMessageStore(url))
        assert CANARIES.database in await shown_directly(SQLMessageStore(url), watched)


async def shown_directly(store: SQLMessageStore, watched: Watched) -> str:
    """Note what a host sees that uses the store itself. Returns the whole traceback, drivers and all."""
    with pytest.raises(StreamGuardError) as raised:
        await store.create_tables()
    watched.note_errors([raised.value])
    watched.note("reprs", repr(store), str(store))
    await store.aclose()
    return "".join(traceback.format_exception(raised.value))


REFUSE: Final = """
    CREATE FUNCTION {0}refuse() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'no: %', NEW.content; END $$
    LANGUAGE plpgsql
"""
ASK: Final = "CREATE TRIGGER {0}refuse BEFORE INSERT ON {0}messages FOR EACH ROW EXECUTE FUNCTION {0}refuse()"
REFUSE_IN_MARIADB: Final = """
    CREATE TRIGGER {0}refuse BEFORE INSERT ON {0}messages FOR EACH ROW
    BEGIN SET @text = LEFT(NEW.content, 120); SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = @text; END
"""
REFUSING: Final = {"postgresql": [REFUSE, ASK], "mysql": [REFUSE_IN_MARIADB]}
"""A trigger that says what it was given."""
CHECKED: Final = "ALTER TABLE {0}messages ADD CONSTRAINT {0}short CHECK (length(content) < 20)"
"""A constraint: PostgreSQL then shows the row."""


async def changed(place: Place, *statements: str) -> None:
    async with place.engine.begin() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement.format(place.prefix))


@pytest.mark.parametrize("hosts_engine", [False, True], ids=["url", "engine"])
@pytest.mark.parametrize("how", ["trigger", "constraint"])
@pytest.mark.parametrize("server", ["postgres_server", "mariadb_server"])
async def test_a_database_that_refuses_a_row(
    server: str, how: str, *, hosts_engine: bool, request: pytest.FixtureRequest
) -> None:
    """Its answer has the row; SQLAlchemy's exception has the statement and its parameters."""
    url = request.getfixturevalue(server).url()
    async with Place(url, fresh_tables()) as place:
        dialect = place.engine.dialect.name
        await changed(place, *([CHECKED] if how == "constraint" else REFUSING[dialect]))
        messages = await place.store(place.engine if hosts_engine else None)
        with looked_through(configured=hosts_engine) as (stage, _):
            await asked(stage, Signal.SAVE_FAILED, Signal.SAVE_BURIED, messages=messages)
            if dialect == "postgresql" or how == "trigger":
                assert CANARIES.found_in(causes_of(stage, Signal.SAVE_FAILED)), "the exceptions do have it"
        if dialect == "postgresql" and how == "trigger":
            await changed(place, "DROP TRIGGER {0}refuse ON {0}messages", "DROP FUNCTION {0}refuse()")


async def test_a_hosts_own_statement_that_is_refused(postgres_server: PostgresServer) -> None:
    """`DETAIL: Key (text)=(…) already exists`, from asyncpg without SQLAlchemy."""
    asyncpg = importlib.import_module("asyncpg")
    dsn = postgres_server.url().replace("+asyncpg", "").replace("?ssl=disable", "")

    async def save(message: Any) -> None:
        connection = await asyncpg.connect(dsn, ssl=False)
        try:
            await connection.execute("CREATE TEMP TABLE kept (text text PRIMARY KEY)")
            for _ in range(2):
                await connection.execute("INSERT INTO kept VALUES ($1)", str(message.message.parts))
        finally:
            await connection.close()

    with looked_through() as (stage, _):
        await asked(stage, Signal.SAVE_BURIED, messages=save)
        told = causes_of(stage, Signal.SAVE_FAILED) + causes_of(stage, Signal.SAVE_BURIED)
        assert "DETAIL:  Key (text)=(" in told
        assert CANARIES.found_in(told)


async def test_an_engine_of_ours_tells_its_logger_no_parameters(postgres_server: PostgresServer) -> None:
    """SQLAlchemy logs statements at INFO, with their parameters unless told not to."""
    async with Place(postgres_server.url(), fresh_tables()) as place:
        with looked_through() as (stage, watched):
            logging.getLogger("sqlalchemy.engine").setLevel(logging.INFO)
            messages = await place.store()
            await asked(stage, Signal.REPLY_SAVED, messages=messages)
            logging.getLogger("sqlalchemy.engine").setLevel(logging.NOTSET)
            watched.gather()
            assert any("INSERT INTO" in text for text in watched.texts["logging"])


# -- Redis -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def locked(own_redis: Callable[..., RedisServer]) -> RedisServer:
    """A Redis with an account `app` that may do little, and one that may do all."""
    server = own_redis()
    client = server.client()
    words = ("ACL", "SETUSER", "app", "on", f">{PASSWORD}", "~other:*", "+ping", "+info", "+auth")
    client.execute_command(*words)  # type: ignore[no-untyped-call] # redis-py
    client.close()
    return server


@pytest.mark.parametrize("login", ["wrong", "narrow", "nobody"])
async def test_a_redis_that_does_not_let_us_in(locked: RedisServer, login: str) -> None:
    names = {"wrong": f"app:{CANARIES.cause}{PASSWORD}@", "narrow": f"app:{PASSWORD}@", "nobody": f":{PASSWORD}@"}
    url = f"redis://{names[login]}127.0.0.1:{locked.port}/0"
    with looked_through() as (stage, watched):
        store = RedisStore(url)
        watched.note("reprs", repr(store), str(store))
        app = stage.application(store=store)
        async with app.running() as chat:
            await (await stage.ask(app, chat)).read(2)
            refused = stage.keep(await chat.resume("conversation"))
            assert refused.status == 503
    with looked_through(configured=False) as (stage, watched):
        async with RedisClient(url) as client:
            watched.note("reprs", repr(client), client.server)
            await asked(stage, Signal.SAVE_FAILED, messages=RedisMessageStore(client, ttl_seconds=60.0))


# -- providers ---------------------------------------------------------------------------------------------------------

REFUSAL: Final = {
    "error": {
        "type": "invalid_request_error",
        "message": f"cannot answer {CANARIES.prompt} for key {CANARIES.authorization}",
        "code": CANARIES.provider,
        "param": CANARIES.tool_arguments,
    }
}


class Provider:
    """A server that answers every request alike."""

    def __init__(self, status: int, body: bytes, content_type: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("X-Request-Id", CANARIES.provider)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """Not to standard error."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


Client = Callable[[str], AsyncIterator[object]]


async def of_openai(url: str) -> AsyncIterator[object]:
    from openai import AsyncOpenAI  # noqa: PLC0415 -- takes a second

    make = partial(AsyncOpenAI, api_key=CANARIES.authorization, max_retries=0, base_url=url)
    async with await asyncio.to_thread(make) as client:  # it reads files
        stream = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": CANARIES.prompt}], stream=True
        )
        async for chunk in stream:
            yield chunk.choices[0].delta.content or ""


async def of_anthropic(url: str) -> AsyncIterator[object]:
    from anthropic import AsyncAnthropic  # noqa: PLC0415 -- takes a second
    from anthropic.types import MessageParam  # noqa: PLC0415 -- as above

    prompt: list[MessageParam] = [{"role": "user", "content": CANARIES.prompt}]
    make = partial(AsyncAnthropic, api_key=CANARIES.authorization, max_retries=0, base_url=url)
    async with await asyncio.to_thread(make) as client:  # as above
        async for event in await client.messages.create(model="m", max_tokens=9, messages=prompt, stream=True):
            yield {"type": "data-x", "data": event.type}


async def of_httpx(url: str) -> AsyncIterator[object]:
    async with httpx.AsyncClient(auth=("app", PASSWORD)) as client:
        answer = await client.post(f"{url}?key={CANARIES.query}", json={"prompt": CANARIES.prompt})
        answer.raise_for_status()  # its text has the URL
        yield answer.json()["text"]


@pytest.mark.parametrize("status", [401, 500, 200, None])
@pytest.mark.parametrize("client", [of_openai, of_anthropic, of_httpx], ids=lambda client: client.__name__)
async def test_a_client_of_a_provider(client: Client, status: int | None) -> None:
    """`None`: nobody answers. 200: an answer that breaks off in the middle of its text."""
    if status == 200:
        server = Provider(200, f'data: {{"text": "{CANARIES.provider}\n\n'.encode(), "text/event-stream")
    else:
        server = Provider(status or 200, json.dumps(REFUSAL).encode(), "application/json")
    if status is None:
        server.close()

    async def script(app: Application, run: Run) -> AsyncIterator[object]:
        async for item in client(server.url):
            yield item

    try:
        with looked_through(configured=status != 401) as (stage, _):
            app = stage.application(script=script)
            async with app.running() as chat:
                answer = await stage.ask(app, chat, whole=True)
            assert answer.faults or status == 200
            told = causes_of(stage, Signal.FAULT)
            if status in (401, 500) and client is not of_httpx:
                assert CANARIES.prompt in told, "the exception does have it"
    finally:
        if status is not None:
            server.close()
