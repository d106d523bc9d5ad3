"""The files for sampling and for many machines: shipped as they are rendered, valid with any number of gateways."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from multiagents_otel.tools.deploy.files import folder
from multiagents_otel.tools.deploy.gateways import addresses
from multiagents_otel.tools.deploy.parameters import values
from multiagents_otel.tools.deploy.render import render
from tests.sampling.running import AGENT, GATEWAY, GATEWAY_FOR_ALL, SAMPLING
from tests.support.services import find

AGENT_TLS: Final = (*AGENT, "agent-tls.yaml")
AGENT_TOKEN: Final = (*AGENT_TLS, "agent-token.yaml")


def gateways(count: int) -> str:
    return ",".join(f"gateway-{number}.example:4317" for number in range(count))


@pytest.mark.parametrize("name", sorted({*SAMPLING, *GATEWAY, *AGENT_TOKEN}))
def test_a_file_with_all_defaults_is_what_is_shipped(name: str) -> None:
    text = (folder() / name).read_text()
    assert render(text, values()) == text


@pytest.mark.parametrize("files", [SAMPLING, GATEWAY, GATEWAY_FOR_ALL, AGENT, AGENT_TLS, AGENT_TOKEN], ids="+".join)
@pytest.mark.parametrize("count", [1, 3])
def test_files_are_valid_together_with_any_number_of_gateways(
    files: tuple[str, ...], count: int, tmp_path: Path
) -> None:
    chosen = values({"gateways": gateways(count)})
    for name in files:
        (tmp_path / name).write_text(render((folder() / name).read_text(), chosen))
    argv = [find("otelcol", "otelcol-contrib"), "validate", *(f"--config={tmp_path / name}" for name in files)]
    validated = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (validated.returncode, validated.stderr) == (0, "")


def test_each_of_three_gateways_gets_a_third_of_the_transactions() -> None:
    agent = yaml.safe_load(render((folder() / "agent.yaml").read_text(), values({"gateways": gateways(3)})))
    assert agent["connectors"]["routing/traces"] == {
        "error_mode": "ignore",
        "default_pipelines": ["traces/gateway-2"],
        "table": [
            {
                "context": "span",
                "condition": 'Substring(span.trace_id.string, 28, 4) < "5555"',
                "pipelines": ["traces/gateway-0"],
            },
            {
                "context": "span",
                "condition": 'Substring(span.trace_id.string, 28, 4) < "aaaa"',
                "pipelines": ["traces/gateway-1"],
            },
        ],
    }
    assert {name: exporter["endpoint"] for name, exporter in agent["exporters"].items()} == {
        f"otlp_grpc/gateway-{number}": f"gateway-{number}.example:4317" for number in range(3)
    }


@pytest.mark.parametrize("listed", ["", " , ", "a:1,b:1,a:1"])
def test_no_gateway_and_one_that_stands_there_twice_are_errors(listed: str) -> None:
    with pytest.raises(ValueError, match="list of different addresses"):
        addresses({"gateways": listed})
