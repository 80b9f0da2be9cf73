"""Stores by the scheme of their URL: our own, and those of other installed packages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from streamguard import ConfigurationError, Settings, StreamGuard
from streamguard.quota import Quota
from streamguard.stores import StreamStore, make_store
from streamguard.stores.memory import MemoryStore
from streamguard.stores.redis import RedisStore
from streamguard.stores.schemes import GROUP, factory_of, own_schemes, redis_schemes
from tests.harness.packages import ARCHIVE, install
from tests.web.serving import user_of

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
SETTINGS = Settings(namespace="mine")

Installed = Callable[..., None]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    """Installs a package that brings stores: `installed(package, {scheme: factory}, source)`."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def put(package: str, stores: dict[str, str], source: str = "", **how: Any) -> None:
        monkeypatch.delitem(sys.modules, package.replace("-", "_"), raising=False)
        install(site, package, stores, source, **how)

    return put


def test_our_own_stores_are_declared_like_those_of_others() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    assert tuple(declared) == own_schemes(), "pyproject.toml and schemes.py name the same ones, in one order"
    urls = {"memory": "memory://", "unix": "unix:///h"}
    urls = {one: urls.get(one, f"{one}://h" + "/service" * one.endswith("sentinel")) for one in declared}
    kinds = {scheme: type(factory_of(url)(url, SETTINGS)) for scheme, url in urls.items()}
    assert kinds == {scheme: MemoryStore if scheme == "memory" else RedisStore for scheme in declared}
    assert redis_schemes() == tuple(scheme for scheme, kind in kinds.items() if kind is RedisStore)
    for scheme, factory in declared.items():
        module, _, name = factory.partition(":")
        assert getattr(import_module(module), name)(urls[scheme], SETTINGS).shared is (scheme != "memory")


@pytest.mark.processes
async def test_a_guard_in_another_process_runs_on_a_store_of_another_package(
    installed: Installed, tmp_path: Path, redis_url: str
) -> None:
    installed("streamguard-archive", {"archive": "streamguard_archive:archive_store"}, ARCHIVE, with_pip=True)
    script = dedent(
        """
        import asyncio, json, sys
        from starlette.applications import Starlette
        from starlette.routing import Route
        from streamguard import StreamGuard
        from streamguard.testing import GuardedApp

        seen = []
        guard = StreamGuard(
            sys.argv[1], authenticate=lambda connection: "ann", observers=(lambda seen_: seen.append(seen_.name),)
        )

        @guard.stream("request.query_params.id")
        async def chat(request):
            yield "from the archive"

        app = Starlette(routes=[Route("/api/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
        guard.install(app, "/api/chat")

        async def main():
            async with GuardedApp(app, guard) as ann:
                answer = await ann.post({}, path="/api/chat?id=s")
                await answer.rest()
                await ann.ended(answer)
                again = await ann.resume("s")
                await again.rest()
                store = guard._running().store.inner
                print(json.dumps([type(store).__qualname__, store.__module__, answer.text, again.text, seen[0]]))

        asyncio.run(main())
        """
    )
    url = redis_url.replace("redis://", "archive://", 1)
    env = {"PYTHONPATH": f"{tmp_path / 'site'}:{ROOT / 'src'}", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", script, url],
        capture_output=True,
        text=True,
        timeout=60,
        env=env,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        "ArchiveStore",
        "streamguard_archive",
        "from the archive",
        "from the archive",
        "streamguard.stream_opened",
    ]


def test_a_factory_is_given_the_url_and_the_settings(installed: Installed) -> None:
    source = """
        from streamguard.stores.memory import MemoryStore

        def make(url, settings):
            store = MemoryStore()
            store.made_of = (url, settings.namespace)
            return store
    """
    installed("given-store", {"given": "given_store:make"}, dedent(source))
    for url in ("given://h/p", "given+tls://h/p"):
        assert make_store(url, SETTINGS).made_of == (url, "mine")  # type: ignore[attr-defined]


def test_a_scheme_that_nobody_has_lists_those_that_are_known(installed: Installed) -> None:
    first = [f"{scheme}://" for scheme in own_schemes()]
    last = first.pop()
    known = re.escape(f"a store's URL begins with {', '.join(first)} or {last}")
    with pytest.raises(ConfigurationError, match=f"^{known}$"):
        StreamGuard("archive://ann:hunter2@h", authenticate=user_of)
    installed("other-stores", {"archive": "other_stores:one", "vault": "other_stores:two"})
    with pytest.raises(ConfigurationError, match=rf"{re.escape(last)}, archive:// or vault://$") as error:
        StreamGuard("chest://ann:hunter2@h", authenticate=user_of)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("nowhere:make", "cannot be loaded from nowhere:make: ModuleNotFoundError"),
        ("broken_store:nothing", "cannot be loaded from broken_store:nothing: AttributeError"),
        ("broken_store:NUMBER", "broken_store:NUMBER is not callable"),
        ("broken_store:none", "broken_store:none made a NoneType, which is no StreamLog"),
        ("broken_store:messages", "made a MemoryMessageStore, which is no StreamLog"),
        ("broken_store:no_arguments", "cannot be made: TypeError"),
        ("broken_store:fail", "cannot be made: RuntimeError: no driver"),
        ("broken_store:refuse", "cannot be made: an archive has a shelf"),
    ],
)
def test_a_broken_package_is_named(installed: Installed, factory: str, said: str) -> None:
    source = """
        from streamguard import ConfigurationError
        from streamguard.messages import MemoryMessageStore

        NUMBER = 1

        def none(url, settings):
            return None

        def messages(url, settings):
            return MemoryMessageStore()

        def no_arguments():
            pass

        def fail(url, settings):
            raise RuntimeError("no driver")

        def refuse(url, settings):
            raise ConfigurationError("an archive has a shelf")
    """
    installed("broken-store", {"broken": factory}, dedent(source))
    with pytest.raises(ConfigurationError) as error:
        StreamGuard("broken://h", authenticate=user_of)
    assert "broken:// from the package broken-store" in str(error.value)
    assert said in str(error.value)


