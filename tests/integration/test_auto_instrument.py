"""``auto_instrument()`` in processes of its own: which providers, which resource, what is said."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path

import pytest
from opentelemetry.sdk import environment_variables

from multiagents_otel import __version__
from tests.support.ports import free_port
from tests.support.processes import REPOSITORY, Process
from tests.support.receiver import OtlpReceiver

HEAD = """
import logging, sys
logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
from opentelemetry import metrics, trace
from multiagents_otel import MultiAgentsInstrumentor, OptionError, auto_instrument
def use():
    with trace.get_tracer("app").start_as_current_span("a-span"):
        metrics.get_meter("app").create_counter("a.counter").add(3)
"""
NONE = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}


def ran(code: str, env: dict[str, str]) -> str:
    """The output of a process that ended well."""
    with Process.python(HEAD + code, env=env) as process:
        return process.wait_ok()


def ours(output: str) -> list[str]:
    """The lines that the package itself has logged."""
    return [line for line in output.splitlines() if " multiagents_otel" in line]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_one_line_exports_spans_and_metrics_at_the_end_of_the_process(receiver: OtlpReceiver, protocol: str) -> None:
    # An interval of an hour: it is the end that brings them.
    output = ran("auto_instrument(); use()", receiver.environment(protocol, interval_ms=3_600_000))
    assert [span.name for span in receiver.spans] == ["a-span"]
    assert receiver.total("a.counter") == 3
    assert {request.protocol for request in receiver.requests} == {protocol}
    assert output == ""


def test_otlp_goes_over_http_where_nothing_tells_the_protocol(receiver: OtlpReceiver) -> None:
    ran("auto_instrument(); use()", {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint})
    assert {request.protocol for request in receiver.requests} == {"http/protobuf"}
    assert [span.name for span in receiver.spans] == ["a-span"]


@pytest.mark.parametrize(
    ("endpoint", "exporter"),
    [("http://collector:4317", "grpc"), ("http://collector:4318", "http"), ("https://x:4317/", "grpc")],
)
def test_an_endpoint_on_grpcs_own_port_means_grpc(endpoint: str, exporter: str) -> None:
    code = """
    from multiagents_otel import pipeline
    print(pipeline._entry_name("traces", "otlp"))
    """
    with Process.python(code, env={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}) as process:
        assert process.wait_ok() == f"otlp_proto_{exporter}\n"


def test_the_resource_is_the_contracts_and_the_users_own_attributes_win(receiver: OtlpReceiver) -> None:
    environment = receiver.environment("http/protobuf")
    ran("auto_instrument(); use()", environment | {"OTEL_SERVICE_NAME": "shop"})
    [resource] = [span.resource for span in receiver.spans]
    assert str(uuid.UUID(resource["service.instance.id"])) == resource["service.instance.id"]
    assert {key: value for key, value in resource.items() if not key.startswith("telemetry.sdk.")} == {
        "service.name": "shop",
        "service.instance.id": resource["service.instance.id"],
        "telemetry.distro.name": "multiagents-otel",
        "telemetry.distro.version": __version__,
    }
    assert receiver.metric("a.counter")[0].resource == resource

    receiver.clear()
    mine = {"service.name": "mine", "service.instance.id": "pod-1", "telemetry.distro.name": "other", "team": "a"}
    attributes = ",".join(f"{key}={value}" for key, value in mine.items())
    ran("auto_instrument(); use()", environment | {"OTEL_RESOURCE_ATTRIBUTES": attributes})
    [resource] = [span.resource for span in receiver.spans]
    assert mine.items() <= resource.items()


def test_a_second_call_does_nothing(receiver: OtlpReceiver) -> None:
    code = """
