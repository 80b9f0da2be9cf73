"""`python -m streamguard.messages.sql`, and what is said when an extra is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import StaticPool

from streamguard.errors import ConfigurationError
from streamguard.messages.sql import SQLMessageStore
from streamguard.messages.sql.__main__ import main
from streamguard.testing._message_store.steps import opened

from .places import Place, fresh_tables

_WITHOUT = """
import sys
from streamguard.errors import ConfigurationError
import streamguard.messages.sql as sql
for line in sys.stdin:
    module, url = line.split()
    sys.modules[module] = None
    try:
        sql.SQLMessageStore(url)
    except ConfigurationError as exc:
        print(exc)
    del sys.modules[module]
"""


def test_tables_are_created_from_a_shell(sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert main(["create-tables", sqlite_url, "--prefix", "mine_"]) == 0
        assert capsys.readouterr().out == "mine_sessions, mine_messages and mine_branches are there\n"


def test_the_url_may_be_in_the_environment(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["create-tables"])
    assert "DATABASE_URL" in capsys.readouterr().err
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    assert main(["create-tables"]) == 0


@pytest.mark.anyio
async def test_sessions_that_have_ended_are_deleted_from_a_shell(
    sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Place(sqlite_url, fresh_tables()) as place:
        store = await place.store(ttl_seconds=60)
        for _ in range(3):
            await opened(store)
        await place.age(61)
        await opened(store)
        assert await anyio.to_thread.run_sync(main, ["delete-expired", sqlite_url, "--prefix", place.prefix]) == 0
        assert capsys.readouterr().out == "3 sessions deleted\n"


def test_what_the_database_says_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "messages.db"
    file.write_bytes(b"no database" * 1000)
    assert main(["create-tables", f"sqlite+aiosqlite:///{file}"]) == 1
    refused, advice = "the database refused (SQLITE_NOTADB)", "the code is the database's own; its log may say more"
    assert capsys.readouterr().err == f"error: create_tables: {refused}: {advice}\n"


@pytest.mark.processes
def test_a_missing_extra_is_named() -> None:
    missing = [
        ("sqlalchemy", "sqlite+aiosqlite:///x.db", "pip install 'streamguard-asgi[sql]'"),
        ("aiosqlite", "sqlite+aiosqlite:///x.db", "pip install 'streamguard-asgi[sqlite]'"),
        ("asyncpg", "postgresql+asyncpg://host/db", "pip install 'streamguard-asgi[postgresql]'"),
        ("asyncmy", "mysql+asyncmy://host/db", "pip install 'streamguard-asgi[mysql]'"),
        ("asyncmy", "mariadb+asyncmy://host/db", "pip install 'streamguard-asgi[mysql]'"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT],
        input="".join(f"{module} {url}\n" for module, url, _ in missing),
        capture_output=True,
        text=True,
        timeout=20,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(missing), done.stderr
    for line, (_, _, says) in zip(lines, missing, strict=True):
        assert says in line


def test_the_package_has_no_other_names() -> None:
    with pytest.raises(ImportError, match="nothing"):
        from streamguard.messages.sql import nothing  # type: ignore[attr-defined]  # noqa: F401, PLC0415


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://host/db", r"use postgresql\+asyncpg://, not postgresql://"),
        ("sqlite:///x.db", r"use sqlite\+aiosqlite://, not sqlite://"),
        ("mysql+pymysql://host/db", r"use mysql\+asyncmy://, not mysql\+pymysql://"),
        ("oracle+oracledb_async://host/db", "oracle is not supported"),
        ("hunter2", "no SQLAlchemy URL"),
        ("postgresql+asyncpg://user:hunter2@host:port/db", "no SQLAlchemy URL"),
        ("sqlite+aiosqlite://", "give SQLite a file, or use MemoryMessageStore"),
        ("sqlite+aiosqlite:///:memory:", "give SQLite a file"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_repeating_it(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        SQLMessageStore(url)
    assert "hunter2" not in str(caught.value)


def test_other_arguments_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="AsyncEngine or a URL"):
        SQLMessageStore(None)  # type: ignore[arg-type]
    for ttl_seconds, timeout_seconds in ((0.0, 1.0), (-1.0, 1.0), (None, 0.0), (None, -1.0)):
        with pytest.raises(ConfigurationError, match="positive"):
            SQLMessageStore("sqlite+aiosqlite:///x.db", ttl_seconds=ttl_seconds, timeout_seconds=timeout_seconds)
    engine = create_async_engine("sqlite+aiosqlite:///x.db", poolclass=StaticPool)
    with pytest.raises(ConfigurationError, match="one shared connection"):
        SQLMessageStore(engine)
