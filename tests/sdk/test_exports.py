"""Exports of whole workflows: the same bytes with light spans and bulk histograms as with the SDK's public API."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

REPOSITORY: Final = Path(__file__).resolve().parents[2]
_MESSAGES: Final[dict[str, Any]] = {"spans": ExportTraceServiceRequest, "metrics": ExportMetricsServiceRequest}


def run(way: str, *arms: str, path: Path | None = None) -> Any:
    """What the program writes; ``path`` is searched for modules before all others."""
    command = [sys.executable, "-c", "import runpy, sys; sys.path[:0] = [*filter(None, [sys.argv.pop(1)]), '.']\n"]
    command[-1] += "runpy.run_module('tests.sdk.program', run_name='__main__', alter_sys=True)"
    done = subprocess.run(
        [*command, str(path or ""), way, *arms], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def assert_same_exports(one: Any, other: Any) -> None:
    assert one["exports"].keys() == other["exports"].keys()
    for arm, exports in one["exports"].items():
        for signal, message in _MESSAGES.items():
            seen, expected = (bytes.fromhex(each[signal]) for each in (exports, other["exports"][arm]))
            assert str(message.FromString(seen)) == str(message.FromString(expected)), (arm, signal)
            assert seen == expected


def test_workflows_export_the_same_bytes_both_ways() -> None:
    light, ordinary = run("light"), run("ordinary")
    assert light["light"]
    assert_same_exports(light, ordinary)
    assert light["lines"] == ordinary["lines"]