auto_instrument()
first = trace.get_tracer_provider(), metrics.get_meter_provider()
auto_instrument()
auto_instrument(detailed_timing=False)
assert first == (trace.get_tracer_provider(), metrics.get_meter_provider())
use()
"""
    output = ran(code, receiver.environment("http/protobuf"))
    assert [span.name for span in receiver.spans] == ["a-span"]
    assert ours(output) == [
        "WARNING multiagents_otel multiagents_otel is active already: the options of this call are not used"
    ]
    assert len(output.splitlines()) == 1


PROVIDERS = """
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
memory, reader = InMemorySpanExporter(), InMemoryMetricReader()
resource = Resource.create({"service.instance.id": "mine"})
traces = TracerProvider(resource=resource); traces.add_span_processor(SimpleSpanProcessor(memory))
meters = MeterProvider([reader], resource)
"""


@pytest.mark.parametrize("how", ["set", "given"])
def test_providers_that_are_there_are_used_and_only_the_missing_ones_are_built(
    receiver: OtlpReceiver, how: str
) -> None:
    if how == "set":
        code = "trace.set_tracer_provider(traces); auto_instrument(); use()"
    else:
        code = "auto_instrument(tracer_provider=traces); assert trace.get_tracer_provider() is not traces\n"
        code += "with traces.get_tracer('app').start_as_current_span('a-span'): pass\n"
        code += "metrics.get_meter('app').create_counter('a.counter').add(3)"
    output = ran(f"{PROVIDERS}\n{code}\nprint(len(memory.get_finished_spans()))", receiver.environment("http/protobuf"))
    assert output == "1\n"
    assert receiver.spans == []
    assert receiver.total("a.counter") == 3


def test_with_all_providers_there_nothing_is_built_and_nothing_said(receiver: OtlpReceiver) -> None:
    code = """
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry._logs import set_logger_provider
import threading
trace.set_tracer_provider(traces); metrics.set_meter_provider(meters); set_logger_provider(LoggerProvider(resource))
before = threading.active_count()
auto_instrument()
assert threading.active_count() == before
use()
print(len(memory.get_finished_spans()))
"""
    assert ran(PROVIDERS + code, receiver.environment("http/protobuf")) == "1\n"
    assert receiver.requests == []


def test_explicit_providers_get_all_that_a_workflow_records_and_the_global_ones_stay_unset(
    receiver: OtlpReceiver,
) -> None:
    code = """
import asyncio, json
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry._logs import get_logger_provider
auto_instrument(tracer_provider=traces, meter_provider=meters, logger_provider=LoggerProvider(resource))
assert [type(each).__name__ for each in (
    trace.get_tracer_provider(), metrics.get_meter_provider(), get_logger_provider()
)] == ["ProxyTracerProvider", "_ProxyMeterProvider", "ProxyLoggerProvider"]
import structlog
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
from tests.support.sagas import order_system
async def main():
    async with order_system() as system:
        await system.wait_ended(await system.run())
asyncio.run(main())
spans = [span.name for span in memory.get_finished_spans() if span.parent is None]
ended = [
    (dict(point.attributes), point.value)
    for each in reader.get_metrics_data().resource_metrics for scope in each.scope_metrics for metric in scope.metrics
    if metric.name == "multiagents.workflows" for point in metric.data.data_points if point.value
]
print(json.dumps({"roots": spans, "ended": ended}))
"""
    output = ran(PROVIDERS + code, receiver.environment("http/protobuf"))
    assert json.loads(output.splitlines()[-1]) == {
        "roots": ["workflow.order_processing"],
        "ended": [[{"workflow.id": "order_processing", "status": "completed"}, 1]],
    }
    assert ours(output) == []
    assert receiver.requests == []


def test_each_process_has_an_instance_id_of_its_own(receiver: OtlpReceiver) -> None:
    for _ in range(2):
        ran("auto_instrument(); use()", receiver.environment("http/protobuf"))
    assert len({span.resource["service.instance.id"] for span in receiver.spans}) == len(receiver.spans) == 2


def test_the_users_provider_without_an_instance_id_is_warned_of_once() -> None:
    code = """
