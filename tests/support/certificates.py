"""Certificates for tests: authorities of their own, made by openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.services import find


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as PEM files."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates for servers and for clients."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        own = self._files(name)
        _openssl("req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={name}", *_new_key(own), "-out", str(own.cert))
        self._own = own

    @property
    def cert(self) -> Path:
        """The authority's own certificate: what those need who trust it."""
        return self._own.cert

    def issue(self, name: str, hosts: str = "IP:127.0.0.1,DNS:localhost") -> Certificate:
        """A new certificate, of these hosts. A name that was there before: a new one in its place."""
        issued, request = self._files(f"{self._name}-{name}"), self._folder / f"{name}.csr"
        extensions = self._folder / "extensions"
        extensions.write_text(f"subjectAltName={hosts}\n")
        _openssl("req", "-nodes", "-subj", f"/CN={name}", *_new_key(issued), "-out", str(request))
        signed = ["-CA", str(self._own.cert), "-CAkey", str(self._own.key), "-CAcreateserial", "-days", "2"]
        _openssl("x509", "-req", "-in", str(request), *signed, "-extfile", str(extensions), "-out", str(issued.cert))
        return issued

    def _files(self, name: str) -> Certificate:
        return Certificate(self._folder / f"{name}.pem", self._folder / f"{name}-key.pem")


def _new_key(of: Certificate) -> list[str]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", str(of.key)]


def _openssl(*args: str) -> None:
    done = subprocess.run([find("openssl"), *args], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
