"""``MonitoringConfig``: dicts, keywords, the framework's dataclasses, both names, and back again."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from multiagents.monitoring import config as framework
from multiagents.monitoring.interfaces import LogLevel

from multiagents_otel import MonitoringConfig, OptionError
from tests.config.conftest import Told

GUIDE: dict[str, dict[str, Any]] = {
    "logging": {
        "default_logger": "composite",
        "level": "INFO",
        "file_path": "./logs/multiagents.log",
        "max_file_size_mb": 100,
        "backup_count": 5,
        "json_format": True,
        "include_caller_info": True,
    },
    "event_monitoring": {
        "enabled": True,
        "trace_retention_hours": 24,
        "cleanup_interval_minutes": 60,
        "track_payload_size": True,
        "detailed_timing": True,
        "max_traces_per_transaction": 1000,
    },
    "worker_monitoring": {
        "enabled": True,
        "health_check_interval_seconds": 30,
        "performance_window_minutes": 60,
        "alert_on_high_error_rate": True,
        "error_rate_threshold": 0.1,
        "slow_execution_threshold_ms": 5000,
        "track_resource_usage": True,
    },
    "metrics_collection": {
        "enabled": True,
        "collection_interval_seconds": 60,
        "retention_hours": 168,
        "include_system_metrics": True,
        "custom_metrics_enabled": True,
        "export_prometheus": True,
        "export_port": 9090,
    },
}
"""The guide's file."""


def refusal(make: Callable[[], object]) -> str:
    with pytest.raises(OptionError) as caught:
        make()
    return str(caught.value)


def test_the_defaults_are_the_guides() -> None:
    assert MonitoringConfig() == MonitoringConfig(GUIDE)
    told = MonitoringConfig().to_dict()
    assert {section: {key: told[section][key] for key in GUIDE[section]} for section in GUIDE} == GUIDE


def test_the_defaults_that_the_guide_has_not_are_the_frameworks() -> None:
    ours, theirs = MonitoringConfig(), framework.MonitoringConfig()
    different = {
        f"{section}.{key}"
        for section, content in vars(theirs).items()
        for key, value in vars(content).items()
        if getattr(getattr(ours, section), key) != getattr(value, "value", value)
    }
    assert different == {"metrics.export_format"}  # the guide's export_prometheus is true


def test_a_dict_is_taken_by_position_or_by_sections_and_is_not_changed() -> None:
    given = {"logging": {"level": "debug"}, "metrics": {"retention_days": 2}}
    before = copy.deepcopy(given)
    config = MonitoringConfig(given)
    assert given == before
    assert config == MonitoringConfig(logging=given["logging"], metrics=given["metrics"])
    assert config == MonitoringConfig.from_dict(given)
    assert config == MonitoringConfig(given, event_monitoring={}, worker_monitoring=None)
    assert config != MonitoringConfig()
    assert (config.logging.level, config.metrics.retention_days) == ("DEBUG", 2)


def test_the_frameworks_dataclasses_are_sections_or_all_of_it() -> None:
    logging = framework.LoggingConfig(level=LogLevel.ERROR, max_size_mb=7)
    config = MonitoringConfig({"event_monitoring": framework.EventMonitoringConfig(enabled=False)}, logging=logging)
    assert (config.logging.level, config.logging.max_file_size_mb, config.event_monitoring.enabled) == (
        "ERROR",
        7,
        False,
    )
    whole = MonitoringConfig(framework.MonitoringConfig(logging=logging))
    assert (whole.logging.level, whole.metrics.retention_hours) == ("ERROR", 168)


def test_a_configuration_or_its_sections_make_another_one() -> None:
    first = MonitoringConfig(logging={"level": "ERROR"}, instrumentation={"stall_grace": 3})
    assert MonitoringConfig(first) == first
    assert MonitoringConfig(logging=first.logging).logging.level == "ERROR"


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"logging": {"max_size_mb": 7}}, {"logging.max_size_mb": 7, "logging.max_file_size_mb": 7}),
        ({"metrics": {"retention_days": 3}}, {"metrics.retention_days": 3, "metrics_collection.retention_hours": 72}),
        ({"metrics": {"retention_hours": 36}}, {"metrics.retention_days": 1.5, "metrics.retention_hours": 36}),
        ({"metrics": {"export_format": "json"}}, {"metrics.export_format": "json", "metrics.export_prometheus": False}),
        ({"metrics": {"export_prometheus": True}}, {"metrics_collection.export_format": "prometheus"}),
        ({"event_monitoring": {"detailed_timing": False}}, {"instrumentation.detailed_timing": False}),
        ({"instrumentation": {"track_payload_size": "no"}}, {"event_monitoring.track_payload_size": False}),
        ({"logging": {"level": "Warn", "console_min_level": LogLevel.ERROR}}, {"logging.level": "WARNING"}),
        ({"logging": {"file_path": Path("a") / "b.log"}}, {"logging.file_path": "a/b.log"}),
        ({"instrumentation": {"excluded_events": ["a.*", "b"]}}, {"instrumentation.excluded_events": ("a.*", "b")}),
    ],
)
def test_an_option_has_one_value_under_every_name(given: dict[str, Any], names: dict[str, Any]) -> None:
    config = MonitoringConfig(given)
    found = {}
    for name in names:
        section, key = name.split(".")
        found[name] = getattr(getattr(config, section), key)
    assert found == names