trace.set_tracer_provider(TracerProvider(resource=Resource({"service.name": "x"})))
metrics.set_meter_provider(MeterProvider([], Resource({"service.name": "x"})))
auto_instrument(); auto_instrument()
"""
    [line] = ours(ran(PROVIDERS + code, NONE))
    assert line.startswith("WARNING multiagents_otel the traces provider's resource has no service.instance.id")


@pytest.mark.parametrize(
    ("variables", "why"),
    [(NONE, "are all 'none'"), ({"OTEL_SDK_DISABLED": "true"}, "OTEL_SDK_DISABLED is true")],
)
def test_that_nothing_will_be_exported_is_said_once(variables: dict[str, str], why: str) -> None:
    [line] = ours(ran("auto_instrument(); auto_instrument(); use()", variables))
    assert line.startswith("WARNING multiagents_otel nothing will be exported: ")
    assert line.endswith(why)


def test_one_signal_may_be_off_without_a_word(receiver: OtlpReceiver) -> None:
    variables = receiver.environment("http/protobuf") | {"OTEL_TRACES_EXPORTER": "none"}
    assert ran("auto_instrument(); use()", variables) == ""
    assert receiver.total("a.counter") == 3
    assert receiver.spans == []


def test_the_console_exporter_and_two_exporters_at_once(receiver: OtlpReceiver) -> None:
    variables = receiver.environment("http/protobuf") | {"OTEL_TRACES_EXPORTER": "console,otlp"}
    assert '"name": "a-span"' in ran("auto_instrument(); use()", variables)
    assert [span.name for span in receiver.spans] == ["a-span"]


def test_an_exporter_that_is_not_installed_is_one_error_and_stops_only_its_signal(receiver: OtlpReceiver) -> None:
    variables = receiver.environment("http/protobuf") | {"OTEL_TRACES_EXPORTER": "zipkin_of_old"}
    [line] = ours(ran("auto_instrument(); use()", variables))
    assert line.startswith(
        "ERROR multiagents_otel traces are not exported, their pipeline could not be built: no 'zipkin_of_old' among"
    )
    assert receiver.total("a.counter") == 3


def install(directory: Path, group: str) -> dict[str, str]:
    """Install an entry point whose factory raises, and return the environment in which it is found."""
    folder = directory / "raising-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: raising\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[{group}]\nraising = raising:Raising\n")
    (directory / "raising.py").write_text(
        "class Raising:\n    def __init__(self): raise OSError('token=canary-secret')\n"
    )
    return {"PYTHONPATH": os.pathsep.join((str(REPOSITORY), str(directory)))}


USE_ALL = """
from multiagents_otel import flush
from opentelemetry._logs import get_logger_provider
use()
get_logger_provider().get_logger("app")
kinds = (type(p).__module__ for p in (trace.get_tracer_provider(), metrics.get_meter_provider(), get_logger_provider()))
print("sdk", [kind.startswith("opentelemetry.sdk.") for kind in kinds])
print("flush", flush())
"""
SDK_OF_ALL = "sdk [True, True, True]"


@pytest.mark.parametrize("scope", ["", "TRACES_"])
def test_a_credential_provider_that_raises_is_not_reported_as_a_wrong_exporter(
    receiver: OtlpReceiver, tmp_path: Path, scope: str
) -> None:
    installed = install(tmp_path, "opentelemetry_otlp_credential_provider")
    wrong = {f"OTEL_PYTHON_EXPORTER_OTLP_HTTP_{scope}CREDENTIAL_PROVIDER": "raising"}
    output = ran("auto_instrument()" + USE_ALL, receiver.environment("http/protobuf") | installed | wrong)
    lines = [line for line in ours(output) if " ERROR " in f" {line}"]
    assert len(lines) == (1 if scope else 3)
    for line in lines:
        assert "could not be built: exporter 'otlp': OSError: token=" in line
        assert "_EXPORTER)" not in line
    assert "canary" not in "".join(lines)
    assert output.splitlines()[-2:] == [SDK_OF_ALL, "flush False"]
    assert receiver.total("a.counter") == (3 if scope else 0)


@pytest.mark.parametrize(
    ("exporters", "flushed"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, False),
        ({"OTEL_METRICS_EXPORTER": "statsd"}, False),
        ({"OTEL_LOGS_EXPORTER": "loki,syslog"}, False),
        ({f"OTEL_{signal}_EXPORTER": "nonsense" for signal in ("TRACES", "METRICS", "LOGS")}, False),
        ({"OTEL_TRACES_EXPORTER": "zipkin,otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_SDK_DISABLED": "true"}, True),
        (NONE, True),
    ],
)
def test_a_wrong_provider_beside_a_wrong_exporter_stops_nothing(
    receiver: OtlpReceiver, exporters: dict[str, str], flushed: bool
) -> None:
    providers = {f"OTEL_PYTHON_{name}_PROVIDER": "nonsense" for name in ("TRACER", "METER", "LOGGER")}
    output = ran("auto_instrument()" + USE_ALL, receiver.environment("http/protobuf") | exporters | providers)
    assert "Traceback" not in output
    assert output.splitlines()[-2:] == [SDK_OF_ALL, f"flush {flushed}"]
    for name in providers:
        assert len([line for line in ours(output) if f"{name} must be " in line]) == 1
    assert len(receiver.spans) == ("otlp" in exporters.get("OTEL_TRACES_EXPORTER", "otlp"))


@pytest.mark.parametrize("name", ["TRACER", "METER", "LOGGER"])
def test_a_provider_of_the_environment_that_raises_is_reported_and_the_sdks_is_used(
    receiver: OtlpReceiver, tmp_path: Path, name: str
) -> None:
    installed = install(tmp_path, f"opentelemetry_{name.lower()}_provider")
    wrong = {f"OTEL_PYTHON_{name}_PROVIDER": "raising"}
    output = ran("auto_instrument()" + USE_ALL, receiver.environment("http/protobuf") | installed | wrong)
    [line] = ours(output)
    assert f"OTEL_PYTHON_{name}_PROVIDER can't be used, its default (the SDK's) is used: OSError" in line
    assert "canary" not in line
    assert output.splitlines()[-2:] == [SDK_OF_ALL, "flush True"]
    assert [span.name for span in receiver.spans] == ["a-span"]
    assert receiver.total("a.counter") == 3


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_what_an_exporter_logs_of_a_failure_has_no_secret(protocol: str) -> None:
    endpoint = f"http://user:canary-word@127.0.0.1:{free_port()}/v1?api_key=canary-secret"
    variables = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        **{f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT": endpoint for signal in ("TRACES", "METRICS")},
        "MULTIAGENTS_OTEL_FLUSH_TIMEOUT": "2",
    }
    output = ran("auto_instrument()" + USE_ALL, variables)
    assert "api_key" in output or protocol == "grpc"  # gRPC leaves the path out
    assert "canary" not in output


@pytest.mark.parametrize(
    ("sampler", "argument", "spans"),
    [("always_off", "", 0), ("parentbased_traceidratio", "0", 0), ("traceidratio", "1", 1), ("always_on", "", 1)],
)
def test_the_sampler_of_the_environment_is_used(
    receiver: OtlpReceiver, sampler: str, argument: str, spans: int
) -> None:
    variables = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument}
    ran("auto_instrument(); use()", receiver.environment("http/protobuf") | variables)
    assert len(receiver.spans) == spans
    assert receiver.total("a.counter") == 3


@pytest.mark.parametrize(
    ("variable", "value", "instead", "why"),
    [
        (
            "OTEL_TRACES_SAMPLER",
            "parentbased_traceidratoi",
            "parentbased_always_on is in its place",
            "did you mean 'parentbased_traceidratio'?",
        ),
        ("OTEL_PYTHON_ID_GENERATOR", "randon", "ids are random", "did you mean 'random'?"),
    ],
)
def test_a_misspelt_part_loses_no_trace_and_is_told_with_the_nearest_name(
    receiver: OtlpReceiver, variable: str, value: str, instead: str, why: str
) -> None:
    environment = receiver.environment("http/protobuf") | {variable: value, "OTEL_TRACES_SAMPLER_ARG": "0.5"}
    [line] = ours(ran("auto_instrument(); use()", environment))
    assert line.startswith(f"WARNING multiagents_otel {variable} can't be used, {instead}: no {value!r} among")
    assert why in line
    assert [span.name for span in receiver.spans] == ["a-span"]


def test_one_misspelt_exporter_of_two_is_one_error_and_the_other_exports(receiver: OtlpReceiver) -> None:
    environment = receiver.environment("http/protobuf") | {"OTEL_TRACES_EXPORTER": "consol,otlp"}
    [line] = ours(ran("auto_instrument(); use()", environment))
    assert line.startswith(
        "ERROR multiagents_otel one of the traces exporters could not be made, only the others are used: no 'consol'"
    )
    assert "did you mean 'console'?" in line
    assert [span.name for span in receiver.spans] == ["a-span"]


@pytest.mark.parametrize(("variable", "interval"), [("", 30_000.0), ("1234", 1234.0)])
def test_metrics_leave_every_30_s_unless_told_otherwise(variable: str, interval: float) -> None:
    code = "auto_instrument(); print(*{r._export_interval_millis for r in metrics.get_meter_provider()"
    code += "._measurement_consumer._reader_storages})"
    variables = {
        "OTEL_METRIC_EXPORT_INTERVAL": variable,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
    }
    with Process.python(HEAD + code, env=variables) as process:
        assert process.wait_line(str(interval))


def test_a_wrong_argument_raises_and_has_changed_nothing() -> None:
    code = """
