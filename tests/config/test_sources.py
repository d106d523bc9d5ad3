"""Where a value is from: argument, environment, the framework's variables, file, default; and what is wrong there."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from multiagents_otel import MonitoringConfig, MultiAgentsInstrumentor, OptionError
from multiagents_otel.config import ENV_PREFIXES, MONITORING, NAMES, OPTIONS, Options
from multiagents_otel.configuration import configuration_in_force
from multiagents_otel.instrumentation.instrumentor import DeclaredOptions
from tests.config.conftest import Told, Write

FILE = "event_monitoring:\n  trace_retention_hours: 5\n"
KEY = "event_monitoring.trace_retention_hours"
OURS = "MULTIAGENTS_OTEL_EVENT_MONITORING_TRACE_RETENTION_HOURS"
FLAG = "OTEL_PYTHON_MULTIAGENTS_EVENT_MONITORING_TRACE_RETENTION_HOURS"


def test_argument_then_environment_then_file_then_default(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    path = write("logging: {level: error}\n", "m.yaml")

    def read(*arguments: Any) -> list[tuple[Any, str]]:
        configs = [MonitoringConfig(*arguments), MonitoringConfig.from_file(path)]
        return [tuple(config.settings()["logging.level"]) for config in configs]

    place = (("ERROR", f"{path}, line 1"),)
    assert read() == [("INFO", "default"), *place]
    monkeypatch.setenv("MULTIAGENT_LOG_LEVEL", "CRITICAL")
    assert read() == [("CRITICAL", "MULTIAGENT_LOG_LEVEL")] * 2
    monkeypatch.setenv("OTEL_PYTHON_MULTIAGENTS_LOGGING_LEVEL", "WARNING")
    assert read() == [("WARNING", "OTEL_PYTHON_MULTIAGENTS_LOGGING_LEVEL")] * 2
    monkeypatch.setenv("MULTIAGENTS_OTEL_LOGGING_LEVEL", "info")
    assert read() == [("INFO", "MULTIAGENTS_OTEL_LOGGING_LEVEL")] * 2
    assert read({"logging": {"level": "debug"}})[0] == ("DEBUG", "argument")
    monkeypatch.setenv("MULTIAGENTS_OTEL_LOGGING_LEVEL", "  ")
    assert read()[0] == ("WARNING", "OTEL_PYTHON_MULTIAGENTS_LOGGING_LEVEL")


def test_every_option_has_variables_of_its_own() -> None:
    suffixes = [suffix for suffix, (section, key) in NAMES.variables.items()]
    assert len(suffixes) == len(set(suffixes))
    named = {NAMES.keys[named][0].path for named in NAMES.variables.values()}
    assert named == {option.path for option in (*OPTIONS, *MONITORING) if option.env}
    assert NAMES.variables["EVENT_MONITORING_DETAILED_TIMING"] == ("event_monitoring", "detailed_timing")
    assert NAMES.variables["DETAILED_TIMING"] == ("instrumentation", "detailed_timing")
    assert not {option.name for option in OPTIONS} & set(NAMES.sections)


def test_a_wrong_variable_is_one_error_and_the_default_holds(
    monkeypatch: pytest.MonkeyPatch, write: Write, told: Told
) -> None:
    monkeypatch.setenv(OURS, "long")
    path = write(FILE)
    for _ in range(2):
        assert MonitoringConfig.from_file(path).settings()[KEY] == (24, "default")
    assert told() == [f"{OURS} must be a number above 0, not 'long': its default 24 holds"]


def test_two_variables_of_one_option_that_differ_are_one_error(monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    monkeypatch.setenv("MULTIAGENTS_OTEL_LOGGING_MAX_SIZE_MB", "1")
    monkeypatch.setenv("MULTIAGENTS_OTEL_LOGGING_MAX_FILE_SIZE_MB", "2")
    assert MonitoringConfig().logging.max_size_mb == 100
    assert told() == [
        "MULTIAGENTS_OTEL_LOGGING_MAX_FILE_SIZE_MB and MULTIAGENTS_OTEL_LOGGING_MAX_SIZE_MB are one option and have "
        "two values, '2' and '1': its default 100 holds"
    ]
    monkeypatch.setenv("MULTIAGENTS_OTEL_LOGGING_MAX_SIZE_MB", "2.0")
    assert MonitoringConfig().logging.max_size_mb == 2


def test_a_misspelt_variable_is_told_once_with_the_nearest(monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    for variable in (
        "MULTIAGENTS_OTEL_DETAILD_TIMING",
        "MULTIAGENTS_OTEL_EVENT_MONITORING_ENABLE",
        "MULTIAGENTS_OTEL_CONFG",
        "MULTIAGENTS_OTEL_REDIS_SERVER",
        "MULTIAGENTS_OTEL_TYPO",
        "MULTIAGENTS_OTEL_X",
        "MULTIAGENTS_OTEL_",
        "MULTIAGENTS_OTEL_METRICS_RETENTION_DAYS",
        "MULTIAGENTS_ELSEWHERE",
        "MULTIAGENT_LOG_LEVL",
    ):
        monkeypatch.setenv(variable, "1")
    configuration_in_force()
    configuration_in_force()
    assert told() == [
        "multiagents_otel has no variable MULTIAGENTS_OTEL_",
        "multiagents_otel has no variable MULTIAGENTS_OTEL_CONFG: did you mean MULTIAGENTS_OTEL_CONFIG?",
        "multiagents_otel has no variable MULTIAGENTS_OTEL_DETAILD_TIMING: "
        "did you mean MULTIAGENTS_OTEL_DETAILED_TIMING?",
        "multiagents_otel has no variable MULTIAGENTS_OTEL_EVENT_MONITORING_ENABLE: "
        "did you mean MULTIAGENTS_OTEL_EVENT_MONITORING_ENABLED?",
        "multiagents_otel has no variable MULTIAGENTS_OTEL_TYPO",
        "multiagents_otel has no variable MULTIAGENTS_OTEL_X",
    ]


@pytest.mark.parametrize("variable", [f"{prefix}CONFIG" for prefix in ENV_PREFIXES])
def test_the_variable_names_a_file_and_what_is_wrong_in_it_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, write: Write, told: Told, variable: str
) -> None:
    path = write("event_monitoring:\n  trace_retention_hours: 5\n  enabled: perhaps\n  enabeld: true\n")
    monkeypatch.setenv(variable, str(path))
    config = configuration_in_force()
    assert (config.event_monitoring.trace_retention_hours, config.event_monitoring.enabled) == (5, True)
    assert sorted(told()) == [
        f"{path}, line 3: option 'event_monitoring.enabled' must be true or false, not 'perhaps': "
        "its default True holds",
        f"{path}, line 4: multiagents_otel has no option 'event_monitoring.enabeld': "
        "did you mean 'event_monitoring.enabled'?: it is ignored",
    ]
    assert configuration_in_force({}).event_monitoring.trace_retention_hours == 24  # what is given replaces it
    with pytest.raises(OptionError, match="enabeld"):
        configuration_in_force(path)


@pytest.mark.parametrize("name", ["none.yaml", "monitoring.toml", "folder.yaml", "pipe.yaml"])
def test_a_file_that_cannot_be_read_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, write: Write, told: Told, name: str
) -> None:
    path = write("logging: {level: ERROR}", "monitoring.toml").parent / name
    if name.startswith("folder"):
        path.mkdir()
    if name.startswith("pipe"):
        os.mkfifo(path)
    monkeypatch.setenv("MULTIAGENTS_OTEL_CONFIG", str(path))
    assert configuration_in_force() == MonitoringConfig()
    [error] = told()
    assert error.startswith("MULTIAGENTS_OTEL_CONFIG can't be used, the defaults hold: ")
    assert name in error
    with pytest.raises((OptionError, OSError), match=name):
        configuration_in_force(path)


def test_the_options_of_otel_config_file_come_below_all_others(
    monkeypatch: pytest.MonkeyPatch, write: Write, told: Told
) -> None:
    declared = {
        "detailed_timing": False,
        "stall_grace": 3,
        "flush_timeout": "soon",
        "wrokflow_parent": "link",
        "event_monitoring": {"trace_retention_hours": 7, "max_trace_history": 8},
        "logging": 5,
    }
    monkeypatch.setenv("MULTIAGENTS_OTEL_STALL_GRACE", "4")
    monkeypatch.setenv("MULTIAGENTS_OTEL_CONFIG", str(write(FILE)))
    config = configuration_in_force(declared=declared)
    assert {path: tuple(setting) for path, setting in config.settings().items() if setting.source != "default"} == {
        "event_monitoring.detailed_timing": (False, "OTEL_CONFIG_FILE"),
        "instrumentation.stall_grace": (4.0, "MULTIAGENTS_OTEL_STALL_GRACE"),
        KEY: (5, f"{write(FILE)}, line 2"),
        "event_monitoring.max_trace_history": (8, "OTEL_CONFIG_FILE"),
    }
    assert sorted(told()) == [
        "OTEL_CONFIG_FILE: multiagents_otel has no option 'wrokflow_parent': "
        "did you mean 'workflow_parent'?: it is ignored",
        "OTEL_CONFIG_FILE: option 'flush_timeout' must be seconds, 0 or more, not 'soon': its default 2.0 holds",
        "OTEL_CONFIG_FILE: section 'logging' must be a mapping of options, not 5: it is ignored",
    ]


def test_opentelemetry_configuration_hands_our_part_over_whole() -> None:
    assert DeclaredOptions(stall_grace="x", declared=1).declared == {"stall_grace": "x", "declared": 1}
    assert MultiAgentsInstrumentor.configuration is DeclaredOptions


def test_the_callers_configuration_is_not_changed_by_others() -> None:
    config = MonitoringConfig()
    assert configuration_in_force(config) is config
    assert configuration_in_force(config, {"stall_grace": 3}) != config
    assert config == MonitoringConfig()


def test_options_are_arguments_above_a_configuration() -> None:
    settings = MonitoringConfig({"event_monitoring": {"detailed_timing": False}, "instrumentation": {"stall_grace": 3}})
    options = Options({"stall_grace": 5, "status_events": None}, configured=settings.settings())
    assert (options.detailed_timing, options.stall_grace, options.status_events) == (False, 5.0, False)


def hook(*_arguments: object) -> None:
    """A hook."""


def test_hooks_are_arguments_or_in_a_configuration_and_never_text(write: Write) -> None:
    config = MonitoringConfig(instrumentation={"step_hook": hook})
    assert Options(configured=config.settings()).step_hook is hook
    with pytest.raises(TypeError, match=r"option 'instrumentation.step_hook' must be a function"):
        MonitoringConfig(instrumentation={"step_hook": "print"})
    with pytest.raises(OptionError, match=r"line 1: option 'instrumentation.step_hook' must be a function"):
        MonitoringConfig.from_file(write("instrumentation: {step_hook: print}"))


def test_threads_read_while_the_environment_changes(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    path = write(FILE)
    monkeypatch.setenv("MULTIAGENTS_OTEL_CONFIG", str(path))

    def read(number: int) -> tuple[float, int]:
        os.environ[f"X_{number}"] = "1"
        config = configuration_in_force()
        del os.environ[f"X_{number}"]
        one = MonitoringConfig(event_monitoring={"max_trace_history": number})
        return config.event_monitoring.trace_retention_hours, one.event_monitoring.max_trace_history

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(1, 200))) == [(5, number) for number in range(1, 200)]
