"""OpenTelemetry's own environment variables: what each accepts, and how a wrong value is kept away from it.

OpenTelemetry raises for some wrong values when it is imported, for others when a provider or an exporter is built, and
ignores the rest without naming the variable. Here each value is checked first. A wrong one is out of the environment
while OpenTelemetry reads it, and back in it afterwards: the application and its children see what the user has set.

This module imports nothing of OpenTelemetry, so that it works before OpenTelemetry can be imported.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

_logger = logging.getLogger("multiagents_otel.config")

SIGNALS: Final = ("TRACES", "METRICS", "LOGS")

_LONGEST_MS: Final = 1_000_000_000_000
_GRPC_PORT: Final = re.compile(r":4317/?$")
_HEADER: Final = re.compile(r"\s*[!#-'*+\-.0-9A-Z^-z|~%]+\s*=[ \t\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")
_HTTP_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HTTP_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_GRPC_NAME: Final = re.compile(r"[0-9a-z_.\-]+(?<!-bin)")  # a value of a -bin name would have to be bytes
_GRPC_VALUE: Final = re.compile(r"[\x20-\x7e]*")
_SHOWN: Final = 100
_QUERY: Final = re.compile(r"(//[^?]*\?).*", re.DOTALL)
_USERINFO: Final = re.compile(r"(^(?!unix)|//)[^/@]*@")


class Variable(NamedTuple):
    """What a variable accepts."""

    parse: Callable[[str, Mapping[str, str]], str]
    """Returns the value as OpenTelemetry reads it without fail, or the part of a list that it can use.

    ValueError: there is nothing usable in it."""
    expected: str
    default: str = "none"
    secret: bool = False
    """The value may hold one, and is never shown."""


class Wrong(NamedTuple):
    """A wrong value, and what is used in its place."""

    name: str
    value: str
    usable: str | None
    message: str


# --- kinds of values --------------------------------------------------------------------------------


def _whole(least: int, default: str) -> Variable:
    def parse(value: str, _environ: Mapping[str, str]) -> str:
        if not least <= int(value) <= _LONGEST_MS:
            raise ValueError
        return str(int(value))

    return Variable(parse, f"a whole number, {least} or more", default)


def _number(unit: str, default: str) -> Variable:
    def parse(value: str, _environ: Mapping[str, str]) -> str:
        number = float(value)
        if not (math.isfinite(number) and 0 < number <= _LONGEST_MS):
            raise ValueError
        return value

    return Variable(parse, f"a number of {unit}, above 0", default)


def _one_of(*words: str, default: str) -> Variable:
    def parse(value: str, _environ: Mapping[str, str]) -> str:
        if value.lower() not in words:
            raise ValueError
        return value.lower()

    return Variable(parse, f"one of {', '.join(words)}", default)


def _installed(group: str, default: str) -> Variable:
    """The name of an entry point."""

    def parse(value: str, _environ: Mapping[str, str]) -> str:
        if not _is_installed(group, value):
            raise ValueError
        return value

    return Variable(parse, f"the name of an installed {group}", default)


def _is_installed(group: str, name: str) -> bool:
    from importlib.metadata import entry_points  # slow to import, and few variables are the names of entry points

    return bool(entry_points(group=group, name=name))


def _all_installed(group: str, default: str, *others: str) -> Variable:
    """Names of entry points, separated by commas: those that there are can be used."""

    def parse(value: str, _environ: Mapping[str, str]) -> str:
        names = [name for part in value.split(",") if (name := part.strip())]
        known = [name for name in names if name.lower() in others or _is_installed(group, name)]
        if not known:
            raise ValueError
        return ",".join(known)

    return Variable(parse, f"names of installed {group}s, separated by commas", default)


def _pairs(expected: str, is_pair: Callable[[str, Mapping[str, str]], object], *, secret: bool = False) -> Variable:
    """Pairs of name and value, separated by commas: those that can be read can be used."""

    def parse(value: str, environ: Mapping[str, str]) -> str:
        parts = [part for part in value.split(",") if part.strip()]
        usable = [part for part in parts if is_pair(part, environ)]
        if not usable:
            raise ValueError
        return value if usable == parts else ",".join(usable)

    return Variable(parse, expected, secret=secret)


def _file(value: str, _environ: Mapping[str, str]) -> str:
    with open(value, "rb") as file:  # noqa: PTH123 - it may hold a NUL character, which raises ValueError here
        file.read(1)
    return value


def _any(value: str, _environ: Mapping[str, str]) -> str:
    return value


def _sampler_argument(value: str, environ: Mapping[str, str]) -> str:
    if "traceidratio" not in environ.get("OTEL_TRACES_SAMPLER", "").lower():
        return value  # a sampler of the user's knows what it means
    try:
        return value if 0 <= float(value) <= 1 else "1.0"
    except ValueError:
        return "1.0"  # the SDK complains of a missing one too


def protocol_of(signal: str, environ: Mapping[str, str]) -> str:
    """Determine the OTLP protocol of a signal: the variable's, else HTTP unless the endpoint has gRPC's own port.

    HTTP is what OpenTelemetry's specification recommends: a child that is forked while gRPC is at work may never
    export.
    """
    protocol = _otlp(signal, "PROTOCOL", environ)
    return protocol or ("grpc" if _GRPC_PORT.search(_otlp(signal, "ENDPOINT", environ)) else "http/protobuf")


def _otlp(signal: str, setting: str, environ: Mapping[str, str]) -> str:
    own = environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_{setting}", "").strip()
    return own or environ.get(f"OTEL_EXPORTER_OTLP_{setting}", "").strip()


def _by_grpc(signals: tuple[str, ...], environ: Mapping[str, str]) -> list[bool]:
    return [protocol_of(signal, environ).lower() == "grpc" for signal in signals]


def _endpoint(signals: tuple[str, ...]) -> Variable:
    def parse(value: str, environ: Mapping[str, str]) -> str:
        parts = urlsplit(value)
        if parts.scheme in ("http", "https"):
            if not parts.hostname or (parts.port is not None and parts.port == 0):  # port raises beyond 65535
                raise ValueError
        elif not all(_by_grpc(signals, environ)) or re.search(r"\s", value):
            raise ValueError  # gRPC takes host:port, unix: and others
        # gRPC would take a user and a password for a part of the host's name, find no such host, and log them.
        return _USERINFO.sub(r"\1", value) if all(_by_grpc(signals, environ)) else value

    expected = "a URL as http://host:4318 (with gRPC host:port too, without a user)"
    return Variable(parse, expected, "http://localhost:4318, gRPC's http://localhost:4317")


def _compression(signals: tuple[str, ...]) -> Variable:
    def parse(value: str, environ: Mapping[str, str]) -> str:
        word, grpc = value.lower(), _by_grpc(signals, environ)
        if word not in ("gzip", "deflate", "none") or (word == "deflate" and any(grpc)):
            raise ValueError
        return "" if word == "none" and any(grpc) else word  # gRPC's exporter refuses it, and has it as its default

    return Variable(parse, "gzip, none, or with HTTP deflate")


def _headers(signals: tuple[str, ...]) -> Variable:
    """Headers that the exporters can send: the check is of the decoded pair, which HTTP and gRPC limit differently."""

    def is_header(part: str, environ: Mapping[str, str]) -> bool:
        if not _HEADER.fullmatch(part):
            return False
        name, value = (unquote(text.strip()).strip() for text in part.split("=", 1))
        if any(_by_grpc(signals, environ)) and not (
            _GRPC_NAME.fullmatch(name.lower()) and _GRPC_VALUE.fullmatch(value)
        ):
            return False
        return bool(_HTTP_NAME.fullmatch(name) and _HTTP_VALUE.fullmatch(value))

    expected = (
        "name=value pairs, separated by commas and URL encoded, without control characters (with gRPC ASCII only)"
    )
    return _pairs(expected, is_header, secret=True)


# --- the table ----------------------------------------------------------------------------------------

_BOOLEAN: Final = _one_of("true", "false", default="false")
_LEVELS: Final = ("trace", "debug", "info", "warn", "warning", "error", "critical", "fatal", "off", "none", "notset")


_STATUS_CODES: Final = frozenset(
    {
        "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
        "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
        "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
    }
)  # fmt: skip
"""Those of gRPC's specification: an import of grpc is slow, and grpc may be missing."""