import atexit, signal
before = atexit._ncallbacks(), signal.getsignal(signal.SIGTERM), type(trace.get_tracer_provider())
for wrong in ({"detailed_timin": False}, {"stall_grace": -1}, {"workflow_parent": "sibling"}):
    try:
        auto_instrument(**wrong)
    except OptionError as error:
        print(error)
assert before == (atexit._ncallbacks(), signal.getsignal(signal.SIGTERM), type(trace.get_tracer_provider()))
assert not MultiAgentsInstrumentor().is_instrumented_by_opentelemetry
"""
    assert ran(code, {}).splitlines() == [
        "multiagents_otel has no option 'detailed_timin': did you mean 'detailed_timing'?",
        "option 'stall_grace' must be seconds, 0 or more, not -1",
        "option 'workflow_parent' must be 'child' or 'link', not 'sibling'",
    ]


def test_a_wrong_variable_is_one_error_and_the_default_holds() -> None:
    code = """
auto_instrument()
print(MultiAgentsInstrumentor._active.telemetry.options.detailed_timing)
"""
    output = ran(code, NONE | {"MULTIAGENTS_OTEL_DETAILED_TIMING": "perhaps"})
    assert [line for line in output.splitlines() if "perhaps" in line] == [
        "ERROR multiagents_otel.config MULTIAGENTS_OTEL_DETAILED_TIMING must be true or false, not 'perhaps': "
        "its default True holds"
    ]
    assert output.splitlines()[-1] == "True"


# --- OTEL_CONFIG_FILE -----------------------------------------------------------------------------

CONFIG = """
file_format: "1.0"
resource:
  attributes:
    - {{name: service.name, value: from-file}}