def test_a_malformed_entry_point_is_named(installed: Installed) -> None:
    """The standard library loads it and fails. `importlib_metadata`, which takes over where a package imports it, reads
    no entry point at all then."""
    installed("broken-store", {"broken": "!"}, "")
    told = r"broken:// from the package broken-store cannot be loaded from !|packages cannot be read \(ValueError\)"
    with pytest.raises(ConfigurationError, match=told):
        StreamGuard("broken://h", authenticate=user_of)


def test_a_broken_package_hurts_no_other_scheme(installed: Installed) -> None:
    installed("broken-store", {"memory": "nowhere:make", "broken": "nowhere:make"})
    assert isinstance(make_store("memory://", SETTINGS), MemoryStore)


def test_a_scheme_of_two_packages_is_refused(installed: Installed) -> None:
    installed("first-store", {"archive": "first_store:make"})
    installed("second-store", {"archive": "second_store:make"})
    with pytest.raises(ConfigurationError, match="the package first-store and the package second-store"):
        make_store("archive://h", SETTINGS)


@pytest.mark.parametrize(
    "url",
    [
        "leaky://ann:hunter2@h/p",
        "leaky://hunter2@h",
        "leaky://ann:hunter%32@h",
        "leaky://ann:hunter2/@x@h",
        "leaky://h/p?token=hunter2",
    ],
)
@pytest.mark.parametrize("how", ["said", "caused", "during"])
def test_what_a_factory_says_is_withheld_if_it_has_credentials(
    installed: Installed, url: str, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = """
        from urllib.parse import unquote

        def said(url, settings):
            raise ValueError(f"bad url {unquote(url)}")

        def caused(url, settings):
            try:
                said(url, settings)
            except ValueError as exc:
                raise RuntimeError("no") from exc

        def during(url, settings):
            try:
                said(url, settings)
            except ValueError:
                raise RuntimeError("no")
    """
    installed("leaky-store", {"leaky": f"leaky_store:{how}"}, dedent(source))
    with pytest.raises(ConfigurationError, match="leaky-store cannot be made") as error:
        make_store(url, SETTINGS)
    sys.excepthook(type(error.value), error.value, error.value.__traceback__)
    assert "hunter" not in capsys.readouterr().err


def test_entry_points_that_cannot_be_read_are_told_of(installed: Installed) -> None:
    installed("torn-store", {}, entry_points="[streamguard.stores]\nno equals sign\n")
    with pytest.raises(ConfigurationError, match="entry points of the installed packages cannot be read"):
        make_store("archive://h", SETTINGS)
    assert isinstance(make_store("redis://h", SETTINGS), RedisStore)


@pytest.fixture
def counting(installed: Installed) -> dict[str, StreamGuard]:
    """Guards with a quota, on stores of which one brings a quota store."""
    source = """
        from streamguard.quota import MemoryQuotaStore
        from streamguard.testing import FaultyStore
        from streamguard.stores.memory import MemoryStore

        class Counting(FaultyStore):
            quotas = MemoryQuotaStore()

            def new_quota_store(self):
                return self.quotas

        def counting(url, settings):
            return Counting(MemoryStore())

        def other(url, settings):
            return FaultyStore(MemoryStore())
    """
    installed("quota-store", {"counting": "quota_store:counting", "other": "quota_store:other"}, dedent(source))
    guards = {url: StreamGuard(url, authenticate=user_of) for url in ("counting://", "other://")}
    for guard in guards.values():
        guard.stream(quota=Quota(1, "day", "requests"))(chat)
    return guards


async def test_a_store_may_bring_a_quota_store(counting: dict[str, StreamGuard]) -> None:
    async with counting["counting://"] as guard:
        assert guard._running().reservations.store is sys.modules["quota_store"].Counting.quotas
    with pytest.raises(ConfigurationError, match="quota="):
        await counting["other://"].__aenter__()


async def chat() -> object:
    yield "text"


def test_a_store_is_a_type_to_write_factories_by() -> None:
    assert issubclass(MemoryStore, StreamStore)