def _codes(value: str, _environ: Mapping[str, str]) -> str:
    if not all(code.strip().upper() in _STATUS_CODES for code in value.split(",") if code.strip()):
        raise ValueError
    return value


def _exporter_variables() -> Iterator[tuple[str, Variable]]:
    for middle, signals in (("", SIGNALS), *((f"{signal}_", (signal,)) for signal in SIGNALS)):
        prefix = f"OTEL_EXPORTER_OTLP_{middle}"
        yield f"{prefix}ENDPOINT", _endpoint(signals)
        yield f"{prefix}PROTOCOL", _one_of("grpc", "http/protobuf", default="http/protobuf")
        yield f"{prefix}HEADERS", _headers(signals)
        yield f"{prefix}TIMEOUT", _number("seconds", "10")
        yield f"{prefix}COMPRESSION", _compression(signals)
        yield f"{prefix}INSECURE", _BOOLEAN
        for file in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"):
            yield f"{prefix}{file}", Variable(_file, "a file that can be read")
        for protocol in ("GRPC", "HTTP"):
            name = f"OTEL_PYTHON_EXPORTER_OTLP_{protocol}_{middle}CREDENTIAL_PROVIDER"
            yield name, _installed("opentelemetry_otlp_credential_provider", "none")


VARIABLES: Final[Mapping[str, Variable]] = {
    **dict(_exporter_variables()),
    "OTEL_PYTHON_EXPORTER_OTLP_GRPC_RETRYABLE_ERROR_CODES": Variable(
        _codes, "names of gRPC status codes, separated by commas", "gRPC's retryable ones"
    ),
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": _one_of(
        "cumulative", "delta", "lowmemory", default="cumulative"
    ),
    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": _one_of(
        "explicit_bucket_histogram", "base2_exponential_bucket_histogram", default="explicit_bucket_histogram"
    ),
    "OTEL_EXPORTER_PROMETHEUS_PORT": _whole(1, "9464"),
    "OTEL_EXPORTER_ZIPKIN_TIMEOUT": _number("seconds", "10"),
    **{
        f"OTEL_{name}_COUNT_LIMIT": _whole(0, "128")
        for name in (
            "ATTRIBUTE", "EVENT_ATTRIBUTE", "LINK_ATTRIBUTE", "LOGRECORD_ATTRIBUTE",
            "SPAN_ATTRIBUTE", "SPAN_EVENT", "SPAN_LINK",
        )
    },
    **{
        f"OTEL_{name}ATTRIBUTE_VALUE_LENGTH_LIMIT": _whole(0, "no limit")
        for name in ("", "SPAN_", "LOGRECORD_")
    },
    **{
        f"OTEL_{processor}_{name}": variable
        for processor, delay in (("BSP", "5000"), ("BLRP", "1000"))
        for name, variable in {
            "SCHEDULE_DELAY": _whole(1, delay),
            "EXPORT_TIMEOUT": _whole(1, "30000"),
            "MAX_QUEUE_SIZE": _whole(1, "2048"),
            "MAX_EXPORT_BATCH_SIZE": _whole(1, "512"),
        }.items()
    },
    "OTEL_METRIC_EXPORT_INTERVAL": _number("milliseconds", "30000"),
    "OTEL_METRIC_EXPORT_TIMEOUT": _number("milliseconds", "30000"),
    "OTEL_METRICS_EXEMPLAR_FILTER": _one_of("trace_based", "always_on", "always_off", default="trace_based"),
    "OTEL_TRACES_SAMPLER_ARG": Variable(_sampler_argument, "a ratio from 0 to 1", "1.0"),
    "OTEL_RESOURCE_ATTRIBUTES": _pairs(
        "name=value pairs, separated by commas and URL encoded", lambda part, _: re.match(r"\s*[^=\s][^=]*=", part)
    ),
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": _all_installed("opentelemetry_resource_detector", "otel", "*"),
    "OTEL_PROPAGATORS": _all_installed("opentelemetry_propagator", "tracecontext,baggage", "none"),
    "OTEL_PYTHON_CONTEXT": _installed("opentelemetry_context", "contextvars_context"),
    "OTEL_PYTHON_TRACER_PROVIDER": _installed("opentelemetry_tracer_provider", "the SDK's"),
    "OTEL_PYTHON_METER_PROVIDER": _installed("opentelemetry_meter_provider", "the SDK's"),
    "OTEL_PYTHON_LOGGER_PROVIDER": _installed("opentelemetry_logger_provider", "the SDK's"),
    "OTEL_PYTHON_EVENT_LOGGER_PROVIDER": _installed("opentelemetry_event_logger_provider", "the SDK's"),
    "OTEL_PYTHON_TRACER_CONFIGURATOR": _installed("_opentelemetry_tracer_configurator", "none"),
    "OTEL_PYTHON_METER_CONFIGURATOR": _installed("_opentelemetry_meter_configurator", "none"),
    "OTEL_PYTHON_LOGGER_CONFIGURATOR": _installed("_opentelemetry_logger_configurator", "none"),
    "OTEL_PYTHON_DISTRO": _installed("opentelemetry_distro", "the first that is installed"),
    "OTEL_PYTHON_CONFIGURATOR": _installed("opentelemetry_configurator", "the first that is installed"),
    "OTEL_PYTHON_AUTO_INSTRUMENTATION_EXPERIMENTAL_GEVENT_PATCH": _one_of("patch_all", default="no patch"),
    "OTEL_SDK_DISABLED": _BOOLEAN,
    "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED": _BOOLEAN,
    "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED": _BOOLEAN,
    "OTEL_LOG_LEVEL": _one_of(*_LEVELS, default="info"),
    "OTEL_PYTHON_LOG_LEVEL": _one_of("debug", "info", "warning", "error", default="info"),
    "OTEL_PYTHON_LOG_CORRELATION": _BOOLEAN,
    "OTEL_PYTHON_LOG_AUTO_INSTRUMENTATION": _one_of("true", "false", default="true"),
    "OTEL_PYTHON_LOG_CODE_ATTRIBUTES": _BOOLEAN,
}  # fmt: skip
"""Every variable that can be wrong by itself. Those that name exporters, a sampler, an id generator and a configuration
file are read in :mod:`multiagents_otel.pipeline`, which also reports why one of them can't be made."""

