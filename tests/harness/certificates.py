"""Certificates for TLS in tests: a certificate authority, a server's and a client's of it, and one of a stranger."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from .tools import missing

__all__ = ["Certificate", "Certificates"]


class Certificate(NamedTuple):
    """A certificate and its key, in PEM."""

    path: Path
    key: Path


class Certificates:
    """Made once, in a directory. Skips the test when there is no openssl; with `CI=true` fails it."""

    def __init__(self, directory: Path) -> None:
        if shutil.which("openssl") is None:
            missing("no openssl found, to make certificates with: `apt-get install openssl`")
        self._directory = directory
        self.authority = self._signed_by_itself("authority", "tests' authority")
        self.server = self._signed("server", "localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        """Names localhost and 127.0.0.1."""
        self.client = self._signed("client", "streamguard", "extendedKeyUsage=clientAuth")
        self.stranger = self._signed_by_itself("stranger", "stranger")
        """The authority did not sign it."""

    def _signed_by_itself(self, name: str, subject: str) -> Certificate:
        made = Certificate(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        self._openssl("req", "-x509", *self._new_key(made, subject), "-out", made.path)
        return made

    def _signed(self, name: str, subject: str, extension: str) -> Certificate:
        made = Certificate(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        signer = ("-CA", self.authority.path, "-CAkey", self.authority.key)
        self._openssl("req", "-x509", *self._new_key(made, subject), *signer, "-addext", extension, "-out", made.path)
        return made

    @staticmethod
    def _new_key(made: Certificate, subject: str) -> tuple[str | Path, ...]:
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
        return (*curve, "-nodes", "-days", "1", "-keyout", made.key, "-subj", f"/CN={subject}")

    @staticmethod
    def _openssl(*words: str | Path) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True)
