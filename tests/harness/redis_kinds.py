"""A Redis, a cluster and sentinels behind TLS, and a Redis, or one behind sentinels, whose account may do what the
documentation lists and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from .certificates import Certificates
from .ports import free_port
from .redis import RedisServer
from .redis_binaries import has_tls, redis_binary
from .redis_cluster import RedisCluster
from .redis_sentinel import SERVICE, RedisSentinels
from .tools import missing

__all__ = [
    "PASSWORD",
    "AccountRedisSentinels",
    "AccountRedisServer",
    "TlsRedisCluster",
    "TlsRedisSentinels",
    "TlsRedisServer",
    "documented_account",
]

PASSWORD: Final = "se/cret:with@marks"
"""Of the account, with characters that a URL has to encode."""

_ENCODED: Final = "se%2Fcret%3Awith%40marks"
_PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "redis.md"


def documented_account() -> list[str]:
    """The command in `docs/reference/redis.md` that makes an account, in words; its password is `PASSWORD`."""
    (line,) = [line for line in _PAGE.read_text().splitlines() if line.startswith("ACL SETUSER streamguard ")]
    return [word.replace("<password>", PASSWORD) for word in line.split()]


class AccountRedisServer(RedisServer):
    """Its URLs log in as the documented account, which may do nothing else. `client` is the administrator's."""

    def start(self) -> None:
        super().start()
        self.command(*documented_account())

    def database_url(self, database: int) -> str:
        return f"redis://streamguard:{_ENCODED}@127.0.0.1:{self.port}/{database}"


def _files(certificates: Certificates) -> dict[str, str]:
    return {
        "tls-cert-file": str(certificates.server.path),
        "tls-key-file": str(certificates.server.key),
        "tls-ca-cert-file": str(certificates.authority.path),
    }


class TlsRedisServer(RedisServer):
    """Its URLs speak TLS and name the authority that signed the server's certificate. `client` does without TLS.

    Args:
        certificates: of the server, and of clients.
        ask_clients: whether clients need a certificate too; URLs name one then.
        binary: finds the program. Skips the test if it was built without TLS.
    """

    def __init__(
        self, certificates: Certificates, *, ask_clients: bool = False, binary: Callable[[], str] = redis_binary
    ) -> None:
        self.tls_port = free_port()
        self._certificates = certificates
        self._asks = ask_clients
        super().__init__(
            binary=binary,
            config={
                "tls-port": str(self.tls_port),
                "tls-auth-clients": "yes" if ask_clients else "no",
                **_files(certificates),
            },
        )

    def start(self) -> None:
        if not has_tls(self.binary()):
            missing("this redis-server has no TLS: `apt-get install redis-server`")
        super().start()

    def database_url(self, database: int) -> str:
        """`rediss://` URL of one of the numbered databases."""
        own = self._certificates.client
        identity = f"&ssl_certfile={own.path}&ssl_keyfile={own.key}" if self._asks else ""
        authority = self._certificates.authority.path
        return f"rediss://127.0.0.1:{self.tls_port}/{database}?ssl_ca_certs={authority}{identity}"


class TlsRedisCluster(RedisCluster):
    """A cluster whose URL and nodes speak TLS. `client` does without. Its slots cannot be moved.

    Args:
        certificates: of the servers.
        replicas, node_timeout_seconds: as of `RedisCluster`.
    """

    def __init__(self, certificates: Certificates, *, replicas: int = 0, node_timeout_seconds: float = 15.0) -> None:
        super().__init__(replicas=replicas, node_timeout_seconds=node_timeout_seconds)
        self._authority = certificates.authority.path
        self._ports = [free_port() for _ in self.nodes]
        for node, port in zip(self.nodes, self._ports, strict=True):
            node.config |= {"tls-port": str(port), "tls-auth-clients": "no", **_files(certificates)}
            # Nodes tell clients the ports for TLS only if they speak it among themselves.
            node.config |= {
                "tls-cluster": "yes",
                "tls-replication": "yes",
                "cluster-port": str(node.port + 10_000),
                "cluster-announce-tls-port": str(port),
            }

    def _start(self) -> None:
        if not has_tls(self.nodes[0].binary()):
            missing("this redis-server has no TLS: `apt-get install redis-server`")
        super()._start()

    @property
    def url(self) -> str:
        """`rediss+cluster://` URL that names every node."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        return f"rediss+cluster://{hosts}?ssl_ca_certs={self._authority}"


class TlsRedisSentinels(RedisSentinels):
    """Sentinels and servers whose URLs speak TLS, as they do among themselves. `client` does without.

    Args:
        certificates: of the servers and sentinels.
        down_seconds: as of `RedisSentinels`.
    """

    def __init__(self, certificates: Certificates, *, down_seconds: float = 10.0) -> None:
        super().__init__(down_seconds=down_seconds)
        self._authority = certificates.authority.path
        options = {"tls-auth-clients": "no", "tls-replication": "yes", **_files(certificates)}
        for server in self.servers:
            server.public_port = free_port()
            server.config |= {
                **options,
                "tls-port": str(server.public_port),
                "replica-announce-port": str(server.public_port),
            }
        self._ports = [free_port() for _ in self.sentinels]
        for sentinel, port in zip(self.sentinels, self._ports, strict=True):
            sentinel.watched_port = self.servers[0].public_port
            sentinel.config = {**options, "tls-port": str(port)}

    def _start(self) -> None:
        if not has_tls(self.servers[0].binary()):
            missing("this redis-server has no TLS: `apt-get install redis-server`")
        super()._start()

    def database_url(self, database: int) -> str:
        """`rediss+sentinel://` URL of one of the master's numbered databases."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        return f"rediss+sentinel://{hosts}/{SERVICE}/{database}?ssl_ca_certs={self._authority}"


class AccountRedisSentinels(RedisSentinels):
    """Its URLs log in with accounts that may do what the documentation lists and nothing else: one of the servers, and
    one of the sentinels."""

    def _start(self) -> None:
        super()._start()
        for server in self.servers:
            server.command(*documented_account())
        for sentinel in self.sentinels:
            sentinel.command(
                *("ACL", "SETUSER", "asking", "on", f">{PASSWORD}", "resetkeys", "resetchannels", "&+switch-master"),
                *("nocommands", "+sentinel|get-master-addr-by-name", "+subscribe"),
            )

    def database_url(self, database: int) -> str:
        """As of `RedisSentinels`, with the login of the servers and that of the sentinels."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        asking = f"sentinel_username=asking&sentinel_password={_ENCODED}"
        return f"redis+sentinel://streamguard:{_ENCODED}@{hosts}/{SERVICE}/{database}?{asking}"