def test_both_names_with_one_value_are_right_and_with_two_an_error_that_has_both() -> None:
    assert MonitoringConfig({"metrics": {"retention_days": 2, "retention_hours": 48.0}}).metrics.retention_hours == 48
    conflicts = [
        {"logging": {"max_size_mb": 50, "max_file_size_mb": 100}},
        {"metrics": {"enabled": True}, "metrics_collection": {"enabled": False}},
        {"event_monitoring": {"detailed_timing": False}, "instrumentation": {"detailed_timing": True}},
    ]
    assert [refusal(lambda given=given: MonitoringConfig(given)) for given in conflicts] == [  # type: ignore[misc]
        "option 'logging.max_size_mb' and option 'logging.max_file_size_mb' are one option and "
        "have two values, 50 and 100",
        "option 'metrics.enabled' and option 'metrics_collection.enabled' are one option and "
        "have two values, True and False",
        "option 'event_monitoring.detailed_timing' and option 'instrumentation.detailed_timing' are one option and "
        "have two values, False and True",
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"loging": {}}, "multiagents_otel has no section 'loging': did you mean 'logging'?"),
        ({"logging": 5}, "section 'logging' must be a mapping of options, not 5"),
        (
            {"logging": [("level", 1, "INFO")]},
            "section 'logging' must be a mapping of options, not [('level', 1, 'INFO')]",
        ),
        (
            {"event_monitoring": {"trace_retention_hour": 1}},
            "multiagents_otel has no option 'event_monitoring.trace_retention_hour': "
            "did you mean 'event_monitoring.trace_retention_hours'?",
        ),
        (
            {"logging": {"detailed_timing": True}},
            "multiagents_otel has no option 'logging.detailed_timing': did you mean 'instrumentation.detailed_timing'?",
        ),
        (
            {"logging": {"level": "LOUD"}},
            "option 'logging.level' must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL, not 'LOUD'",
        ),
        (
            {"metrics": {"export_format": "pdf"}},
            "option 'metrics.export_format' must be 'json' or 'prometheus', not 'pdf'",
        ),
        ({"metrics": {"export_port": 0}}, "option 'metrics.export_port' must be a port, 1 to 65535, not 0"),
        (
            {"worker_monitoring": {"error_rate_threshold": 10}},
            "option 'worker_monitoring.error_rate_threshold' must be a fraction, above 0 and at most 1, not 10",
        ),
        ({"event_monitoring": {"enabled": 2}}, "option 'event_monitoring.enabled' must be true or false, not 2"),
        ({"logging": {"backup_count": -1}}, "option 'logging.backup_count' must be a whole number, 0 or more, not -1"),
        ({"logging": {"file_path": ""}}, "option 'logging.file_path' must be a path, not ''"),
        (
            "monitoring.yaml",
            "a configuration must be a mapping of sections, not 'monitoring.yaml'; MonitoringConfig.from_file() "
            "reads a file",
        ),
    ],
)
def test_what_is_wrong_is_told_by_name_with_what_would_do(given: Any, told: str) -> None:
    assert refusal(lambda: MonitoringConfig(given)) == told


def test_everything_that_is_wrong_is_told_at_once() -> None:
    told = refusal(lambda: MonitoringConfig({"loging": {}, "metrics": {"export_port": 0, "enabled": "perhaps"}}))
    assert [line.split("'")[1] for line in told.splitlines()] == ["loging", "metrics.export_port", "metrics.enabled"]


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 10**400, "1e999", "", "many", True, [], {}, object(), 0, -5]
)
def test_a_number_that_is_none_is_refused(value: Any) -> None:
    assert "trace_retention_hours" in refusal(
        lambda: MonitoringConfig(event_monitoring={"trace_retention_hours": value})
    )


def test_a_value_of_any_size_makes_a_short_message() -> None:
    bomb: Any = "x" * 1000
    for _ in range(30):
        bomb = [bomb] * 10
    assert len(refusal(lambda: MonitoringConfig(logging={"level": bomb}))) < 1000


