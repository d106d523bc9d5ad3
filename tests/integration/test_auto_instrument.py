"""`auto_instrument()`: what it builds, what it leaves alone, and what it says."""

from __future__ import annotations

import pytest

from tests.support.processes import Process
from tests.support.receiver import OtlpReceiver

START = """
    import logging, sys
    logging.basicConfig(format="%(levelname)s %(message)s")
    import multiagents_otel
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
"""


def _run(code: str, env: dict[str, str] | None = None) -> list[str]:
    with Process.python(START + code, env=env) as process:
        process.wait_ok()
        return list(process.lines)


def test_the_resource_tells_who_it_is_and_the_user_s_own_attributes_win(receiver: OtlpReceiver) -> None:
    code = """
    multiagents_otel.auto_instrument()
    with trace.get_tracer("app").start_as_current_span("work"): pass
    metrics.get_meter("app").create_counter("app.count").add(1)
    """
    environment = receiver.environment() | {
        "OTEL_SERVICE_NAME": "orders",
        "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=mine,telemetry.distro.name=theirs,team=shop",
    }
    _run(code, environment)
    (span,) = receiver.spans
    told = {
        name: span.resource[name] for name in ("service.name", "service.instance.id", "telemetry.distro.name", "team")
    }
    assert told == {
        "service.name": "orders",
        "service.instance.id": "mine",
        "telemetry.distro.name": "theirs",
        "team": "shop",
    }
    assert span.resource["telemetry.distro.version"] == "0.1.0"
    assert receiver.metric("app.count")[0].resource == span.resource


def test_each_process_has_an_instance_id_of_its_own(receiver: OtlpReceiver) -> None:
    code = """
    multiagents_otel.auto_instrument()
    with trace.get_tracer("app").start_as_current_span("work"): pass
    """
    for _ in range(2):
        _run(code, receiver.environment())
    ids = {str(span.resource["service.instance.id"]) for span in receiver.spans}
    assert len(ids) == 2
    assert all(len(one) == 36 for one in ids)


def test_a_second_call_does_nothing_and_says_that_its_options_are_not_used() -> None:
    lines = _run(
        """
    multiagents_otel.auto_instrument()
    before = trace.get_tracer_provider(), metrics.get_meter_provider()
    multiagents_otel.auto_instrument()
    multiagents_otel.auto_instrument(detailed_timing=False)
    assert (trace.get_tracer_provider(), metrics.get_meter_provider()) == before
    """,
        {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")},
    )
    assert lines == [
        "WARNING nothing will be exported: OTEL_TRACES_EXPORTER, OTEL_METRICS_EXPORTER and OTEL_LOGS_EXPORTER are all "
        "'none'",
        "WARNING multiagents_otel is active already: the options of this call are not used",
    ]


@pytest.mark.parametrize("how", ["global", "given"])
def test_providers_that_are_there_are_used_and_the_others_built(how: str, receiver: OtlpReceiver) -> None:
    code = f"""
    tracers = TracerProvider(resource=Resource({{"service.instance.id": "own"}}))
    if {how == "global"}:
        trace.set_tracer_provider(tracers)
        multiagents_otel.auto_instrument()
        assert trace.get_tracer_provider() is tracers
    else:
        multiagents_otel.auto_instrument(tracer_provider=tracers)
        assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    assert isinstance(metrics.get_meter_provider(), MeterProvider)
    metrics.get_meter("app").create_counter("app.count").add(1)
    """
    assert _run(code, receiver.environment()) == []
    assert receiver.total("app.count") == 1


def test_a_provider_whose_resource_has_no_instance_id_is_warned_of_once(receiver: OtlpReceiver) -> None:
    lines = _run(
        """
    empty = Resource.get_empty()
    trace.set_tracer_provider(TracerProvider(resource=empty))
    metrics.set_meter_provider(MeterProvider(resource=empty))
    multiagents_otel.auto_instrument()
    """,
        receiver.environment(),
    )
    assert len(lines) == 1
    assert "has no service.instance.id" in lines[0]


def test_a_wrong_argument_raises_before_anything_is_changed() -> None:
    _run("""
    for wrong, message in (
        ({"detailed_timng": False}, "did you mean 'detailed_timing'?"),
        ({"workflow_parent": "sibling"}, "option 'workflow_parent' must be 'child' or 'link', not 'sibling'"),
        ({"stall_grace": -1}, "option 'stall_grace' must be seconds, 0 or more, not -1"),
    ):
        try:
            multiagents_otel.auto_instrument(**wrong)
        except multiagents_otel.OptionError as error:
            assert message in str(error), error
        else:
            raise AssertionError(wrong)
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    assert not multiagents_otel.MultiAgentsInstrumentor().is_instrumented_by_opentelemetry
    """)


def test_a_wrong_variable_is_one_error_and_the_default_holds(receiver: OtlpReceiver) -> None:
    lines = _run(
        "\n    multiagents_otel.auto_instrument()",
        receiver.environment() | {"MULTIAGENTS_OTEL_DETAILED_TIMING": "perhaps"},
    )
    assert lines == [
        "ERROR MULTIAGENTS_OTEL_DETAILED_TIMING must be true or false, not 'perhaps': its default True holds"
    ]


def test_an_exporter_that_is_not_installed_is_told_and_the_rest_works(receiver: OtlpReceiver) -> None:
    lines = _run(
        """
    multiagents_otel.auto_instrument()
    metrics.get_meter("app").create_counter("app.count").add(1)
    """,
        receiver.environment() | {"OTEL_TRACES_EXPORTER": "carrier-pigeon"},
    )
    assert len(lines) == 1
    assert lines[0].startswith(
        "ERROR the traces pipeline could not be built, they are not exported: no 'carrier-pigeon'"
    )
    assert receiver.total("app.count") == 1


@pytest.mark.parametrize(("variable", "milliseconds"), [(None, 30_000), ("1234", 1234)])
def test_metrics_leave_every_thirty_seconds_unless_told_otherwise(variable: str | None, milliseconds: int) -> None:
    environment = {"OTEL_METRIC_EXPORT_INTERVAL": variable} if variable else {}
    assert _run(
        """
    multiagents_otel.auto_instrument()
    import gc, os
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    (reader,) = [thing for thing in gc.get_objects() if isinstance(thing, PeriodicExportingMetricReader)]
    print(int(reader._export_interval_millis), flush=True)
    os._exit(0)
    """,
        environment,
    ) == [str(milliseconds)]
