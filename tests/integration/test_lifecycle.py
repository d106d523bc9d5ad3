"""The end of a process and its forks: rows D12 and F1 to F5 of the failure catalogue, in real processes."""

from __future__ import annotations

import signal
import time
from collections import Counter

import pytest

from tests.support.ports import free_port
from tests.support.processes import Process
from tests.support.receiver import OtlpReceiver

ONE_SPAN = """
    import os, signal, sys, threading
    import multiagents_otel
    multiagents_otel.auto_instrument()
    from opentelemetry import metrics, trace
    tracer, counter = trace.get_tracer("app"), metrics.get_meter("app").create_counter("app.count")
    with tracer.start_as_current_span("work"):
        counter.add(1)
    print("worked", flush=True)
"""
NEVER_BY_ITSELF = {"OTEL_BSP_SCHEDULE_DELAY": "3600000", "OTEL_METRIC_EXPORT_INTERVAL": "3600000"}
"""Only the end of the process, or a flush, sends anything."""


def _arrived(receiver: OtlpReceiver) -> bool:
    return [span.name for span in receiver.spans] == ["work"] and receiver.total("app.count") == 1


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize(
    ("ends", "status"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise RuntimeError('the application')", 1),
        ("os.kill(os.getpid(), signal.SIGTERM); threading.Event().wait()", -signal.SIGTERM),
    ],
    ids=["at the end", "sys.exit", "an exception", "SIGTERM"],
)
def test_D12_what_is_queued_leaves_however_the_process_ends(protocol: str, ends: str, status: int) -> None:
    with OtlpReceiver() as receiver:
        environment = {**receiver.environment(protocol), **NEVER_BY_ITSELF}
        with Process.python(ONE_SPAN + f"\n    {ends}", env=environment) as process:
            assert process.wait() == status, process.output
        assert _arrived(receiver), receiver.summary()


def test_D12_a_handler_of_the_application_s_own_is_kept() -> None:
    code = (
        """
        import signal, sys, threading
        signal.signal(signal.SIGTERM, lambda *_: (print("own", flush=True), sys.exit(7)))
        """
        + ONE_SPAN.replace("\n    ", "\n        ")
        + """
        threading.Event().wait()
        """
    )
    with OtlpReceiver() as receiver:
        with Process.python(code, env={**receiver.environment(), **NEVER_BY_ITSELF}) as process:
            process.wait_line("worked")
            assert process.terminate() == 7
            assert "own" in process.lines
        assert _arrived(receiver), receiver.summary()


def test_D12_a_process_that_skips_its_end_loses_what_is_queued() -> None:
    """Documented, not mended: os._exit() asks for it."""
    with OtlpReceiver() as receiver:
        with Process.python(
            ONE_SPAN + "\n    os._exit(0)", env={**receiver.environment(), **NEVER_BY_ITSELF}
        ) as process:
            assert process.wait() == 0
        assert receiver.spans == []


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("backend", ["hangs", "is not there"])
@pytest.mark.parametrize(
    "ends", ["", "os.kill(os.getpid(), signal.SIGTERM); threading.Event().wait()"], ids=["end", "TERM"]
)
def test_F5_a_dead_backend_costs_the_flush_timeout_and_no_more(protocol: str, backend: str, ends: str) -> None:
    with OtlpReceiver() as receiver:
        receiver.hang()
        environment = {**receiver.environment(protocol), **NEVER_BY_ITSELF, "MULTIAGENTS_OTEL_FLUSH_TIMEOUT": "0.5"}
        if backend == "is not there":
            environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{free_port()}"
        with Process.python(ONE_SPAN + f"\n    {ends}", env=environment) as process:
            process.wait_line("worked")
            worked = time.monotonic()
            assert process.wait() == (-signal.SIGTERM if ends else 0)
            # The promise is half a second; the SDK's own end takes its exporters' 10 s.
            assert time.monotonic() - worked < 5
            assert "telemetry was still queued when the process ended" in process.output


FORKS = """
    import os, random, sys
    import multiagents_otel
    multiagents_otel.auto_instrument()
    from opentelemetry import metrics, trace
    tracer, counter = trace.get_tracer("app"), metrics.get_meter("app").create_counter("app.count")
    def work(times):
        for _ in range(times):
            with tracer.start_as_current_span("work"):
                counter.add(1)
    work(5)
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            random.seed(1)
            work(10)
            sys.exit(0)
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    assert statuses == [0] * 4, statuses
"""


def test_F1_F2_forked_children_export_for_themselves_with_identities_and_ids_of_their_own() -> None:
    with OtlpReceiver() as receiver:
        with Process.python(FORKS, env=receiver.environment()) as process:
            process.wait_ok()
        ids = [span.span_id for span in receiver.spans]
        assert (len(ids), len(set(ids))) == (45, 45)
        instances = Counter(span.resource["service.instance.id"] for span in receiver.spans)
        assert sorted(instances.values()) == [5, 10, 10, 10, 10]
        # What the parent counted is not counted again by its children.
        assert receiver.total("app.count") == 45
        points = receiver.metric("app.count")
        assert sorted(int(point.value or 0) for point in points) == [5, 10, 10, 10, 10]
        assert {point.resource["service.instance.id"] for point in points} == set(instances)


def test_F1_children_of_multiprocessing_export_too() -> None:
    code = """
        import multiprocessing
        import multiagents_otel
        multiagents_otel.auto_instrument()
        from opentelemetry import trace
        def work():
            with trace.get_tracer("app").start_as_current_span("work"):
                pass
        workers = [multiprocessing.get_context("fork").Process(target=work) for _ in range(3)]
        for worker in workers: worker.start()
        for worker in workers: worker.join()
        assert [worker.exitcode for worker in workers] == [0] * 3
    """
    with OtlpReceiver() as receiver:
        with Process.python(code, env={**receiver.environment(), **NEVER_BY_ITSELF}) as process:
            process.wait_ok()
        assert len({span.resource["service.instance.id"] for span in receiver.spans}) == 3, receiver.summary()


def test_F3_an_application_that_seeds_random_has_ids_of_its_own() -> None:
    code = ONE_SPAN.replace("import multiagents_otel\n", "import multiagents_otel, random\n    random.seed(42)\n", 1)
    with OtlpReceiver() as receiver:
        for _ in range(2):
            with Process.python(code, env=receiver.environment()) as process:
                process.wait_ok()
        assert len({span.trace_id for span in receiver.spans}) == len({span.span_id for span in receiver.spans}) == 2


def test_F4_a_fork_while_metrics_are_measured_and_collected_leaves_no_child_stuck() -> None:
    code = """
        import os, threading
        import multiagents_otel
        multiagents_otel.auto_instrument()
        from opentelemetry import metrics
        from opentelemetry.sdk.metrics import MeterProvider
        provider = metrics.get_meter_provider()
        assert isinstance(provider, MeterProvider)
        histogram = metrics.get_meter("app").create_histogram("app.time")
        going = True
        def measure():
            while going: histogram.record(1.0)
        def collect():
            while going: provider.force_flush()
        threads = [threading.Thread(target=target) for target in (measure, collect)]
        for thread in threads: thread.start()
        for _ in range(30):
            child = os.fork()
            if child == 0:
                histogram.record(2.0)
                provider.force_flush()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        going = False
        for thread in threads: thread.join()
        print("done", flush=True)
    """
    with OtlpReceiver() as receiver:
        with Process.python(code, env=receiver.environment()) as process:
            process.wait_line("done", timeout=60)
            process.wait_ok()
        instances = {point.resource["service.instance.id"] for point in receiver.metric("app.time")}
        assert len(instances) == 31
