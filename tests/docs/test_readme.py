"""The documents say what the code says. `python -m tests.docs.test_readme` rewrites what is made of it."""

from __future__ import annotations

import re

import pytest
import yaml
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from multiagents_otel import MonitoringConfig, MultiAgentsInstrumentor, semconv
from tests.docs import shown, tables
from tests.docs.tables import README, TABLES
from tests.support.sagas import order_system


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_the_documents_is_the_code_s(name: str) -> None:
    document, rows = TABLES[name]
    assert tables.find(name, document)[2].splitlines() == rows


def test_the_spans_table_names_every_attribute_and_no_other() -> None:
    told = set(re.findall(r"`([a-z_.]+)`", tables.find("spans")[2]))
    told |= {semconv.TRANSACTION_ID, semconv.WORKFLOW_ID, semconv.ERROR_TYPE, semconv.REDACTED_PLACES}
    told |= {semconv.SAMPLING_KEEP}
    emitted = {
        value
        for name, value in vars(semconv).items()
        if name.isupper() and isinstance(value, str) and re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", value)
    }
    not_of_spans = {
        semconv.SERVICE_NAME,
        semconv.SERVICE_INSTANCE_ID,
        semconv.TELEMETRY_DISTRO_NAME,
        semconv.TELEMETRY_DISTRO_VERSION,
        semconv.NETWORK_IO_DIRECTION,
        semconv.EXCEPTION_TYPE,
        semconv.EXCEPTION_MESSAGE,
        semconv.EXCEPTION_STACKTRACE,
        semconv.CODE_FILE,
        semconv.CODE_LINE,
        semconv.CODE_FUNCTION,
        semconv.LOG_WORKFLOW_STARTED,
        semconv.LOG_WORKFLOW_STALLED,
        semconv.LOG_WORKFLOW_RECOVERED,
        semconv.PRIORITY_BAGGAGE,
    }
    assert told == emitted - not_of_spans


def test_the_statuses_table_names_every_status() -> None:
    column = [row.split("|")[2].strip(" `") for row in tables.find("statuses")[2].splitlines()]
    assert sorted(column) == sorted(status.value for status in semconv.WorkflowStatus)


def test_every_log_event_is_told() -> None:
    text = README.read_text()
    for name, value in vars(semconv).items():
        if name.startswith("LOG_"):
            assert f"| `{value}` |" in text


@pytest.mark.parametrize("detailed", [True, False])
async def test_the_spans_that_a_workflow_costs_are_counted(detailed: bool) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    MultiAgentsInstrumentor().instrument(tracer_provider=provider, detailed_timing=detailed)
    async with order_system() as system:
        await system.wait_ended(await system.run())
        await system.bus.drain()
    told = re.search(r"has (\d+) spans: .*`detailed_timing=False` leaves (\d+):", README.read_text())
    assert told
    assert len(exporter.get_finished_spans()) == int(told[1 if detailed else 2])


def test_the_readmes_configuration_is_one() -> None:
    [text] = re.findall(r"```yaml\n# monitoring.yaml\n(.*?)```", README.read_text(), re.DOTALL)
    assert MonitoringConfig(yaml.safe_load(text)).instrumentation.stall_grace == 30


def test_the_export_prints_what_the_readme_shows() -> None:
    assert shown.printed_by_the_export() == shown.export()[4]


if __name__ == "__main__":
    tables.rewrite()
    shown.rewrite()
