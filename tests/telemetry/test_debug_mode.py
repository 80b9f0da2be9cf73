"""The development mode, the only one in which telemetry has the texts of exceptions."""

from __future__ import annotations

import pytest

from streamguard import ConfigurationError, Settings, Signal, StreamGuard
from streamguard.settings import ENVIRONMENTS
from tests.web.serving import user_of

from .faults import CANARIES, Canaries, Stage
from .faults.of_answers import failing
from .faults.watched import watching

pytestmark = pytest.mark.anyio


async def test_it_is_off_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAMGUARD_DEBUG", raising=False)
    with watching(configured=False) as watched:
        stage = Stage(CANARIES, ())
        app = stage.application(script=failing(lambda c: RuntimeError(c.bug)), debug=None)
        async with app.running() as chat:
            answer = await stage.ask(app, chat, whole=True)
    assert [fault.debug for fault in answer.faults] == [None]
    assert Signal.STORE_WARNING not in {one.name for one in stage.told.observations}
    assert watched.leaks(CANARIES) == []


async def test_it_says_so_and_is_the_only_exception() -> None:
    """Even then, Sentry gets no text."""
    with watching(configured=False) as watched:
        stage = Stage(CANARIES, ())
        app = stage.application(script=failing(lambda c: RuntimeError(c.bug)), debug=True)
        async with app.running() as chat:
            answer = await stage.ask(app, chat, whole=True)
            warned = await stage.told.of(Signal.STORE_WARNING)
    assert "debug mode" in str(warned.fields["warning"])
    assert [fault.debug is not None and CANARIES.bug in fault.debug for fault in answer.faults] == [True]
    assert any(CANARIES.bug in text for text in watched.texts["logging"])
    assert any("debug mode" in text for text in watched.texts["logging"])
    assert not any(CANARIES.bug in text for text in watched.texts["sentry"])


def quoting(canaries: Canaries) -> Exception:
    """An exception that says what the host's code was doing, and with what."""
    headers = {"authorization": f"Bearer {canaries.authorization}", "cookie": f"session={canaries.cookie}"}
    error = RuntimeError(f"{canaries.bug} at https://app:{canaries.password}@api.example/v1 with {headers}")
    error.__cause__ = OSError(f"redis://:{canaries.password}@host:6379/0?key={canaries.key} is away")
    return error


@pytest.mark.parametrize("configured", [False, True], ids=["stdlib", "structlog"])
async def test_even_then_passwords_and_headers_are_masked(*, configured: bool) -> None:
    with watching(configured=configured) as watched:
        stage = Stage(CANARIES, ())
        app = stage.application(script=failing(quoting), debug=True)
        async with app.running() as chat:
            answer = await stage.ask(app, chat, whole=True)
        watched.note("faults", *(repr(fault.as_dict()) for fault in answer.faults))
    assert "https://***@api.example/v1" in str(answer.faults[0].debug)
    logged = "\n".join(watched.texts["structlog" if configured else "logging"])
    assert f"RuntimeError: {CANARIES.bug} at https://***@api.example/v1" in logged
    assert "Traceback (most recent call last)" in logged
    assert {leak.split(": ")[1] for leak in watched.leaks(CANARIES)} == {"bug"}
    assert not any(leak.startswith("sentry") for leak in watched.leaks(CANARIES))


@pytest.mark.parametrize("name", ENVIRONMENTS)
@pytest.mark.parametrize("way", ["argument", "settings", "environment"])
def test_it_is_refused_in_production(name: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "Production")
    if way == "environment":
        monkeypatch.setenv("STREAMGUARD_DEBUG", "1")
    with pytest.raises(ConfigurationError, match=f"{name}=Production says that this is production"):
        StreamGuard(
            authenticate=user_of,
            debug=True if way == "argument" else None,
            settings=Settings(debug=way == "settings"),
        )
    StreamGuard(authenticate=user_of, debug=False)
