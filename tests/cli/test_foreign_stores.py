"""The command line on a store that another package brings."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from textwrap import dedent

import pytest

from streamguard.cli.exits import ExitCode
from streamguard.stores.records import NewStream
from streamguard.stores.redis import RedisStore
from streamguard.values import SessionKey, StreamRef, new_message_id, new_stream_id
from tests.cli.running import Ran, ran
from tests.harness.packages import ARCHIVE, install

pytestmark = pytest.mark.processes

READ_ONLY = dedent(
    '''
    """A store that only reads, and has a password in what it says."""

    from streamguard import StoreUnavailableError
    from streamguard.stores import StreamLog
    from streamguard.stores.redis import RedisStore


    class Shelf(StreamLog):
        def __init__(self, url, settings):
            self._streams = RedisStore("redis" + url.removeprefix("shelf"), namespace=settings.namespace)
            self.server = url

        def session(self, key):
            if key.session_id == "broken":
                raise StoreUnavailableError(f"session: {self.server} is away", operation="session")
            return self._streams.session(key)

        def meta(self, ref):
            return self._streams.meta(ref)

        def check_position(self, ref, at):
            return self._streams.check_position(ref, at)

        def read(self, ref, after, *, max_bytes):
            return self._streams.read(ref, after, max_bytes=max_bytes)

        def subscribe(self, ref, on_hint, *, data=True):
            return self._streams.subscribe(ref, on_hint, data=data)

        async def aclose(self):
            await self._streams.aclose()
    '''
)
ALONE = dedent(
    """
    from streamguard.stores.memory import MemoryStore


    def alone(url, settings):
        return MemoryStore()
    """
)


class Shop:
    """A Redis that two packages reach in ways of their own, and a running stream in it."""

    def __init__(self, site: Path, redis_url: str) -> None:
        self._env = {"PYTHONPATH": f"{site}:{Path(__file__).parents[2]}"}
        self.urls = {scheme: redis_url.replace("redis://", f"{scheme}://", 1) for scheme in ("archive", "shelf")}
        self.stream_id = new_stream_id()
        asyncio.run(self._begin(redis_url))

    async def _begin(self, url: str) -> None:
        store = RedisStore(url, command_seconds=5)
        ref = StreamRef(SessionKey("ann", "s"), self.stream_id)
        new = NewStream(ref, new_message_id(), "ui-message", "shop:chat", "")
        await store.register(new, lease_seconds=60, ttl_seconds=600, limit=None)
        await store.aclose()

    def ran(self, *arguments: str, says: str = "") -> Ran:
        words = [self.urls.get(word.removesuffix("://"), word) for word in arguments]
        return ran(*words, env=self._env, says=says)


@pytest.fixture
def shop(tmp_path: Path, redis_url: str) -> Shop:
    site = tmp_path / "site"
    site.mkdir()
    install(site, "streamguard-archive", {"archive": "streamguard_archive:archive_store"}, ARCHIVE)
    install(site, "the-shelf", {"shelf": "the_shelf:Shelf"}, READ_ONLY)
    install(site, "alone", {"alone": "alone:alone"}, ALONE)
    return Shop(site, redis_url)


def test_every_command_works_on_a_store_that_has_all_roles(shop: Shop) -> None:
    listed = shop.ran("ps", "archive://", "--json")
    assert listed.code == ExitCode.OK
    assert [stream["stream_id"] for stream in listed.json["streams"]] == [shop.stream_id]
    shown = shop.ran("show", "archive://", "s", "--owner", "ann")
    assert shown.code == ExitCode.OK
    assert shop.stream_id in shown.out
    stopped = shop.ran("stop", "archive://", "s", "--owner", "ann", "--wait", "0")
    assert (stopped.code, stopped.err) == (ExitCode.PROBLEMS, "")
    assert "the stop is on record" in stopped.out
    owed = shop.ran("outbox", "list", "archive://", "--json")
    assert (owed.code, owed.json["entries"]) == (ExitCode.OK, [])
    assert shop.ran("outbox", "replay", "archive://", "--all").out == "0 replayed\n"


def test_doctor_examines_what_can_be_examined(shop: Shop) -> None:
    found = shop.ran("doctor", "archive://", "--json")
    assert found.code == ExitCode.OK, found
    verdicts = {check["check"]: check["verdict"] for check in found.json["checks"]}
    assert verdicts == {"connection": "ok", "server": "skipped", "trial": "ok", "streams": "ok", "outbox": "ok"}
    told = shop.ran("doctor", "archive://", "--read-only").out
    assert "only a Redis can be examined, not archive://" in told
    assert "left out (--read-only)" in told


def test_usage_is_counted_elsewhere(shop: Shop) -> None:
    done = shop.ran("quota", "show", "archive://", "--owner", "ann")
    assert (done.code, done.out) == (ExitCode.USAGE, "")
    assert "archive:// cannot count usage" in done.err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["ps", "shelf://"], "shelf:// cannot list streams: Shelf has no Inspection"),
        (["show", "shelf://", "s", "--owner", "ann"], "cannot list a session's streams: Shelf has no StreamRegistry"),
        (["stop", "shelf://", "s", "--owner", "ann"], "cannot stop a stream: Shelf has no StreamRegistry"),
        (["outbox", "list", "shelf://"], "cannot list what is owed: Shelf has no Inspection"),
        (["outbox", "replay", "shelf://", "--all"], "Shelf has no Outbox"),
    ],
)
def test_a_command_says_what_a_store_cannot_do(shop: Shop, command: list[str], said: str) -> None:
    done = shop.ran(*command)
    assert (done.code, done.out) == (ExitCode.USAGE, "")
    assert said in done.err
    as_json = shop.ran(*command, "--json").json["error"]
    assert as_json["code"] == "unsupported"
    assert said in as_json["message"]


def test_doctor_says_what_a_store_cannot_do(shop: Shop) -> None:
    shop.urls["shelf"] = shop.urls["shelf"].replace("://", "://ann:hunter2@")
    found = shop.ran("doctor", "shelf://", "--json")
    details = {check["check"]: check["detail"] for check in found.json["checks"]}
    assert "Shelf has no StreamRegistry, StreamWrites, Outbox, " in details["trial"]
    assert details["streams"] == "Shelf has no Inspection"
    assert details["outbox"] == "Shelf has no Inspection"
    assert found.json["store"] == "shelf://"
    assert "hunter2" not in found.out + found.err


def test_what_a_store_says_is_left_out_if_it_has_credentials(shop: Shop) -> None:
    shop.urls["shelf"] = shop.urls["shelf"].replace("://", "://ann:hunter2@")
    done = shop.ran("stop", "shelf://", "broken", "--owner", "ann")
    assert done.code == ExitCode.UNREACHABLE
    assert "left out, since it has credentials" in done.err
    assert "hunter2" not in done.out + done.err


def test_a_store_of_one_process_and_an_unknown_one_are_refused(shop: Shop) -> None:
    alone = shop.ran("ps", "alone://")
    assert alone.code == ExitCode.USAGE
    assert "alone:// streams are in their own process" in alone.err
    unknown = shop.ran("ps", "http://ann:hunter2@h/", "--json")
    assert unknown.code == ExitCode.USAGE
    text = json.loads(unknown.out)["error"]["message"]
    assert text.startswith("a Redis URL begins with redis://, rediss://, unix://, ")
    assert "; other packages bring alone://, " in text
    assert "hunter2" not in text