def test_none_means_that_nothing_was_given() -> None:
    assert MonitoringConfig({"logging": {"level": None}, "metrics": None}) == MonitoringConfig()


def test_an_attribute_can_be_set_and_is_checked() -> None:
    config = MonitoringConfig()
    config.metrics.retention_days = 2
    config.logging.level = LogLevel.DEBUG
    assert (config.metrics_collection.retention_hours, config.to_dict()["logging"]["level"]) == (48, "DEBUG")
    assert "must be a port" in refusal(lambda: setattr(config.metrics, "export_port", "none"))
    for get in (lambda: config.logging.levle, lambda: setattr(config.logging, "levle", 1)):
        with pytest.raises(AttributeError, match=r"no option 'levle': did you mean 'level'\?"):
            get()


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda config: pickle.loads(pickle.dumps(config))])
def test_a_copy_is_a_configuration(again: Callable[[MonitoringConfig], MonitoringConfig]) -> None:
    config = MonitoringConfig({"logging": {"level": "ERROR"}})
    assert again(config) == config
    assert again(config).logging.level == "ERROR"


def test_it_shows_what_was_given() -> None:
    assert (
        repr(MonitoringConfig(metrics={"retention_days": 1}))
        == "MonitoringConfig(metrics_collection.retention_hours=24)"
    )
    assert "level='INFO'" in repr(MonitoringConfig().logging)
    assert {"retention_hours", "retention_days"} < set(dir(MonitoringConfig().metrics))


@pytest.mark.parametrize("name", ["monitoring.yaml", "deep/er/monitoring.yml", "monitoring.json"])
def test_what_is_saved_is_read_again(tmp_path: Path, name: str) -> None:
    config = MonitoringConfig({
        "logging": {"level": "ERROR", "file_path": "./lögs/ä: b.log"},
        "instrumentation": {"excluded_events": "a.*,b", "stall_grace": 0.5},
        "event_monitoring": {"detailed_timing": False},
    })  # fmt: skip
    path = tmp_path / name
    config.save_to_file(path)
    assert MonitoringConfig.from_file(str(path)) == config
    text = path.read_text(encoding="utf-8")
    assert (json.loads(text) if name.endswith("json") else yaml.safe_load(text)) == config.to_dict()


def test_a_file_of_another_kind_is_neither_saved_nor_read(tmp_path: Path) -> None:
    path = tmp_path / "monitoring.toml"
    expected = f"{path}: a configuration is a .yaml, .yml or .json file"
    assert refusal(lambda: MonitoringConfig().save_to_file(path)) == expected
    assert refusal(lambda: MonitoringConfig.from_file(path)) == expected
    assert not path.exists()


def test_from_env_reads_the_frameworks_variables_with_another_prefix(
    monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    for name, value in {
        "LOG_LEVEL": "debug",
        "LOG_FILE": "a.log",
        "LOG_FORMAT": "text",
        "LOG_MAX_SIZE_MB": "7",
        "LOG_BACKUP_COUNT": "2",
        "EVENT_MONITORING_ENABLED": "no",
        "EVENT_MAX_HISTORY": "11",
        "EVENT_CLEANUP_INTERVAL": "12",
        "WORKER_MONITORING_ENABLED": "off",
        "WORKER_HEALTH_CHECK_INTERVAL": "13",
        "METRICS_ENABLED": "0",
        "METRICS_INTERVAL": "14",
    }.items():
        monkeypatch.setenv(f"SHOP_{name}", value)
    config = MonitoringConfig.from_env("SHOP_")
    assert config == MonitoringConfig({
        "logging": {
            "level": "DEBUG",
            "file_path": "a.log",
            "json_format": False,
            "max_size_mb": 7,
            "backup_count": 2,
        },
        "event_monitoring": {"enabled": False, "max_trace_history": 11, "cleanup_interval_minutes": 12},
        "worker_monitoring": {"enabled": False, "health_check_interval_seconds": 13},
        "metrics": {"enabled": False, "collection_interval_seconds": 14},
    })  # fmt: skip
    assert MonitoringConfig.from_env() == MonitoringConfig()


def test_the_frameworks_own_variables_are_all_read(monkeypatch: pytest.MonkeyPatch) -> None:
    import inspect
    import re

    from multiagents_otel.config import MONITORING

    theirs = set(re.findall(r"\{prefix\}([A-Z_]+)", inspect.getsource(framework.MonitoringConfig.from_env)))
    assert {option.framework_variable for option in MONITORING} - {""} == theirs
