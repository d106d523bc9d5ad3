"""What ``auto_instrument(config=...)``, variables, the launcher and OTEL_CONFIG_FILE turn on, in real processes."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path

import pytest

from multiagents_otel import EventMonitor, MetricsCollector, MonitoringConfig, WorkerMonitor
from multiagents_otel.config import MONITORING
from tests.config.conftest import Write
from tests.integration.test_auto_instrument import CONFIG, NONE, has_configuration_file, ours, ran
from tests.integration.test_launcher import INSTRUMENT, RUN
from tests.support.processes import Process

FILE = """\
event_monitoring: {trace_retention_hours: 5, max_traces_per_transaction: 7, detailed_timing: false}
worker_monitoring: {error_rate_threshold: 0.05}
metrics: {retention_days: 2, enabled: true}
instrumentation: {stall_grace: 3}
"""
SHOW = """
def show():
    m = auto_instrument()
    o = MultiAgentsInstrumentor._active.telemetry.options
    print(m.event_monitor and (m.event_monitor.trace_retention_hours, m.event_monitor.max_traces_per_transaction),
          m.worker_monitor and m.worker_monitor.error_rate_threshold,
          m.metrics_collector and m.metrics_collector.retention_days, o.detailed_timing, o.stall_grace)
"""
ALL_OF_IT = "(5, 7) 0.05 2.0 False 3.0"
NOTHING = "None None None True 10.0"


@pytest.fixture
def path(write: Write) -> Path:
    return write(FILE)


def shown(code: str, env: dict[str, str]) -> str:
    return ran(SHOW + code, NONE | env).splitlines()[-1]


def test_a_configuration_turns_monitors_and_options_on(path: Path) -> None:
    for config in (f"{str(path)!r}", f"pathlib.Path({str(path)!r})", f"MonitoringConfig.from_file({str(path)!r})"):
        code = (
            f"import pathlib; from multiagents_otel import MonitoringConfig; auto_instrument(config={config}); show()"
        )
        assert shown(code, {}) == ALL_OF_IT
    code = "auto_instrument(config={'event_monitoring': {'detailed_timing': False}}, stall_grace=4); show()"
    assert shown(code, {}) == "(24, 1000) 0.1 7.0 False 4.0"


def test_a_monitor_that_is_not_enabled_is_none() -> None:
    code = "auto_instrument(config={'event_monitoring': {'enabled': False}, 'metrics': {'enabled': False}}); show()"
    assert shown(code, {}) == "None 0.1 None True 10.0"


def test_without_a_configuration_nothing_is_on_but_what_a_variable_configures() -> None:
    assert shown("auto_instrument(); show()", {}) == NOTHING
    frameworks = {"MULTIAGENT_LOG_LEVEL": "DEBUG", "MULTIAGENTS_OTEL_LOGGING_FILE_PATH": "/dev/null/a.log"}
    output = ran(SHOW + "auto_instrument(); show()", NONE | frameworks)
    assert output.splitlines()[-1] == NOTHING
    assert not [line for line in ours(output) if "ERROR" in line]  # no logger is made that nobody needs
    on = {"MULTIAGENT_WORKER_MONITORING_ENABLED": "true", "MULTIAGENTS_OTEL_DETAILED_TIMING": "false"}
    assert shown("auto_instrument(); show()", on) == "None 0.1 None False 10.0"


def test_the_variable_turns_it_on_where_no_code_does(path: Path) -> None:
    variable = {"MULTIAGENTS_OTEL_CONFIG": str(path)}
    assert shown("auto_instrument(); show()", variable) == ALL_OF_IT
    overridden = variable | {"MULTIAGENTS_OTEL_STALL_GRACE": "4"}
    assert shown("auto_instrument(); show()", overridden) == "(5, 7) 0.05 2.0 False 4.0"
    code = "MultiAgentsInstrumentor().instrument(); auto_instrument(); show()"
    assert shown(code, variable) == ALL_OF_IT


@pytest.mark.parametrize("how", ["variable", "flag", "run"])
def test_the_launcher_turns_it_on(path: Path, how: str) -> None:
    variable = {"MULTIAGENTS_OTEL_CONFIG": str(path)} if how != "flag" else {}
    launcher = RUN if how == "run" else [*INSTRUMENT, *(["--multiagents_config", str(path)] if how == "flag" else [])]
    code = "from multiagents_otel import MultiAgentsInstrumentor, auto_instrument\n" + SHOW + "show()"
    with Process([*launcher, sys.executable, "-c", code], env=NONE | variable) as process:
        assert process.wait_ok().splitlines()[-1] == ALL_OF_IT


def test_code_adds_monitors_to_what_the_launcher_has_turned_on() -> None:
    code = "MultiAgentsInstrumentor().instrument(); auto_instrument()\n"
    code += "one = auto_instrument(config={}); print(one is auto_instrument()); show()"
    output = ran(SHOW + code, NONE)
    assert output.splitlines()[-2:] == ["True", "(24, 1000) 0.1 7.0 True 10.0"]
    assert "the options of this call are not used" not in output


def test_a_second_call_with_another_configuration_says_that_it_is_not_used() -> None:
    output = ran(SHOW + "auto_instrument(config={}); auto_instrument(config={'logging': {}}); show()", NONE)
    assert ours(output)[-1] == (
        "WARNING multiagents_otel multiagents_otel is active already: the options of this call are not used"
    )


def test_a_wrong_configuration_raises_and_changes_nothing(write: Write) -> None:
    path = write("event_monitoring: {enabeld: true}")
    code = f"""
for wrong in ({str(path)!r}, {{"loging": {{}}}}, 5, "none.yaml"):
    try:
        auto_instrument(config=wrong)
    except (OptionError, OSError) as error:
        print(error)
