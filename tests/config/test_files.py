"""Files that are wrong: whatever they hold, reading ends in values or in one error, and soon."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import yaml

from multiagents_otel import MonitoringConfig, OptionError
from tests.config.conftest import Write

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 10)}]}}\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def refusal(path: Path) -> str:
    with pytest.raises(OptionError) as caught:
        MonitoringConfig.from_file(path)
    return str(caught.value).replace(f"{path}", "FILE")


@pytest.mark.parametrize("name", ["m.yaml", "m.json"])
@pytest.mark.parametrize("text", ["", " \n\n", "{}"])
def test_an_empty_file_is_the_defaults(write: Write, text: str, name: str) -> None:
    assert MonitoringConfig.from_file(write(text, name)) == MonitoringConfig()


@pytest.mark.parametrize(
    "text", ["# nothing\n", "---\n", "null\n", "logging:\nmetrics:\n", "\ufefflogging:\n  level:\n"]
)
def test_a_file_that_says_nothing_is_the_defaults(write: Write, text: str) -> None:
    assert MonitoringConfig.from_file(write(text)) == MonitoringConfig()


def test_a_file_of_every_kind_tells_its_lines(write: Write) -> None:
    found = MonitoringConfig.from_file(write("# a comment\nlogging:\n  level: debug\n\nmetrics: {retention_days: 2}\n"))
    sources = {
        path: setting.source.split(", ")[1] for path, setting in found.settings().items() if ", " in setting.source
    }
    assert sources == {"logging.level": "line 3", "metrics_collection.retention_hours": "line 5"}
    for text in ('{"logging":\n  {\n  "level": "debug"}}', '{"logging":\n\t{\n\t"level": "debug"}}'):
        as_json = MonitoringConfig.from_file(write(text, "m.json"))
        assert as_json.settings()["logging.level"].source.endswith("m.json, line 3")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- logging\n- metrics\n", "FILE: it must be a mapping of sections, not ['logging', 'metrics']"),
        ("just words", "FILE: it must be a mapping of sections, not 'just words'"),
        ("logging:\n- level\n", "FILE, line 1: section 'logging' must be a mapping of options, not ['level']"),
        (
            "logging:\n  level: INFO\n  level: DEBUG\n",
            "FILE, line 2: option 'logging.level' and FILE, line 3: option 'logging.level' are one option and have two "
            "values, 'INFO' and 'DEBUG'",
        ),
        (
            "logging:\n  level: INFO\nlogging:\n  level: DEBUG\n",
            "FILE, line 2: option 'logging.level' and FILE, line 4: option 'logging.level' are one option and have two "
            "values, 'INFO' and 'DEBUG'",
        ),
        ("on:\n  x: 1\n", "FILE, line 2: multiagents_otel has no section 'True'; there are "),
        (
            "logging:\n  level: [\n",
            "FILE, line 3: it can't be read as YAML: while parsing a flow node, expected the node content, but found "
            "'<stream end>'",
        ),
        ("logging: !!python/object/apply:os.system ['true']\n", "FILE: it can't be read as YAML: "),
        ("logging:\n  level: &x [*x]\n", "FILE: "),
        ("logging:\n  level: !!bool x\n", "FILE: it can't be read as YAML: "),
        ("logging:\n  level: 2020-99-99\n", "FILE: it can't be read as YAML: "),
        ("logging: {level: INFO}\n---\nlogging: {level: DEBUG}\n", "FILE, line 2: it can't be read as YAML: expected"),
        (BOMB, "FILE: it can't be read as YAML: its aliases unfold to too much"),
        (MERGES, "FILE: it can't be read as YAML: its aliases unfold to too much"),
        (f"logging:\n  level: {'[' * 5000}\n", "FILE: "),
    ],
)
def test_a_wrong_yaml_file_is_one_error(write: Write, text: str, told: str) -> None:
    assert refusal(write(text)).startswith(told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[1]", "FILE: it must be a mapping of sections, not [1]"),
        ("5", "FILE: it must be a mapping of sections, not 5"),
        ("{", "FILE: it can't be read as JSON: Expecting property name"),
        ('{"logging": [1]}', "FILE, line 1: section 'logging' must be a mapping of options, not [1]"),
        (
            '{"logging": {"level": "INFO",\n "level": "DEBUG"}}',
            "FILE, line 2: option 'logging.level' and FILE, line 2: option 'logging.level' are one option and have two "
            "values, 'INFO' and 'DEBUG'",
        ),
        ("[" * 100_000, "FILE: it is nested too deeply"),
        ('{"metrics": {"export_port": NaN}}', "FILE, line 1: option 'metrics.export_port' must be a port"),
    ],
)
def test_a_wrong_json_file_is_one_error(write: Write, text: str, told: str) -> None:
    assert refusal(write(text, "m.json")).startswith(told)


def test_anchors_and_merges_are_understood(write: Write) -> None:
    text = "logging: &base {level: DEBUG, backup_count: 1}\nevent_monitoring: {enabled: &no false}\n"
    text += "worker_monitoring: {enabled: *no}\n"
    config = MonitoringConfig.from_file(write(text))
    assert (config.event_monitoring.enabled, config.worker_monitoring.enabled) == (False, False)
    text = "logging:\n  <<: {level: ERROR, backup_count: 1}\n  level: DEBUG\n"
    config = MonitoringConfig.from_file(write(text))
    assert (config.logging.level, config.logging.backup_count) == ("DEBUG", 1)


@pytest.mark.parametrize("content", [bytes(range(256)), b"\xff\xfe\x00", b"\x00" * 100, b"x" * 2_000_000])
@pytest.mark.parametrize("name", ["m.yaml", "m.json"])
def test_a_file_that_is_no_text_or_too_long_is_one_error(write: Write, content: bytes, name: str) -> None:
    assert refusal(write(content, name)).startswith("FILE: ")


def test_a_file_that_is_not_there_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        MonitoringConfig.from_file(tmp_path / "none.yaml")


@pytest.mark.parametrize("name", ["m.yaml", "m.json"])
def test_files_that_are_broken_at_random_end_in_values_or_in_one_error(write: Write, name: str) -> None:
    config = MonitoringConfig({"instrumentation": {"excluded_events": "a,b"}}).to_dict()
    text = (json.dumps(config, indent=1) if name.endswith("json") else yaml.safe_dump(config)).encode()
    chance = random.Random(4)
    ended = {"read": 0, "refused": 0}
    for _ in range(250):
        broken = bytearray(text)
        for _ in range(chance.choice([1, 2, 8])):
            at = chance.randrange(len(broken))
            broken[at : at + chance.choice([0, 1, 5, 40])] = chance.choice(
                [
                    b"",
                    b"\0",
                    b"\xff",
                    b"[",
                    b"{",
                    b"}",
                    b":",
                    b"\n",
                    b"&a ",
                    b"*a",
                    b"- ",
                    b"1e9",
                    b"'",
                    b'"',
                    b"<<: ",
                    b"!!int ",
                ]
            )
        path = write(bytes(broken), name)
        try:
            MonitoringConfig.from_file(path)
            ended["read"] += 1
        except OptionError:
            ended["refused"] += 1
    assert min(ended.values()) > 0
