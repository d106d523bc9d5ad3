"""Asking a Prometheus: its HTTP API with the standard library, and what goes wrong, in words."""

from __future__ import annotations

import base64
import ipaddress
import json
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Final, Protocol, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit
from urllib.request import ProxyHandler, Request, build_opener

T = TypeVar("T")

TOKEN_VARIABLE: Final = "PROMETHEUS_BEARER_TOKEN"  # noqa: S105 - a variable's name

GRACE: Final = 5.0
"""Seconds more than the server has for a query, for its answer that it has taken too long."""

_SCHEMES: Final = ("http", "https")
_DENIED: Final = (401, 403, 407)
_MOST_BYTES: Final = 256 * 1024 * 1024  # a report's answers are a few hundred kB: more is something else
_CHUNK: Final = 65_536
_MOST_SHOWN: Final = 300
_LARGEST: Final = 1e18
_LATEST: Final = 253_402_300_800.0
"""The year 10000, which no date here can show."""

_NO_JSON: Final = (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError)
_NO_NUMBER: Final = "Prometheus has values that count nothing (NaN, infinite, beyond all measure): they are left out."


class PrometheusError(Exception):
    """Prometheus could not be asked, or has not answered; the message says why, and what to do."""


@dataclass(frozen=True)
class Sample:
    """One series at one time."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Line:
    """One series over time: its value by time, seconds since the epoch."""

    labels: Mapping[str, str]
    points: Mapping[float, float]


class Prometheus:
    """The query API at ``url`` (a path before ``/api`` and ``user:password@`` may be in it).

    ``headers`` go with every request, though not to another host by a redirect. ``timeout``, in seconds, is the
    server's limit for one query too. ValueError if it isn't such a URL.
    """

    def __init__(self, url: str, headers: Mapping[str, str], timeout: float) -> None:
        self.url, self._headers = _without_credentials(url)
        self._headers.update(headers)
        self._timeout = timeout
        host = urlsplit(self.url).hostname or ""
        # A proxy can't reach this machine's own loopback, whatever the environment says.
        self._opener = build_opener(*([ProxyHandler({})] if _is_loopback(host) else []))
        self.warnings: dict[str, None] = {}
        """What the server has said of its own answers (an incomplete one, say), in order, once each."""

    def instant(self, expression: str, at: float) -> list[Sample]:
        """Return a vector's samples at a time, in seconds since the epoch. PrometheusError as the class says."""
        samples = self._ask("query", {"query": expression, "time": f"{at:.3f}"}, _sample)
        return [each for each in samples if self._counts(each.value)]

    def over_time(self, expression: str, start: float, end: float, step: float) -> list[Line]:
        """Return a vector's series from ``start`` to ``end``, both included. PrometheusError as the class says."""
        parameters = {"query": expression, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        return self._lines("query_range", parameters)

    def raw(self, selector: str, at: float) -> list[Line]:
        """Return the samples that are stored, with their own times, of a range selector such as ``up[5m]``."""
        return self._lines("query", {"query": selector, "time": f"{at:.3f}"})

    def _lines(self, what: str, parameters: Mapping[str, str]) -> list[Line]:
        return [
            Line(line.labels, {at: value for at, value in line.points.items() if self._counts(value)})
            for line in self._ask(what, parameters, _line)
        ]

    def _counts(self, value: float) -> bool:
        # Whoever sends to the Collector can send this, and it must not spoil what the others have counted.
        if abs(value) <= _LARGEST:
            return True
        self.warnings[_NO_NUMBER] = None
        return False

    def _ask(self, what: str, parameters: Mapping[str, str], read: Callable[[Any], T]) -> list[T]:
        query = urlencode({**parameters, "timeout": f"{self._timeout:g}s"}, errors="replace")
        request = Request(f"{self.url}/api/v1/{what}?{query}")  # noqa: S310 - http or https, looked at in __init__
        for name, value in self._headers.items():
            request.add_unredirected_header(name, value)
        patience = self._timeout + GRACE
        deadline = time.monotonic() + patience
        try:
            with self._opener.open(request, timeout=patience) as reply:
                body = _body(reply, deadline)
        except HTTPError as error:
            raise PrometheusError(self._refusal(error, deadline)) from None
        except TimeoutError:
            raise PrometheusError(self._too_slow()) from None
        except URLError as error:
            raise PrometheusError(self._unreachable(error.reason)) from None
        except (OSError, HTTPException, ValueError) as error:
            raise PrometheusError(self._unreachable(error)) from None
        try:
            answer = json.loads(body)
            self.warnings.update(dict.fromkeys(map(str, answer.get("warnings") or ())))
            return [read(each) for each in answer["data"]["result"]]
        except _NO_JSON:
            raise PrometheusError(self._no_prometheus()) from None

    def _refusal(self, error: HTTPError, deadline: float) -> str:
        if error.code in _DENIED:
            return (
                f"{self.url} answers {error.code} {error.reason}: it wants credentials. Set {TOKEN_VARIABLE}, or give "
                f"--header 'Authorization: ...' or a URL with user:password@"
            )
        said = _error_of(error, deadline)
        if said is None:
            return f"{self._no_prometheus()} (it answers {error.code} {error.reason})"
        kind, message = said
        if kind == "timeout":
            return self._too_slow()
        return f"{self.url} refuses a query ({error.code}, {kind}): {message}"

    def _too_slow(self) -> str:
        return (
            f"{self.url} has not answered a query within {self._timeout:g} s: "
            f"ask for less (--since, --service) or wait longer (--timeout)"
        )

    def _no_prometheus(self) -> str:
        return (
            f"what answers at {self.url} is not Prometheus's API. If Prometheus stands behind a path, give that too: "
            f"http://host:9090/prometheus"
        )

    def _unreachable(self, reason: object) -> str:
        if isinstance(reason, TimeoutError):
            return self._too_slow()
        if isinstance(reason, ssl.SSLCertVerificationError):
            return (
                f"{self.url} has a certificate that is not trusted here ({reason.verify_message}): "
                f"SSL_CERT_FILE may name a file with its authority's"
            )
        if isinstance(reason, ConnectionRefusedError):
            return f"nothing listens at {self.url}: is Prometheus running there? (--prometheus URL)"
        if isinstance(reason, socket.gaierror):
            return f"there is no host {urlsplit(self.url).hostname}: {reason.strerror} (--prometheus URL)"
        return f"{self.url} can't be asked: {reason or type(reason).__name__}"


def _without_credentials(url: str) -> tuple[str, dict[str, str]]:
    """Return the URL as it may be shown, and the header that its user and password make."""
    try:
        parts = urlsplit(url)
        wrong = parts.scheme not in _SCHEMES or not parts.hostname or parts.port == 0 or not url.isprintable()
    except ValueError:
        wrong = True
    if wrong:
        raise ValueError("not a URL such as http://localhost:9090")
    host = parts.netloc.rpartition("@")[2]
    bare = urlunsplit((parts.scheme, host, quote(parts.path.rstrip("/"), safe="/%"), "", ""))
    if parts.username is None:
        return bare, {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return bare, {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _sample(series: Any) -> Sample:
    return Sample(_labels(series), float(series["value"][1]))


def _line(series: Any) -> Line:
    points = {float(at): float(value) for at, value in series["values"]}
    if not all(0 <= at < _LATEST for at in points):
        raise ValueError("no time of this world")
    return Line(_labels(series), points)


def _labels(series: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in dict(series["metric"]).items()}


class _Body(Protocol):
    def read1(self, size: int, /) -> bytes: ...


def _body(reply: _Body, deadline: float) -> bytes:
    """Return what is answered, TimeoutError at the deadline: a socket's own timeout begins anew with each byte."""
    parts, size = [], 0
    while size < _MOST_BYTES and (part := reply.read1(_CHUNK)):
        parts.append(part)
        size += len(part)
        if time.monotonic() > deadline:
            raise TimeoutError
    return b"".join(parts)


def _error_of(error: HTTPError, deadline: float) -> tuple[str, str] | None:
    """Return Prometheus's own word for an error, and its message, if it was Prometheus who answered."""
    try:
        answer = json.loads(_body(error, deadline))
        return str(answer["errorType"]), str(answer["error"])[:_MOST_SHOWN]
    except (OSError, HTTPException, *_NO_JSON):
        return None
