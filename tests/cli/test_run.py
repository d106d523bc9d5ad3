"""``multiagents-otel run``, as a user calls it."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from multiagents_otel import __version__
from tests.cli.shown import Run, Shown
from tests.support.processes import Process

_COMMAND = str(Path(sys.executable).with_name("multiagents-otel"))
_NOWHERE = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}


def test_a_program_gets_its_arguments_as_they_are_and_its_exit_status_is_ours() -> None:
    code = "import sys; print(sys.argv[1:]); sys.exit(7)"
    with Process(
        [_COMMAND, "run", sys.executable, "-c", code, "a", "--b", "-h", "--", "--log"], env=_NOWHERE
    ) as program:
        assert program.wait() == 7
        assert program.lines[-1] == "['a', '--b', '-h', '--', '--log']"


def test_a_program_is_instrumented_by_our_distro_and_configurator_whatever_else_is_set_and_installed() -> None:
    code = """
    import os
    from multiagents_otel import MultiAgentsInstrumentor
    from opentelemetry import trace
    resource = trace.get_tracer_provider().resource.attributes
    print(MultiAgentsInstrumentor().is_instrumented_by_opentelemetry, resource["telemetry.distro.name"])
    """
    others = {"OTEL_PYTHON_DISTRO": "distro", "OTEL_PYTHON_CONFIGURATOR": "configurator", **_NOWHERE}
    with Process([_COMMAND, "run", sys.executable, "-c", textwrap.dedent(code)], env=others) as program:
        assert program.wait_ok().splitlines()[-1] == "True multiagents-otel"


def test_the_program_finds_modules_where_it_found_them_before(tmp_path: Path) -> None:
    (tmp_path / "from_the_path.py").write_text("")
    (tmp_path / "cwd").mkdir()
    (tmp_path / "cwd" / "from_the_folder.py").write_text("")
    code = "import from_the_path, from_the_folder; print('found')"
    argv = [_COMMAND, "run", sys.executable, "-c", code]
    with Process(argv, env={**_NOWHERE, "PYTHONPATH": str(tmp_path)}, cwd=tmp_path / "cwd") as program:
        assert program.wait_ok().splitlines()[-1] == "found"


def test_flags_before_the_program_are_opentelemetrys_variables_and_options_of_ours() -> None:
    code = (
        "import os; print(*(os.environ[name] for name in ('OTEL_SERVICE_NAME', 'OTEL_PYTHON_MULTIAGENTS_STALL_GRACE')))"
    )
    flags = ["--service_name=shop", "--multiagents-stall-grace", "3"]
    with Process([_COMMAND, "run", *flags, sys.executable, "-c", code], env=_NOWHERE) as program:
        assert program.wait_ok().splitlines()[-1] == "shop 3"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_is_of_the_command_and_not_of_the_program(run: Run, flag: str) -> None:
    shown = run("run", flag)
    assert (shown.status, shown.err) == (0, "")
    assert shown.out.startswith("usage: multiagents-otel run [-h]")
    assert "--traces_exporter console" in shown.out


def test_the_version_is_told(run: Run) -> None:
    assert run("--version") == Shown(0, f"multiagents-otel {__version__}\n", "")


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        ([], "no program is given"),
        (["no-such-program"], "there is no program 'no-such-program' on the PATH"),
        (["--foo", "bar", "python"], "there is no flag '--foo' (flags of the program come after it)"),
        (["-m", "app"], "there is no flag '-m' (flags of the program come after it)"),
        (["--trace_exporter", "console"], "there is no flag '--trace_exporter': did you mean --traces_exporter?"),
        (["--traces_exporter"], "--traces_exporter needs a value"),
        (["app.py"], "there is no program 'app.py': did you mean 'multiagents-otel run python app.py'?"),
    ],
)
def test_what_can_not_be_started_is_told(run: Run, argv: list[str], reason: str) -> None:
    usage = "usage: multiagents-otel run python app.py"
    assert run("run", *argv) == Shown(2, "", f"multiagents-otel run: {reason}\n{usage}\n")
