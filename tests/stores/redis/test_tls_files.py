"""The files that a URL with TLS names: they are replaced while the process runs, or are not there."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from streamguard.errors import StoreUnavailableError
from streamguard.stores.redis import RedisStore
from streamguard.unavailable import UnavailableReason

from ...harness.certificates import Certificates
from ...harness.redis_kinds import TlsRedisServer
from ...harness.waiting import wait_until_async

pytestmark = [pytest.mark.anyio, pytest.mark.processes]  # servers with certificates of their own


class Installed:
    """The certificates of one authority or another, where a worker's URL names them."""

    def __init__(self, directory: Path) -> None:
        self._authority, self._client, self._key = (directory / name for name in ("ca.pem", "client.pem", "client.key"))

    def install(self, certificates: Certificates) -> None:
        shutil.copy(certificates.authority.path, self._authority)
        shutil.copy(certificates.client.path, self._client)
        shutil.copy(certificates.client.key, self._key)

    def url(self, server: TlsRedisServer) -> str:
        files = f"ssl_ca_certs={self._authority}&ssl_certfile={self._client}&ssl_keyfile={self._key}"
        return f"rediss://127.0.0.1:{server.tls_port}/0?{files}"


@pytest.fixture
def asking(certificates: Certificates) -> Iterator[TlsRedisServer]:
    """A Redis of the test's own that asks for a client's certificate."""
    with TlsRedisServer(certificates, ask_clients=True) as server:
        yield server


async def test_certificates_are_replaced_under_a_running_process(
    asking: TlsRedisServer, certificates: Certificates, tmp_path: Path
) -> None:
    """As cert-manager does: another authority's on both sides. Connections that are made later take them."""
    installed = Installed(tmp_path)
    installed.install(certificates)
    (tmp_path / "second").mkdir()
    second = Certificates(tmp_path / "second")
    async with aclosing(RedisStore(installed.url(asking))) as store:
        await store.ping()
        files = {"cert-file": second.server.path, "key-file": second.server.key, "ca-cert-file": second.authority.path}
        words = [str(word) for name, path in files.items() for word in (f"tls-{name}", path)]
        asking.command("CONFIG", "SET", *words)
        asking.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

        async def fails_with() -> UnavailableReason | None:
            try:
                await store.ping()
            except StoreUnavailableError as exc:
                return exc.reason
            return None

        async def refused() -> bool:  # the first call may meet a connection that was just killed
            return await fails_with() is UnavailableReason.TLS_FAILED

        async def answered() -> bool:
            return await fails_with() is None

        is_refused: Callable[[], Awaitable[bool] | bool] = refused
        is_answered: Callable[[], Awaitable[bool] | bool] = answered
        await wait_until_async(is_refused, description="what it has is not valid any more")
        installed.install(second)
        await wait_until_async(is_answered, description="it takes the new certificates")


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile"])
async def test_a_file_that_is_missing_is_no_redis_that_is_missing(
    asking: TlsRedisServer, tmp_path: Path, option: str
) -> None:
    url = f"rediss://127.0.0.1:{asking.tls_port}/0?{option}={tmp_path / 'nowhere.pem'}"
    async with aclosing(RedisStore(url)) as store:
        with pytest.raises(StoreUnavailableError) as refused:
            await store.ping()
    assert refused.value.reason is UnavailableReason.TLS_FAILED
    assert "ssl_ options" in str(refused.value)