ANYTHING: Final = frozenset(
    {
        "OTEL_SERVICE_NAME",
        "OTEL_EXPORTER_PROMETHEUS_HOST",
        "OTEL_EXPORTER_ZIPKIN_ENDPOINT",
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
        "OTEL_PYTHON_LOG_FORMAT",
        "OTEL_PYTHON_LOG_HANDLER_LEVEL",  # OpenTelemetry reports it itself, when the application has named its levels
        "OTEL_SEMCONV_STABILITY_OPT_IN",
    }
)
"""Variables of which no value is wrong here, or that no component here reads."""


# --- checks -------------------------------------------------------------------------------------------


def wrong_values(environ: Mapping[str, str]) -> list[Wrong]:
    """Find the variables that OpenTelemetry can't use as they are."""
    found = []
    for name, variable in VARIABLES.items():
        given = environ.get(name)
        if given is None:
            continue
        value, message = given.strip(), ""
        try:
            usable: str | None = variable.parse(value, environ) if value else None
        except (ValueError, OSError):
            usable, message = None, f"its default ({variable.default}) is used"
        if usable and usable.lower() != value.lower():
            message = "only the valid part is used" if variable.secret else f"{_masked(usable)!r} is used"
            if usable == str(_as_whole(value)):
                message = ""
        if usable != given:
            shown = "its value, which may hold a secret" if variable.secret else repr(_short(value))
            said = f"{name} must be {variable.expected}, not {shown}: {message}" if message else ""
            found.append(Wrong(name, given, usable or None, said))
    corrected = {**environ}
    for wrong in found:
        corrected[wrong.name] = wrong.usable or ""
    return found + [wrong for processor in ("BSP", "BLRP") for wrong in _batch_beyond_queue(processor, corrected)]


