"""A wrong environment: every variable of OpenTelemetry's own tables with values that it can't use.

Whatever they are, the program starts, each of them is reported once with what is used instead, telemetry is exported,
and the application and its children see what the user has set.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from multiagents_otel.config.environment import VARIABLES, corrected_environment, wrong_values
from tests.support.otel_variables import declared
from tests.support.processes import Process
from tests.support.receiver import OtlpReceiver

_RUN: Final = [str(Path(sys.executable).with_name("multiagents-otel")), "run", sys.executable]
_USE: Final = """
import json, os, subprocess, sys
from opentelemetry import metrics, trace
with trace.get_tracer("app").start_as_current_span("a-span") as span:
    span.set_attributes({f"key-{number}": number for number in range(100)})
    metrics.get_meter("app").create_counter("a.counter").add(3)
show = "import json, os; print('seen', json.dumps({k: v for k, v in os.environ.items() if 'OTEL_' in k}))"
exec(show)
sys.stdout.flush()
environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
subprocess.run([sys.executable, "-S", "-c", show], check=True, env=environment)
"""
_AUTO: Final = "import multiagents_otel; multiagents_otel.auto_instrument()\n" + _USE


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as running:
        yield running


_NUMBERS: Final = ("soon", "-1", "0", "nan", "inf", "1e400", "1,5", "10s")
_WHOLE: Final = ("many", "-1", "1.5", "0x10", "1e3", "9" * 30, "unlimited")
_WORDS: Final = ("nonsense", "1", "yes please", "true,false", "\u00e9")
_MISSING: Final = ("/no/such/file.pem", "/", "relative.pem", "x" * 5000)
# What is wrong for a variable, by the end of its name: the first match counts.
WRONG: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    (r"_(COUNT|LENGTH)_LIMIT$", _WHOLE),
    (r"_(BSP|BLRP)_", (*_WHOLE, "0")),
    (r"_METRIC_EXPORT_(INTERVAL|TIMEOUT)$|_TIMEOUT$", _NUMBERS),
    (r"_PORT$", (*_WHOLE, "0")),
    (r"_(CLIENT_)?CERTIFICATE$|_CLIENT_KEY$", _MISSING),
    (r"_ENDPOINT$", ("localhost:4318", "nonsense", "http://", "http://host:99999", "http://host:port", "ftp://host")),
    (
        r"_HEADERS$",
        (
            "nonsense",
            "Bearer secret-canary",
            "a b=secret-canary",
            ",;,",
            "=secret-canary",
            "authorization=Bearer%20secret-%0Acanary",
            "a=secret-canary%0D%0Ab:c",
            "a=%00secret-canary",
            "a=secret-%E2%82%AC-canary",
            "a=secret-canary%7F",
            "a%0Ab=secret-canary",
            "%20=secret-canary",
        ),
    ),
    (r"_RESOURCE_ATTRIBUTES$", ("nonsense", "a:b", "=b", "a;b")),
    (r"_SAMPLER_ARG$", ("half", "2", "-0.5", "nan", "50%")),
    (r"_RETRYABLE_ERROR_CODES$", ("NONSENSE", "14", "UNAVAILABLE,X")),
    (r"", _WORDS),
)


def wrong_for(name: str) -> tuple[str, ...]:
    return next(values for pattern, values in WRONG if re.search(pattern, name))


def check(output: str, receiver: OtlpReceiver, given: dict[str, str]) -> None:
    """Check reports, exports and what the application saw."""
    assert "Traceback" not in output
    for name, value in given.items():
        reports = [line for line in output.splitlines() if re.search(rf"\b{name} must be ", line)]
        assert len(reports) == 1, (name, value, output[-3000:])
        assert " used" in reports[0]
        if not name.endswith("HEADERS"):
            assert repr(value[:90])[1:-1] in reports[0]
    assert "canary" not in "".join(line for line in output.splitlines() if not line.startswith("seen "))
    assert "Could not" not in output
    seen = [json.loads(line.removeprefix("seen ")) for line in output.splitlines() if line.startswith("seen ")]
    assert len(seen) == 2
    for environment in seen:
        assert given.items() <= environment.items()
    [span] = receiver.spans
    assert span.name == "a-span"
    assert len(span.attributes) == 100
    assert receiver.total("a.counter") == 3


def environment_of(receiver: OtlpReceiver) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint, "MULTIAGENTS_OTEL_FLUSH_TIMEOUT": "60"}


@pytest.mark.parametrize("name", sorted(VARIABLES.keys() & declared()))
def test_every_wrong_value_is_found_before_opentelemetry_reads_it(name: str) -> None:
    for value in wrong_for(name):
        environment = {name: value, **({"OTEL_TRACES_SAMPLER": "traceidratio"} if name.endswith("SAMPLER_ARG") else {})}
        first = wrong_values(environment)[0]
        assert first.name == name
        assert first.message.startswith(f"{name} must be {VARIABLES[name].expected}, not ")
        assert first.message.endswith(" used")
        assert "canary" not in first.message


@pytest.mark.parametrize("turn", range(3))
@pytest.mark.parametrize("start", ["auto_instrument", "run"])
def test_all_variables_wrong_at_once(receiver: OtlpReceiver, start: str, turn: int) -> None:
    free = {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_PYTHON_DISTRO", "OTEL_PYTHON_CONFIGURATOR"}
    given = {
        name: wrong_for(name)[turn % len(wrong_for(name))] for name in sorted(VARIABLES.keys() & declared() - free)
    }
    environment = {**environment_of(receiver), "OTEL_TRACES_SAMPLER": "traceidratio", **given}
    command = [*_RUN, "-c", _USE] if start == "run" else [sys.executable, "-c", _AUTO]
    with Process(command, env=environment) as process:
        check(process.wait_ok(90), receiver, given)


@pytest.mark.parametrize(
    ("start", "name", "value"),
    [
        ("auto_instrument", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many"),
        ("auto_instrument", "OTEL_PROPAGATORS", "nonsense"),
        ("auto_instrument", "OTEL_PYTHON_CONTEXT", "nonsense"),
        ("auto_instrument", "OTEL_PYTHON_METER_PROVIDER", "nonsense"),
        ("auto_instrument", "OTEL_PYTHON_LOGGER_PROVIDER", "nonsense"),
        ("auto_instrument", "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "nonsense"),
        ("auto_instrument", "OTEL_PYTHON_EXPORTER_OTLP_HTTP_METRICS_CREDENTIAL_PROVIDER", "nonsense"),
        ("auto_instrument", "OTEL_PYTHON_EXPORTER_OTLP_GRPC_CREDENTIAL_PROVIDER", "nonsense"),
        ("auto_instrument", "OTEL_PYTHON_EXPORTER_OTLP_GRPC_RETRYABLE_ERROR_CODES", "UNAVAILABLE,14"),
        ("auto_instrument", "OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20sek%0Aret-canary"),
        ("auto_instrument", "OTEL_EXPORTER_OTLP_METRICS_HEADERS", "a=sek%E2%82%ACret-canary"),
        ("auto_instrument", "OTEL_PYTHON_LOG_LEVEL", "loud"),
        ("auto_instrument", "OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file.pem"),
        ("auto_instrument", "OTEL_EXPORTER_OTLP_PROTOCOL", "thrift"),
        ("run", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many"),
        ("run", "OTEL_PROPAGATORS", "nonsense"),
        ("run", "OTEL_PYTHON_TRACER_PROVIDER", "nonsense"),
        ("run", "OTEL_PYTHON_LOGGER_PROVIDER", "nonsense"),
        ("run", "OTEL_PYTHON_LOG_LEVEL", "loud"),
    ],
)
def test_one_wrong_variable_is_one_report(receiver: OtlpReceiver, start: str, name: str, value: str) -> None:
    command = [*_RUN, "-c", _USE] if start == "run" else [sys.executable, "-c", _AUTO]
    environment = {**environment_of(receiver), name: value}
    if "_GRPC_" in name:
        environment |= receiver.environment("grpc")
    with Process(command, env=environment) as process:
        output = process.wait_ok(90)
        check(output, receiver, {name: value})
    assert len([line for line in output.splitlines() if " must be " in line]) == 1


@pytest.mark.parametrize("name", ["TRACER", "METER", "LOGGER", "EVENT_LOGGER"])
def test_an_empty_provider_variable_is_as_none(receiver: OtlpReceiver, name: str) -> None:
    given = {f"OTEL_PYTHON_{name}_PROVIDER": ""}
    with Process([sys.executable, "-c", _AUTO], env={**environment_of(receiver), **given}) as process:
        output = process.wait_ok(90)
        check(output, receiver, {})
    assert [line for line in output.splitlines() if not line.startswith("seen ")] == []


@pytest.mark.parametrize("name", ["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_EXPORTER_OTLP_TIMEOUT"])
def test_opentelemetrys_own_launcher_starts_with_our_distro(receiver: OtlpReceiver, name: str) -> None:
    launcher = str(Path(sys.executable).with_name("opentelemetry-instrument"))
    environment = {
        **environment_of(receiver), name: "nonsense",
        "OTEL_PYTHON_DISTRO": "multiagents", "OTEL_PYTHON_CONFIGURATOR": "multiagents",
    }  # fmt: skip
    with Process([launcher, sys.executable, "-c", _USE], env=environment) as process:
        output = process.wait_ok(90)
    assert len([line for line in output.splitlines() if f"{name} must be " in line]) == 1
    assert [span.name for span in receiver.spans] == ["a-span"]


def test_a_wrong_endpoint_of_grpc_and_of_http() -> None:
    http, grpc = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    for value, for_http, for_grpc in (
        ("http://localhost:4318", True, True),
        ("https://user:pass@host/path?query=1", True, False),
        ("unix-abstract:user@app", False, True),
        ("http://[::1]:4318", True, True),
        ("localhost:4317", False, True),
        ("unix:///run/otel.sock", False, True),
        ("http://[::1", False, False),
        ("a b", False, False),
    ):
        for others, right in ((http, for_http), (grpc, for_grpc)):
            found = wrong_values({"OTEL_EXPORTER_OTLP_ENDPOINT": value, **others})
            assert [wrong.name for wrong in found] == ([] if right else ["OTEL_EXPORTER_OTLP_ENDPOINT"]), value


@pytest.mark.parametrize(
    ("value", "by_http", "by_grpc"),
    [
        ("Authorization=Bearer%20x", True, True),
        ("a=tab%09bed", True, False),
        ("a=%C3%A9", True, False),
        ("a=%E2%82%AC", False, False),
        ("a=1%0A2", False, False),
        ("a=1%0D2", False, False),
        ("a=%0A1", True, True),  # the exporters strip it
        ("a%20b=1", False, False),
        ("a%3A=1", False, False),
        ("a$b=1", True, False),
        ("a-bin=1", True, False),
        ("a=%zz", True, True),  # as it is
    ],
)
@pytest.mark.parametrize("middle", ["", "TRACES_", "METRICS_", "LOGS_"])
def test_headers_are_those_that_the_protocol_can_send(middle: str, value: str, by_http: bool, by_grpc: bool) -> None:
    name = f"OTEL_EXPORTER_OTLP_{middle}HEADERS"
    for protocol, right in (("http/protobuf", by_http), ("grpc", by_grpc)):
        environment = {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, name: f"kept=1,{value}"}
        assert used(environment) == ({} if right else {name: "kept=1"})


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize(
    "value",
    [
        "ftp://user:canary@host",
        "user:canary@host:port:4317/",
        "http://host:99999/v1?api_key=canary",
        "http://user:canary@host:0?token=canary",
        "http://user@host:4317?\ntoken=canary",
    ],
)
def test_a_report_of_an_endpoint_shows_no_secret(protocol: str, value: str) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": value, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    assert "canary" not in "".join(wrong.message for wrong in wrong_values(environment))


def used(environment: dict[str, str]) -> dict[str, str | None]:
    """What OpenTelemetry gets in the place of what was given."""
    return {wrong.name: wrong.usable for wrong in wrong_values(environment)}


@pytest.mark.parametrize(
    ("given", "instead"),
    [
        ({"OTEL_PROPAGATORS": "b3_of_old, baggage,nonsense"}, {"OTEL_PROPAGATORS": "baggage"}),
        ({"OTEL_RESOURCE_ATTRIBUTES": "a=b,nonsense,c=d"}, {"OTEL_RESOURCE_ATTRIBUTES": "a=b,c=d"}),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "a=b,nonsense"}, {"OTEL_EXPORTER_OTLP_HEADERS": "a=b"}),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "100"}, {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "100"}),
        ({"OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "9000"}, {"OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "2048"}),
        ({"OTEL_SDK_DISABLED": ""}, {"OTEL_SDK_DISABLED": None}),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": " 4096 "}, {"OTEL_BSP_MAX_QUEUE_SIZE": "4096"}),
        ({"OTEL_METRICS_EXEMPLAR_FILTER": "ALWAYS_ON"}, {"OTEL_METRICS_EXEMPLAR_FILTER": "always_on"}),
        (
            {"OTEL_EXPORTER_OTLP_COMPRESSION": "none", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            {"OTEL_EXPORTER_OTLP_COMPRESSION": None},
        ),
        (
            {"OTEL_EXPORTER_OTLP_COMPRESSION": "deflate", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            {"OTEL_EXPORTER_OTLP_COMPRESSION": None},
        ),
        ({"OTEL_EXPORTER_OTLP_COMPRESSION": "deflate"}, {}),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://user:word@host:4317"},
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://host:4317"},
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "user:word@host:4317"}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "host:4317"}),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://user:word@host:4318"}, {}),
        ({"OTEL_TRACES_SAMPLER_ARG": "a sampler's own"}, {}),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20x,b=c=d"}, {}),
        ({"OTEL_RESOURCE_ATTRIBUTES": "a=,b=c=d,"}, {}),
        ({"OTEL_ATTRIBUTE_COUNT_LIMIT": "0", "OTEL_EXPORTER_OTLP_TIMEOUT": "0.5", "OTEL_PROPAGATORS": "none"}, {}),
    ],
)
def test_what_can_be_used_of_a_value_is_used(given: dict[str, str], instead: dict[str, Any]) -> None:
    assert used(given) == instead


def test_the_environment_is_corrected_as_long_as_anything_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")
    monkeypatch.setenv("OTEL_LOG_LEVEL", "loud")
    with corrected_environment():
        with corrected_environment():
            assert "OTEL_EXPORTER_OTLP_TIMEOUT" not in os.environ
        assert "OTEL_EXPORTER_OTLP_TIMEOUT" not in os.environ
        os.environ["OTEL_LOG_LEVEL"] = "debug"  # the application's own change stays
    assert os.environ["OTEL_EXPORTER_OTLP_TIMEOUT"] == "soon"
    assert os.environ["OTEL_LOG_LEVEL"] == "debug"


def test_importing_the_package_leaves_the_environment_and_opentelemetry_alone() -> None:
    code = """
    import sys
    import multiagents_otel
    print([name for name in sys.modules if name.startswith(("opentelemetry", "multiagents_otel."))])
    """
    with Process.python(code, env={"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "many"}) as process:
        assert process.wait_ok(60).splitlines() == ["['multiagents_otel.version']"]
