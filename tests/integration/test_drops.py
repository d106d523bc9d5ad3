"""Dropped telemetry: each span, log record and data point is exported or counted, and reported once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from opentelemetry.sdk import environment_variables

from tests.support.deadline import DEADLINE
from tests.support.otlp import decode
from tests.support.processes import Process
from tests.support.receiver import OtlpReceiver

HEAD: Final = """
import logging, os, sys, threading
logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
import multiagents_otel
multiagents_otel.auto_instrument()
from opentelemetry import _logs, metrics, trace
def record(count, start=0):
    tracer, logger = trace.get_tracer("app"), _logs.get_logger("app")
    for number in range(start, start + count):
        tracer.start_span(f"{os.getpid()}-{number}").end()
        logger.emit(body=f"{os.getpid()}-{number}")
def flush():
    trace.get_tracer_provider().force_flush()
    _logs.get_logger_provider().force_flush()
    metrics.get_meter_provider().force_flush()
"""
DROPPED: Final = "multiagents.otel.dropped"
PROTOCOLS = pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
HOUR_MS: Final = 3_600_000
TINY: Final = {
    f"OTEL_{processor}_{setting}": "1"
    for processor in ("BSP", "BLRP")
    for setting in ("MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE")
}


@pytest.fixture
def healthy() -> Iterator[OtlpReceiver]:
    """Takes the metrics, whatever happens to spans and log records."""
    with OtlpReceiver() as started:
        yield started


def environment(
    receiver: OtlpReceiver, healthy: OtlpReceiver, protocol: str = "http/protobuf", interval_ms: int = HOUR_MS
) -> dict[str, str]:
    """Exports metrics to one receiver and the rest to another, which is given up after a second."""
    variables = healthy.environment(protocol, interval_ms)
    rest = receiver.environment(protocol)["OTEL_EXPORTER_OTLP_ENDPOINT"]
    paths = (
        dict.fromkeys(("TRACES", "LOGS"), "") if protocol == "grpc" else {"TRACES": "/v1/traces", "LOGS": "/v1/logs"}
    )
    variables |= {f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT": rest + path for signal, path in paths.items()}
    return variables | {
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "1",
        "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": "1",
        "MULTIAGENTS_OTEL_FLUSH_TIMEOUT": "20",
    }


def counted(healthy: OtlpReceiver) -> dict[tuple[str, str], float]:
    """The sums of all processes by signal and reason, those at 0 left out."""
    sums: Counter[tuple[str, str]] = Counter()
    for point in healthy.metric(DROPPED):
        sums[point.attributes["signal"], point.attributes["reason"]] += int(point.value or 0)
    return {key: value for key, value in sums.items() if value}


def reports(output: str) -> list[str]:
    """The lines about dropped telemetry."""
    return [line for line in output.splitlines() if re.search("(was|were) dropped", line)]


def arrived(receiver: OtlpReceiver) -> tuple[int, int]:
    """How many spans and log records of the application have arrived; each of them once."""
    spans = [span.name for span in receiver.spans if span.scope_name == "app"]
    bodies = [log.body for log in receiver.logs if log.scope_name == "app"]
    assert len(set(spans)) == len(spans)
    assert len(set(bodies)) == len(bodies)
    return len(spans), len(bodies)


@PROTOCOLS
def test_a_healthy_backend_drops_nothing_and_every_series_starts_at_0(receiver: OtlpReceiver, protocol: str) -> None:
    with Process.python(HEAD + "record(1000)\nflush()", env=receiver.environment(protocol, HOUR_MS)) as process:
        output = process.wait_ok(DEADLINE)
    assert arrived(receiver) == (1000, 1000)
    assert reports(output) == []
    assert {(point.attributes["signal"], point.attributes["reason"]) for point in receiver.metric(DROPPED)} == {
        (signal, reason)
        for signal in ("traces", "metrics", "logs")
        for reason in ("queue_full", "export_failed", "rejected", "shutdown")
        if (signal, reason) != ("metrics", "queue_full")
    }
    assert counted(receiver) == {}
    assert {(point.kind, point.unit, point.monotonic, point.temporality) for point in receiver.metric(DROPPED)} == {
        ("SUM", "{item}", True, "CUMULATIVE")
    }


@PROTOCOLS
def test_a_retry_that_succeeds_is_no_drop(receiver: OtlpReceiver, healthy: OtlpReceiver, protocol: str) -> None:
    receiver.refuse(503)
    variables = environment(receiver, healthy, protocol) | {
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "40",
        "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": "40",
    }
    code = "record(100)\nprint('recorded', flush=True)\nsys.stdin.readline()\nflush()"
    with Process.python(HEAD + code, env=variables | {"OTEL_BSP_SCHEDULE_DELAY": "50"}) as process:
        process.wait_line("recorded")
        process.send_line("flush")
        receiver.wait_for(lambda received: received.refused, DEADLINE)
        receiver.accept()
        output = process.wait_ok(DEADLINE)
    assert arrived(receiver) == (100, 100)
    assert (counted(healthy), reports(output)) == ({}, [])


@PROTOCOLS
@pytest.mark.parametrize("status", [400, 401, 503])
def test_a_failed_export_is_counted_and_reported_once_without_a_traceback(
    receiver: OtlpReceiver, healthy: OtlpReceiver, protocol: str, status: int
) -> None:
    receiver.refuse(status)
    code = "for start in range(0, 900, 300):\n    record(300, start)\n    flush()"
    with Process.python(HEAD + code, env=environment(receiver, healthy, protocol)) as process:
        output = process.wait_ok(DEADLINE)
    assert counted(healthy) == {("traces", "export_failed"): 900, ("logs", "export_failed"): 900}
    spans, logs = sorted(reports(output), key=lambda line: "log records" in line)
    assert re.match(
        r"WARNING multiagents_otel \d+ spans were dropped: the export failed \(the backend answered ", spans
    )
    assert re.match(r"WARNING multiagents_otel \d+ log records were dropped: the export failed", logs)
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in spans
    assert "multiagents.otel.dropped (signal=traces, reason=export_failed)" in spans
    assert "Traceback" not in output


@PROTOCOLS
def test_what_a_queue_of_one_discards_is_counted(receiver: OtlpReceiver, healthy: OtlpReceiver, protocol: str) -> None:
    code = """