tracer_provider:
  processors:
    - simple: {{exporter: {{otlp_http: {{endpoint: "{endpoint}/v1/traces"}}}}}}
meter_provider:
  readers:
    - periodic: {{interval: 60000, exporter: {{otlp_http: {{endpoint: "{endpoint}/v1/metrics"}}}}}}
instrumentation/development:
  python:
    multiagents: {{{options}}}
"""


has_configuration_file = pytest.mark.skipif(
    not hasattr(environment_variables, "OTEL_CONFIG_FILE"), reason="an SDK from before the configuration file"
)


def configured(receiver: OtlpReceiver, tmp_path: Path, options: str) -> dict[str, str]:
    path = tmp_path / "otel.yaml"
    path.write_text(CONFIG.format(endpoint=receiver.http_endpoint, options=options))
    return {"OTEL_CONFIG_FILE": str(path)}


@has_configuration_file
def test_the_configuration_file_builds_the_providers_and_holds_our_options(
    receiver: OtlpReceiver, tmp_path: Path
) -> None:
    code = "auto_instrument(); use(); o = MultiAgentsInstrumentor._active.telemetry.options\n"
    code += "print(o.detailed_timing, o.stall_grace)"
    variables = configured(receiver, tmp_path, "detailed_timing: false, stall_grace: 3")
    assert ran(code, variables) == "False 3.0\n"
    [resource] = [span.resource for span in receiver.spans]
    assert resource["service.name"] == "from-file"
    assert resource["telemetry.distro.name"] == "multiagents-otel"
    assert uuid.UUID(resource["service.instance.id"])
    assert receiver.total("a.counter") == 3
    assert receiver.metric("a.counter")[0].resource == resource


@has_configuration_file
@pytest.mark.parametrize("content", [None, "file_format: [", "file_format: '1.0'\ntracer_provider: {processors: 3}\n"])
def test_a_configuration_file_that_cannot_be_used_is_told_and_stops_nothing(
    tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "otel.yaml"
    if content is not None:
        path.write_text(content)
    output = ran("auto_instrument(); use(); print('went on')", {"OTEL_CONFIG_FILE": str(path)})
    assert output.splitlines()[-1] == "went on"
    [error, warning] = ours(output)
    assert error.startswith("ERROR multiagents_otel OTEL_CONFIG_FILE can't be used, nothing is exported: ")
    assert warning == "WARNING multiagents_otel nothing will be exported: OTEL_CONFIG_FILE configures no provider"


@has_configuration_file
def test_a_wrong_provider_beside_a_wrong_configuration_file_stops_nothing() -> None:
    providers = {f"OTEL_PYTHON_{name}_PROVIDER": "nonsense" for name in ("TRACER", "METER", "LOGGER")}
    output = ran("auto_instrument()" + USE_ALL, {"OTEL_CONFIG_FILE": "/no/such/file.yaml"} | providers)
    assert "Traceback" not in output
    assert output.splitlines()[-2:] == [SDK_OF_ALL, "flush False"]
    assert len(ours(output)) == 5


# --- importing ------------------------------------------------------------------------------------


def test_B12_importing_has_no_side_effects_and_imports_no_framework() -> None:
    code = """
