"""The public names: the same for a program, a type checker and ``import *``, and loaded on their first use."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

import multiagents_otel
from tests.support.processes import Process

NOTHING = dict.fromkeys(("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"), "none")

HEAVY = (
    *(
        "asyncio",
        "ddsketch",
        "email",
        "google",
        "grpc",
        "importlib.metadata",
        "multiagents",
        "opentelemetry",
        "packaging",
    ),
    *("psutil", "redis", "requests", "socket", "ssl", "structlog", "typing_extensions", "wrapt", "yaml"),
)
"""Modules that take long to import, or that an application may not want."""


def printed(code: str, **environment: str) -> Any:
    with Process.python(code + "\nprint(json.dumps(found))", env=NOTHING | environment) as process:
        return json.loads(process.wait_ok(60).splitlines()[-1])


def loaded(*statements: str) -> list[str]:
    code = f"import json, sys\n{'; '.join(statements)}\nfound = [name for name in {HEAVY!r} if name in sys.modules]"
    return list(printed(code))


def test_a_type_checker_and_a_program_find_each_name_in_the_same_module() -> None:
    tree = ast.parse(Path(multiagents_otel.__file__).read_text())
    [block] = [
        node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
    ]  # if TYPE_CHECKING
    static = {
        alias.asname or alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert static == multiagents_otel._HOMES
    assert sorted([*static, "__version__"]) == multiagents_otel.__all__ == dir(multiagents_otel)


def test_every_name_is_loaded_by_use_and_by_a_star_import() -> None:
    for code in (
        "import multiagents_otel as module\nfound = [name for name in module.__all__ if not hasattr(module, name)]",
        "from multiagents_otel import *\nimport multiagents_otel\n"
        "found = [name for name in multiagents_otel.__all__ if name not in globals()]",
    ):
        assert printed("import json\n" + code) == []


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'multiagents_otel' has no attribute 'auto_instrumnt'"):
        _ = multiagents_otel.auto_instrumnt  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["auto_instrument", "MonitoringConfig", "OptionError"])
def test_a_name_without_telemetry_loads_nothing_that_takes_long(name: str) -> None:
    # Python 3.10 has no typing.Unpack.
    assert [each for each in loaded(f"from multiagents_otel import {name}") if each != "typing_extensions"] == []


def test_a_wrong_option_is_found_without_the_sdk() -> None:
    call = "import contextlib, multiagents_otel\nwith contextlib.suppress(TypeError): multiagents_otel.auto_instrument"
    assert "opentelemetry" not in loaded(call + "(detailed_timin=True)")


def test_auto_instrument_without_monitors_and_files_loads_nothing_of_theirs() -> None:
    found = loaded("import multiagents_otel", "multiagents_otel.auto_instrument()")
    assert "opentelemetry" in found
    assert not {"ddsketch", "grpc", "multiagents", "redis", "structlog", "yaml"} & set(found)


def test_what_the_end_of_the_process_needs_is_loaded_before() -> None:
    code = """
    import atexit, sys
    imported = []
    atexit.register(lambda: print("flushed", multiagents_otel.flush(), imported))  # called after the end of telemetry
    import multiagents_otel
    multiagents_otel.auto_instrument()
    from opentelemetry import metrics, trace
    with trace.get_tracer("a").start_as_current_span("b"):
        metrics.get_meter("a").create_counter("c").add(1)

    def begin():
        sys.addaudithook(lambda event, args: imported.append(args[0]) if event == "import" else None)

    atexit.register(begin)  # called before the end of telemetry
    """
    environment = {"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "console"}
    with Process.python(code, env=NOTHING | environment) as process:
        said = process.wait_ok(60)
    assert '"name": "b"' in said
    assert "flushed True []" in said.splitlines()
