"""Arguments, exit statuses, and that no credential is ever repeated."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamguard import Settings, cli
from streamguard.cli.app import app
from streamguard.cli.exits import ExitCode, failure_of
from streamguard.cli.options import place_of
from streamguard.errors import (
    ConfigurationError,
    QuotaInvalidError,
    QuotaUnavailableError,
    StoreFormatError,
    StoreUnavailableError,
    StreamGuardError,
)
from streamguard.stores import StreamLog, schemes

from ..harness.ports import free_port
from ..harness.redis import RedisServer
from ..stores.archive import Archive
from .running import ROOT, administer, ran

STREAM = "0" * 24

COMMANDS = {
    "doctor": ["doctor", "URL"],
    "ps": ["ps", "URL"],
    "ps --watch": ["ps", "URL", "--watch"],
    "show": ["show", "URL", "c1", "--owner", "ann"],
    "stop": ["stop", "URL", "c1", "--owner", "ann"],
    "outbox list": ["outbox", "list", "URL"],
    "outbox show": ["outbox", "show", "URL", STREAM],
    "outbox replay": ["outbox", "replay", "URL", STREAM],
    "outbox discard": ["outbox", "discard", "URL", STREAM, "--yes"],
    "quota show": ["quota", "show", "URL", "--owner", "ann"],
    "quota release": ["quota", "release", "URL", STREAM, "--owner", "ann", "--yes"],
}
"""Each command that takes a URL, and how it is called."""


def at(url: str, command: str, *more: str) -> list[str]:
    return [url if word == "URL" else word for word in COMMANDS[command]] + list(more)


def called(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments), env=env)
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_so_when_the_store_is_away(command: str) -> None:
    url = f"redis://ann:hunter2@127.0.0.1:{free_port()}/0"
    code, out, err = called(*at(url, command))
    assert code == ExitCode.UNREACHABLE
    assert "127.0.0.1" in out or "Redis could not be used" in err
    code, out, _ = called(*at(url, command, "--json"))
    assert code == ExitCode.UNREACHABLE
    shape = json.loads(out)
    assert command == "doctor" or shape["error"]["code"] == "store_unreachable"
    assert "hunter2" not in out + err


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://h/", "a Redis URL begins with"),
        ("redis://ann:hunter2@h:port/0", "cannot be read"),
        ("memory://", "in their own process"),
        ("-", "no URL in $STREAMGUARD_URL"),
    ],
)
def test_every_command_refuses_a_url_it_cannot_use(command: str, url: str, says: str) -> None:
    code, out, err = called(*at(url, command), env={"STREAMGUARD_URL": ""})
    assert (code, out) == (ExitCode.USAGE, "")
    assert says in err
    assert "hunter2" not in err
    code, out, err = called(*at(url, command, "--json"), env={"STREAMGUARD_URL": ""})
    assert (code, err) == (ExitCode.USAGE, "")
    assert json.loads(out)["error"]["code"] == "usage"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_namespace_is_checked(command: str) -> None:
    code, _, err = called(*at("redis://h", command, "--namespace", "a:*"))
    assert code == ExitCode.USAGE
    assert "a namespace has" in err


def test_the_url_may_be_in_the_environment(redis_url: str) -> None:
    code, out, _ = called("ps", "-", env={"STREAMGUARD_URL": redis_url})
    assert code == 0
    assert "no active streams" in out


@pytest.mark.parametrize("stream", ["", "x", "0" * 23, "0" * 25, "A" * 24, "\x1b[31m"])
def test_what_is_no_stream_id_is_refused(stream: str, redis_url: str) -> None:
    for command in ("show", "replay", "discard"):
        code, _, err = called("outbox", command, redis_url, stream)
        assert code == ExitCode.USAGE
        assert "24 digits" in err
    code, _, err = called("quota", "release", redis_url, stream, "--owner", "ann")
    assert code == ExitCode.USAGE


def test_replay_and_discard_want_streams_or_all(redis_url: str) -> None:
    for command in ("replay", "discard"):
        for more in ([], [STREAM, "--all"]):
            code, _, err = called("outbox", command, redis_url, *more)
            assert code == ExitCode.USAGE
            assert "--all" in err


def test_wrong_arguments_are_told_of_without_their_credentials() -> None:
    for arguments in (["ps", "redis://h", "redis://ann:hunter/2@h/0"], ["redis://ann:hunter/2@h/0"]):
        done = ran(*arguments)
        assert (done.code, done.out) == (ExitCode.USAGE, "")
        assert "hunter" not in done.err
        assert "redis://…@h/0" in done.err


def test_the_credentials_of_a_url_that_works_are_not_repeated(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    administer(server, "ACL", "SETUSER", "ann", "on", ">hunter2", "~*", "&*", "+@all")
    url = f"redis://ann:hunter2@127.0.0.1:{server.port}"
    for command in COMMANDS:
        if command != "ps --watch":
            for more in ([], ["--json"]):
                _, out, err = called(*at(url, command, *more))
                assert "hunter2" not in out + err
                assert "ann:" not in out + err


def test_the_version_is_told() -> None:
    code, out, _ = called("--version")
    assert code == 0
    assert out.startswith("streamguard 0.")


def test_help_names_every_command_and_status() -> None:
    code, out, _ = called("--help")
    assert code == 0
    for word in ("doctor", "ps", "show", "stop", "reconcile", "outbox", "quota", "0 fine", "5 the store"):
        assert word in out
    assert ran().code == ExitCode.USAGE


@pytest.mark.parametrize("module", ["typer", "rich"])
def test_a_missing_extra_is_named(module: str) -> None:
    script = f"import sys; sys.modules[{module!r}] = None; from streamguard.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, cwd=ROOT)
    assert done.returncode == ExitCode.USAGE
    assert done.stderr == "streamguard: the command line needs more packages: pip install 'streamguard-asgi[cli]'\n"


def test_another_missing_module_is_no_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "streamguard.cli.app")
    monkeypatch.setitem(sys.modules, "streamguard.cli.doctor", None)
    monkeypatch.delattr(cli, "doctor")
    with pytest.raises(ImportError, match="doctor"):
        cli.main()


@pytest.mark.parametrize(
    ("error", "code", "name"),
    [
        (ConfigurationError("x"), ExitCode.USAGE, "usage"),
        (StoreUnavailableError("x", operation="x"), ExitCode.UNREACHABLE, "store_unreachable"),
        (StoreFormatError("x", operation="x"), ExitCode.UNREADABLE, "unreadable"),
        (QuotaInvalidError("x", operation="x"), ExitCode.USAGE, "usage"),
        (QuotaUnavailableError("x", operation="x"), ExitCode.UNREACHABLE, "store_unreachable"),
        (StreamGuardError("x"), ExitCode.PROBLEMS, "failed"),
    ],
)
def test_errors_become_statuses(error: StreamGuardError, code: ExitCode, name: str) -> None:
    failure = failure_of(error)
    assert (failure.code, failure.name, failure.message) == (code, name, "x")


def shelf_store(url: str, settings: Settings, /) -> StreamLog:
    """What makes the store of `shelf://`."""
    return Archive(Path(url.removeprefix("shelf://")))


def test_a_store_of_ours_need_not_be_a_redis(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(schemes._OWN, "shelf", EntryPoint("shelf", f"{__name__}:shelf_store", schemes.GROUP))
    place = place_of(f"shelf://{tmp_path}", "ns", 1.0)
    assert (place.is_redis, place.name) == (False, "shelf://")
    listed = CliRunner().invoke(app, ["ps", f"shelf://{tmp_path}"])
    assert listed.exit_code == ExitCode.USAGE
    assert "shelf:// cannot list streams: Archive has no Inspection" in listed.output
