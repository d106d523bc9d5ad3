"""The page about sampling says what its files do."""

from __future__ import annotations

import re
from typing import Final

from multiagents_otel.tools.deploy.files import folder
from multiagents_otel.tools.deploy.parameters import PARAMETERS
from multiagents_otel.tools.deploy.parameters.sampling import ROWS

PAGE: Final = (folder() / "sampling.md").read_text()
FILES: Final = ("tail-sampling.yaml", "agent.yaml", "gateway.yaml", "agent-tls.yaml", "agent-token.yaml")
TEXT: Final = "".join((folder() / name).read_text() for name in FILES)
WORDS: Final = set(re.findall(r"`([^`\s]+)`", PAGE))


def test_every_file_is_on_the_page_and_no_other() -> None:
    told = {word for word in WORDS if word.endswith(".yaml")}
    assert told == {*FILES, "collector.yaml", "security/mutual-tls.yaml", "security/token.yaml"}


def test_every_environment_variable_of_the_files_is_on_the_page_with_its_default() -> None:
    read = set(re.findall(r"\$\{env:(\w+):-(.*?)\}", TEXT))
    assert set(re.findall(r"^\| `([A-Z_]+)` \| `(\S+)` \|", PAGE, re.MULTILINE)) == read


def test_the_parameters_that_the_page_names_have_the_defaults_that_it_tells() -> None:
    told = {
        "healthy_percent": "10",
        "slow_transaction_ms": "30000",
        "decision_wait": "10m",
        "held_transactions": "30000",
    }
    assert {name: PARAMETERS[name].default for name in told} == told
    named = WORDS & {row.name for row in ROWS}
    assert named >= {*told, "decision_wait_after_root", "kept_transactions", "sampling_memory_mib", "gateways"}


def test_sampling_stands_behind_all_that_one_collector_does_to_its_traces() -> None:
    lists = [
        re.search(
            r"^    traces:\n(?:      receivers: .*\n)?      processors: \[(.*)\]", (folder() / name).read_text(), re.M
        )
        for name in ("collector.yaml", "tail-sampling.yaml")
    ]
    single, sampling = (found[1] for found in lists if found)
    assert sampling == f"{single}, tail_sampling"