def _batch_beyond_queue(processor: str, environ: Mapping[str, str]) -> Iterator[Wrong]:
    """A batch that is larger than the queue, for which the SDK builds no processor."""
    size, queue = f"OTEL_{processor}_MAX_EXPORT_BATCH_SIZE", f"OTEL_{processor}_MAX_QUEUE_SIZE"
    batch, most = environ.get(size) or "512", environ.get(queue) or "2048"
    if int(batch) > int(most):
        message = f"{size} must be at most {queue} ({most}), not {batch}: {most!r} is used"
        yield Wrong(size, environ.get(size, ""), most, message)


def _as_whole(value: str) -> int | None:
    try:
        return int(value)
    except ValueError:
        return None


def _masked(value: str) -> str:
    """Hide the parts of a URL that may hold a secret: the user with the password, and the query."""
    return _QUERY.sub(r"\1***", _USERINFO.sub(r"\1***@", value))


def _short(value: str) -> str:
    text = _masked(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


class _Corrected:
    """The environment with what OpenTelemetry can use, as long as it is entered anywhere in the process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._replaced: list[tuple[str, str | None, str | None]] = []
        self._reported: set[str] = set()

    def enter(self) -> None:
        with self._lock:
            self._depth += 1
            if self._depth > 1:
                return
            messages = []
            for wrong in wrong_values(os.environ):
                messages.append(wrong.message)
                self._replaced.append((wrong.name, os.environ.get(wrong.name), wrong.usable))
                _set(wrong.name, wrong.usable)
        for message in messages:
            self.report(message)

    def leave(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth:
                return
            replaced, self._replaced = self._replaced, []
            for name, value, usable in reversed(replaced):
                if os.environ.get(name) == usable:  # not set by another thread in the meantime
                    _set(name, value)

    def remove(self, name: str) -> None:
        """Keep a variable out of the environment too, as long as that is corrected."""
        with self._lock:
            if self._depth and name in os.environ:
                self._replaced.append((name, os.environ.pop(name), None))

    def report(self, message: str) -> None:
        """Log a warning, once."""
        if message and message not in self._reported:
            self._reported.add(message)
            _logger.warning("%s", message)


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


_CORRECTED: Final = _Corrected()


def reject(name: str, message: str) -> None:
    """Treat a variable as wrong whose value turned out to be so when OpenTelemetry used it."""
    _CORRECTED.remove(name)
    _CORRECTED.report(message)


@contextlib.contextmanager
def corrected_environment() -> Iterator[None]:
    """Keep wrong values of OpenTelemetry's variables out of the environment, and report each of them once."""
    _CORRECTED.enter()
    try:
        yield
    finally:
        _CORRECTED.leave()