import atexit, logging, os, signal, sys, threading
def state():
    from opentelemetry import metrics, trace
    return (atexit._ncallbacks(), signal.getsignal(signal.SIGTERM), threading.active_count(), dict(os.environ),
            type(trace.get_tracer_provider()), type(metrics.get_meter_provider()), logging.root.handlers[:])
import opentelemetry.sdk.trace, opentelemetry.sdk.metrics, opentelemetry.sdk._logs
import opentelemetry.sdk.metrics.export, opentelemetry.sdk._logs.export, concurrent.futures.thread
before = state()
import multiagents_otel
for name in multiagents_otel.__all__:
    getattr(multiagents_otel, name)
assert state() == before, (state(), before)
print(sorted({"multiagents", "dspy", "redis", "litellm", "grpc", "requests"} & sys.modules.keys()))
"""
    with Process.python(code) as process:
        assert process.wait_ok() == "[]\n"


@pytest.mark.parametrize("where", ["before", "after"])
def test_the_framework_may_be_imported_before_or_after(where: str) -> None:
    lines = ["auto_instrument()", "from multiagents.event_bus.redis_bus import RedisEventBus"]
    code = "\n".join(reversed(lines) if where == "before" else lines)
    code += "\nprint(hasattr(RedisEventBus.publish, '__wrapped__'), 'dspy' in sys.modules)"
    assert ran(code, NONE).splitlines()[-1] == "True True"
