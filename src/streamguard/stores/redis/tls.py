"""What `rediss://` connections are secured with, kept true while certificates are replaced."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

__all__ = ["VERIFY", "Tls"]

VERIFY: Final = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
"""The values of `ssl_cert_reqs`."""
READ_AGAIN_SECONDS: Final = 2.0
"""A new connection reads the files again if they were read longer ago: certificates are replaced before they expire,
and a process lives longer than they do. It takes some milliseconds, in which the event loop stands still, and an outage
may make many connections."""
_FILES: Final = frozenset({"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"})


class Tls:
    """The TLS contexts of one URL, which all connections with its login share. The server is verified, unless the URL
    says otherwise."""

    def __init__(self, options: Mapping[str, str]) -> None:
        """`options`: those of the URL that begin with `ssl_`. Nothing is read yet."""
        self._options = dict(options)
        self._context: ssl.SSLContext | None = None
        self._read_at = 0.0

    def context(self) -> ssl.SSLContext:
        """For a new connection.

        Raises:
            ssl.SSLError: a file that the URL names cannot be read, or holds something else.
        """
        now = time.monotonic()
        if self._context is None:
            self._context, self._read_at = self._read(), now
        elif not _FILES.isdisjoint(self._options) and now - self._read_at > READ_AGAIN_SECONDS:
            self._read_at = now
            with suppress(ssl.SSLError):  # they are being replaced: what was read before may still do
                self._context = self._read()
        return self._context

    def _read(self) -> ssl.SSLContext:
        options = self._options
        context = ssl.create_default_context()
        mode = VERIFY[options.get("ssl_cert_reqs", "required")]
        # A name cannot be checked without a certificate.
        checks_name = options.get("ssl_check_hostname", "true").lower() not in ("false", "0", "no", "n", "f")
        context.check_hostname = checks_name and mode is not ssl.CERT_NONE
        context.verify_mode = mode
        try:
            if "ssl_certfile" in options or "ssl_keyfile" in options:
                context.load_cert_chain(options.get("ssl_certfile", ""), options.get("ssl_keyfile"))
            if "ssl_ca_certs" in options or "ssl_ca_path" in options:
                context.load_verify_locations(options.get("ssl_ca_certs"), options.get("ssl_ca_path"))
        except ssl.SSLError:
            raise
        except OSError as exc:  # one that is missing says nothing of whether Redis is there
            raise ssl.SSLError("a file that an ssl_ option names cannot be read") from exc
        return context