try:
    auto_instrument(confg="monitoring.yaml")
except OptionError as error:
    print(error)
print(MultiAgentsInstrumentor().is_instrumented_by_opentelemetry)
"""
    assert ran(code, NONE).splitlines() == [
        f"{path}, line 1: multiagents_otel has no option 'event_monitoring.enabeld': "
        "did you mean 'event_monitoring.enabled'?",
        "multiagents_otel has no section 'loging': did you mean 'logging'?",
        "a configuration must be a mapping of sections, not 5; MonitoringConfig.from_file() reads a file",
        "[Errno 2] No such file or directory: 'none.yaml'",
        "multiagents_otel has no option 'confg': did you mean 'config'?",
        "False",
    ]


def test_a_wrong_file_of_the_environment_is_one_error_each_and_stops_nothing(write: Write) -> None:
    path = write("event_monitoring: {enabeld: true}\ninstrumentation:\n  stall_grace: long\n")
    output = ran("auto_instrument(); auto_instrument()", NONE | {"MULTIAGENTS_OTEL_CONFIG": str(path)})
    assert [line for line in ours(output) if "ERROR" in line] == [
        f"ERROR multiagents_otel.config {path}, line 1: multiagents_otel has no option 'event_monitoring.enabeld': "
        "did you mean 'event_monitoring.enabled'?: it is ignored",
        f"ERROR multiagents_otel.config {path}, line 3: option 'instrumentation.stall_grace' must be seconds, 0 or "
        "more, not 'long': its default 10.0 holds",
    ]


@has_configuration_file
def test_otel_config_file_holds_options_and_sections_below_all_others(tmp_path: Path) -> None:
    options = "stall_grace: 3, flush_timeout: soon, event_monitoring: {trace_retention_hours: 5, enabled: true}"
    path = tmp_path / "otel.yaml"
    path.write_text(CONFIG.format(endpoint="http://localhost:1", options=options))
    env = {"OTEL_CONFIG_FILE": str(path)}
    output = ran(SHOW + "auto_instrument(); show()", env)
    assert [line for line in output.splitlines() if "option" in line] == [
        "ERROR multiagents_otel.config OTEL_CONFIG_FILE: option 'flush_timeout' must be seconds, 0 or more, not "
        "'soon': its default 2.0 holds"
    ]
    assert "(5, 1000) None None True 3.0" in output.splitlines()
    code = "auto_instrument(detailed_timing=False, config={'event_monitoring': {'trace_retention_hours': 6}}); show()"
    output = ran(SHOW + code, env | {"MULTIAGENTS_OTEL_STALL_GRACE": "4"})
    assert "(6, 1000) 0.1 7.0 False 4.0" in output.splitlines()


async def test_the_monitors_are_started_where_a_loop_runs() -> None:
    code = """
import asyncio
async def main():
    monitoring = auto_instrument(config={})
    await asyncio.sleep(0)
    print(monitoring.metrics_collector._running)
    await monitoring.stop()
    print(monitoring.metrics_collector._running)
    await monitoring.start()
    await monitoring.start()
    print(monitoring.metrics_collector._running)
    await monitoring.stop()
asyncio.run(main())
"""
    assert ran(code, NONE).splitlines()[-3:] == ["True", "False", "True"]


def test_the_frameworks_defaults_are_the_configurations_monitors_and_logger(tmp_path: Path) -> None:
    code = f"""
monitoring = auto_instrument(config={{"logging": {{"default_logger": "file", "file_path": "{tmp_path}/a.log"}}}})
from multiagents.event_bus.redis_bus import RedisEventBus
from multiagents.monitoring.config import LoggingConfig, MonitoringConfig
from multiagents.worker_sdk.worker_manager import WorkerManager
bus = RedisEventBus()
manager = WorkerManager(bus)
print(bus.event_monitor is monitoring.event_monitor, bus.metrics_collector is monitoring.metrics_collector,
      manager.event_monitor is monitoring.event_monitor, manager.worker_monitor is monitoring.worker_monitor,
      bus.monitoring_logger is manager.monitoring_logger is monitoring.logger)
from multiagents.core import factory
print(factory.EventMonitor(logger=None) is monitoring.event_monitor)
told = MonitoringConfig(logging=LoggingConfig(file_path="{tmp_path}/b.log"))
print(RedisEventBus(monitoring_config=told).monitoring_logger is monitoring.logger)
"""
    assert ran(code, NONE).splitlines()[-3:] == ["True True True True True", "True", "False"]


async def test_the_logger_writes_where_the_configuration_says(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.log"
    config = MonitoringConfig({"logging": {"default_logger": "file", "file_path": path, "level": "error"}})
    logger = config.create_logger()
    await logger.info("too little")
    await logger.error("enough", error=ValueError("why"))
    await logger.close()
    [line] = path.read_text().splitlines()
    assert json.loads(line)["message"] == "enough"


def test_every_option_of_a_monitor_is_a_parameter_of_it_or_told_to_be_another_s() -> None:
    kinds = {
        "event_monitoring": EventMonitor,
        "worker_monitoring": WorkerMonitor,
        "metrics_collection": MetricsCollector,
    }
    others = {
        option.path
        for option in MONITORING
        if option.section in kinds and option.name not in inspect.signature(kinds[option.section]).parameters
    }
    assert others == {
        "event_monitoring.enabled",
        "worker_monitoring.enabled",
        "metrics_collection.enabled",
        "worker_monitoring.track_resource_usage",  # turns the process' own metrics on
        "metrics_collection.export_prometheus",  # the Collector's
        "metrics_collection.export_port",
    }
    assert MonitoringConfig().options_of("event_monitoring")["detailed_timing"] is True  # the instrumentation's