threads = [threading.Thread(target=record, args=(1000, 1000 * n)) for n in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
flush()
"""
    with Process.python(HEAD + code, env=environment(receiver, healthy, protocol) | TINY) as process:
        output = process.wait_ok(DEADLINE)
    spans, logs = arrived(receiver)
    assert counted(healthy) == {("traces", "queue_full"): 4000 - spans, ("logs", "queue_full"): 4000 - logs}
    assert spans > 0
    assert logs > 0
    lines = reports(output)
    assert len(lines) == 2
    assert sum("the queue of 1 was full" in line and "OTEL_BSP_MAX_QUEUE_SIZE" in line for line in lines) == 1
    assert sum("the queue of 1 was full" in line and "OTEL_BLRP_MAX_QUEUE_SIZE" in line for line in lines) == 1


@PROTOCOLS
def test_a_backend_that_hangs_and_recovers_costs_what_was_counted(
    receiver: OtlpReceiver, healthy: OtlpReceiver, protocol: str
) -> None:
    receiver.hang()
    code = """
record(500)
print("recorded", flush=True)
sys.stdin.readline()
record(500, 500)
flush()
"""
    small = {"OTEL_BSP_MAX_QUEUE_SIZE": "100", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "20"}
    small |= {name.replace("BSP", "BLRP"): value for name, value in small.items()}
    with Process.python(HEAD + code, env=environment(receiver, healthy, protocol) | small) as process:
        process.wait_line("recorded", DEADLINE)
        receiver.wait_for(lambda received: received.held >= 2, DEADLINE)
        receiver.accept()
        process.send_line("go on")
        process.wait_ok(DEADLINE)
    spans, logs = arrived(receiver)
    sums: Counter[str] = Counter()
    for (signal, _reason), value in counted(healthy).items():
        sums[signal] += int(value)
    assert sums == {"traces": 1000 - spans, "logs": 1000 - logs}
    assert counted(healthy)["traces", "queue_full"] > 0


def test_what_a_process_still_holds_at_its_end_is_reported(receiver: OtlpReceiver, healthy: OtlpReceiver) -> None:
    receiver.hang()
    variables = environment(receiver, healthy) | {
        "MULTIAGENTS_OTEL_FLUSH_TIMEOUT": "0.5",
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "60",
        "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": "60",
    }
    with Process.python(HEAD + "record(3000)", env=variables) as process:
        output = process.wait_ok(DEADLINE)
        receiver.accept()
    assert "Traceback" not in output
    assert all("the queue of 2048 was full" in line for line in reports(output)), output
    assert len(reports(output)) == 2
    [line] = [line for line in output.splitlines() if "still queued when the process ended" in line]
    lost = {items: int(amount.replace(",", "")) for amount, items in re.findall(r"([\d,]+) (span|log record)s", line)}
    assert set(lost) == {"span", "log record"}
    assert all(2048 <= amount < 3000 for amount in lost.values()), line


def test_what_is_recorded_after_a_shutdown_is_counted(receiver: OtlpReceiver, healthy: OtlpReceiver) -> None:
    code = """
record(10)
trace.get_tracer_provider().shutdown()
_logs.get_logger_provider().shutdown()
record(7, 10)
metrics.get_meter_provider().force_flush()
"""
    with Process.python(HEAD + code, env=environment(receiver, healthy)) as process:
        process.wait_ok(DEADLINE)
    spans, logs = arrived(receiver)
    sums = counted(healthy)
    assert spans + sums.get(("traces", "shutdown"), 0) == 17
    assert logs + sums.get(("logs", "shutdown"), 0) == 17
    assert spans == 10


def test_a_forked_child_counts_its_own_drops_alone(receiver: OtlpReceiver, healthy: OtlpReceiver) -> None:
    receiver.refuse(400)
    code = """
record(50)
flush()
record(20, 50)  # queued in the parent at the fork
pid = os.fork()
if pid == 0:
    record(5)
    flush()
    sys.exit()
assert os.waitpid(pid, 0)[1] == 0
flush()
"""
    with Process.python(HEAD + code, env=environment(receiver, healthy)) as process:
        process.wait_ok(DEADLINE)
    values = [point.value for point in healthy.metric(DROPPED, {"signal": "traces", "reason": "export_failed"})]
    assert Counter(values) == {5: 1, 70: 1}


@PROTOCOLS
def test_items_that_the_backend_rejects_are_counted(
    receiver: OtlpReceiver, healthy: OtlpReceiver, protocol: str
) -> None:
    receiver.reject(3, "too old, password=canary")
    with Process.python(HEAD + "record(100)\nflush()", env=environment(receiver, healthy, protocol)) as process:
        output = process.wait_ok(DEADLINE)
    assert arrived(receiver) == (97, 97)
    assert counted(healthy) == {("traces", "rejected"): 3, ("logs", "rejected"): 3}
    assert len(reports(output)) == 2
    assert "too old" in reports(output)[0]
    assert "canary" not in output


def test_a_redirect_is_a_failed_export(receiver: OtlpReceiver, healthy: OtlpReceiver) -> None:
    receiver.refuse(302)
    with Process.python(HEAD + "record(100)\nflush()", env=environment(receiver, healthy)) as process:
        output = process.wait_ok(DEADLINE)
    assert counted(healthy) == {("traces", "export_failed"): 100, ("logs", "export_failed"): 100}
    assert "redirect" in reports(output)[0]


def test_data_points_of_a_failed_export_are_counted(receiver: OtlpReceiver) -> None:
    receiver.refuse(400)
    code = """
counter = metrics.get_meter("app").create_counter("app.count")
for who in "abc": counter.add(1, {"who": who})
metrics.get_meter_provider().force_flush()
metrics.get_meter_provider().force_flush()
print("refused", flush=True)
sys.stdin.readline()
"""
    variables = receiver.environment("http/protobuf", HOUR_MS)
    with Process.python(HEAD + code, env=variables) as process:
        process.wait_line("refused", DEADLINE)
        lost = sum(len(decode("metrics", request.body)) for request in receiver.requests if request.signal == "metrics")
        receiver.accept()
        process.send_line("go on")
        output = process.wait_ok(DEADLINE)
    assert lost > 6
    assert counted(receiver) == {("metrics", "export_failed"): lost}
    assert receiver.total("app.count") == 3  # sums are cumulative: the next export brings them
    [line] = reports(output)
    assert "data points were dropped: the export failed (the backend answered 400)" in line


def install(directory: Path, code: str) -> None:
    """Make a distribution whose class ``Raising`` exports spans and log records."""
    folder = directory / "raising-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: raising\nVersion: 1.0\n")
    groups = ("opentelemetry_traces_exporter", "opentelemetry_logs_exporter")
    (folder / "entry_points.txt").write_text("".join(f"[{group}]\nraising = raising:Raising\n" for group in groups))
    (directory / "raising.py").write_text(code)


def test_an_exporter_that_raises_is_counted_without_a_traceback(healthy: OtlpReceiver, tmp_path: Path) -> None:
    install(
        tmp_path,
        """
class Raising:
    def export(self, batch): raise ConnectionResetError("token=canary-secret")
    def shutdown(self): pass
    def force_flush(self, *args, **kwargs): return True
""",
    )
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{HEAD}record(40)\nflush()"
    variables = healthy.environment("http/protobuf", HOUR_MS)
    variables |= {"OTEL_TRACES_EXPORTER": "raising", "OTEL_LOGS_EXPORTER": "raising"}
    with Process.python(code, env=variables) as process:
        output = process.wait_ok(DEADLINE)
    assert counted(healthy) == {("traces", "export_failed"): 40, ("logs", "export_failed"): 40}
    assert len(reports(output)) == 2
    assert "ConnectionResetError" in reports(output)[0]
    assert "canary" not in output
    assert "Traceback" not in output


@pytest.mark.parametrize("error", ["asyncio.CancelledError", "SystemExit", "GeneratorExit", "Own"])
def test_an_exporter_that_raises_no_exception_is_counted_and_ends_no_thread(
    healthy: OtlpReceiver, tmp_path: Path, error: str
) -> None:
    install(
        tmp_path,
        f"""
import asyncio
calls = []
class Own(BaseException): pass
class Raising:
    def export(self, batch):
        calls.append(batch)
        raise {error}("a cause")
    def shutdown(self): pass
    def force_flush(self, *args, **kwargs): return True
""",
    )
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
{HEAD}
import time, raising
for number in range(3):
    record(1, number)
    deadline = time.monotonic() + 60
    while len(raising.calls) < 2 * (number + 1) and time.monotonic() < deadline:
        time.sleep(0.01)
assert len(raising.calls) == 6
"""
    variables = healthy.environment("http/protobuf", HOUR_MS)
    variables |= {"OTEL_TRACES_EXPORTER": "raising", "OTEL_LOGS_EXPORTER": "raising"}
    variables |= {"OTEL_BSP_SCHEDULE_DELAY": "20", "OTEL_BLRP_SCHEDULE_DELAY": "20"}
    with Process.python(code, env=variables) as process:
        output = process.wait_ok(DEADLINE)
    assert counted(healthy) == {("traces", "export_failed"): 3, ("logs", "export_failed"): 3}
    assert f"{error.split('.')[-1]}: a cause" in reports(output)[0]
    assert "Traceback" not in output


@pytest.mark.skipif(
    not hasattr(environment_variables, "OTEL_CONFIG_FILE"), reason="an SDK from before the configuration file"
)
@pytest.mark.parametrize("processor", ["simple", "batch"])
def test_providers_of_a_configuration_file_are_counted(
    receiver: OtlpReceiver, healthy: OtlpReceiver, tmp_path: Path, processor: str
) -> None:
    path = tmp_path / "otel.yaml"
    path.write_text(f"""
file_format: "1.0"
tracer_provider:
  processors:
    - {processor}: {{exporter: {{otlp_http: {{endpoint: "{receiver.http_endpoint}/v1/traces"}}}}}}
logger_provider:
  processors:
    - {processor}: {{exporter: {{otlp_http: {{endpoint: "{receiver.http_endpoint}/v1/logs"}}}}}}
meter_provider:
  readers:
    - periodic: {{interval: {HOUR_MS}, exporter: {{otlp_http: {{endpoint: "{healthy.http_endpoint}/v1/metrics"}}}}}}
""")
    receiver.refuse(400)
    with Process.python(HEAD + "record(30)\nflush()", env={"OTEL_CONFIG_FILE": str(path)}) as process:
        output = process.wait_ok(DEADLINE)
    assert counted(healthy) == {("traces", "export_failed"): 30, ("logs", "export_failed"): 30}
    assert len(reports(output)) == 2
