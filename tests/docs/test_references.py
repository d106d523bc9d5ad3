"""What the documents name exists: files, sections, make's targets, commands and their options, alerts, versions."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest
import yaml

import multiagents_otel
from multiagents_otel.tools import COMMANDS, command_line
from multiagents_otel.tools.deploy.files import folder
from multiagents_otel.tools.deploy.parameters import PARAMETERS
from multiagents_otel.tools.deploy.secrets import SECRETS
from tests.docs.tables import README, REPOSITORY
from tests.rules.rule_files import alerts

EXPORTED: Final = sorted(folder().rglob("*.md"))
DOCUMENTS: Final = [
    README,
    REPOSITORY / "CHANGELOG.md",
    REPOSITORY / "examples" / "README.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *EXPORTED,
]
_LINK: Final = re.compile(r"\]\((?!https?://)([^()\s]+)\)")
_BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def name_of(document: Path) -> str:
    return str(document.relative_to(REPOSITORY))


def anchors(document: Path) -> set[str]:
    """Of each heading, what a link to it ends with."""
    headings = re.findall(r"^#+ (.*)$", _BLOCK.sub("", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_a_link_leads_to_a_file_and_to_a_section_of_it(document: Path) -> None:
    for link in _LINK.findall(_BLOCK.sub("", document.read_text())):
        path, _, section = link.partition("#")
        target = (document.parent / path) if path else document
        assert target.exists(), link
        if section:
            assert section in anchors(target), link


@pytest.mark.parametrize("document", EXPORTED, ids=name_of)
def test_a_page_that_is_exported_links_to_what_is_exported_with_it(document: Path) -> None:
    for link in _LINK.findall(document.read_text()):
        if path := link.partition("#")[0]:
            assert (document.parent / path).resolve().is_relative_to(folder()), link


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## ", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_what_make_is_told_to_make_is_a_target(document: Path) -> None:
    text = document.read_text()
    told = re.findall(r"`make ([a-z -]+)`", text) + re.findall(r"^\$ (?:\w+=\S+ )*make ([a-z-]+)", text, re.MULTILINE)
    assert {target for each in told for target in each.split()} <= targets()


def test_the_readme_tells_a_developer_of_every_target_but_those_that_renew_or_clean() -> None:
    [(_, block)] = [each for each in _BLOCK.findall(README.read_text()) if "$ make setup" in each[1]]
    others = {"help", "lint", "format", "clean", "demo", "demo-picture", "collector-module", "environments"}
    assert set(re.findall(r"^\$ make ([a-z-]+)", block, re.MULTILINE)) == targets() - others


def commands(text: str) -> Iterator[list[str]]:
    """The arguments of each `multiagents-otel ...` that a reader is told to type."""
    shown = [line for _, block in _BLOCK.findall(text) for line in re.findall(r"^\$ (.*)$", block, re.MULTILINE)]
    shown += re.findall(r"^    (multiagents-otel .*)$", text, re.MULTILINE)
    for line in shown:
        words = shlex.split(line, comments=True)
        if "multiagents-otel" in words and "pip" not in words:
            yield words[words.index("multiagents-otel") + 1 :]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_a_command_line_that_is_shown_is_understood(document: Path) -> None:
    for arguments in commands(document.read_text()):
        command_line().parse_args(arguments)  # SystemExit: it is not


def test_the_readme_shows_every_command() -> None:
    shown = {command_line().parse_args(arguments).run_command for arguments in commands(README.read_text())}
    assert shown == {command.run for command in COMMANDS}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_an_alert_that_is_named_exists(document: Path) -> None:
    named = set(re.findall(r"\bMultiAgents[A-Z]\w+", document.read_text()))
    classes = {name for name in dir(multiagents_otel) if name.startswith("MultiAgents")}
    assert named - classes <= alerts().keys()


@pytest.mark.parametrize("document", [folder() / "README.md", folder() / "parameters.md"], ids=name_of)
def test_every_parameter_that_is_named_can_be_set(document: Path) -> None:
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", document.read_text()))
    assert named <= PARAMETERS.keys()


@pytest.mark.parametrize("document", [README, folder() / "README.md"], ids=name_of)
def test_the_variables_of_every_channel_are_told(document: Path) -> None:
    text = document.read_text()
    mail = ("ALERT_TO_EMAILS", "ALERT_FROM_EMAIL", "SMTP_SERVER", "SMTP_PORT", "SMTP_USER", "ESCALATION_TO_EMAILS")
    for variable in (*(secret.variable for secret in SECRETS), *mail, "WATCHDOG_URL"):
        assert f"`{variable}`" in text


@cache
def least_collector() -> str:
    """The version of the Collector that is built, and that the tests run."""
    return str(yaml.safe_load((folder() / "build" / "manifest.yaml").read_text())["dist"]["version"])


def test_the_least_version_of_the_collector_is_the_one_that_the_tests_run() -> None:
    for document in (README, folder() / "README.md", folder() / "collector.md", folder() / "build" / "README.md"):
        told = re.findall(r"`?otelcol-contrib`?[ |]+([\d.]+) or later", document.read_text())
        assert set(told) == {least_collector()}, document
    assert PARAMETERS["collector_image"].default.endswith(f":{least_collector()}")
