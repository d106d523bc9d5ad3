"""What a program and its children find under ``multiagents-otel run``: all that they find without it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Final

import pytest

from multiagents_otel.tools.interpreter import obstacle
from tests.support.processes import REPOSITORY, Process

_COMMAND: Final = str(Path(sys.executable).with_name("multiagents-otel"))
_NOWHERE: Final = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
_INSTRUMENTED: Final = (
    "from multiagents_otel import MultiAgentsInstrumentor as M; "
    "print('instrumented', M().is_instrumented_by_opentelemetry, flush=True)"
)
_OWN_MESSAGES: Final = ("nothing will be exported", "Configuration of")


def launched(*program: str, cwd: Path | None = None, **environment: str) -> list[str]:
    """Run a program under the launcher, and return the lines that it prints."""
    with Process([_COMMAND, "run", *program], env={**_NOWHERE, **environment}, cwd=cwd) as process:
        lines = process.wait_ok(120).splitlines()
    assert "Traceback" not in "".join(lines)
    return [line for line in lines if not line.startswith(_OWN_MESSAGES)]


def plain(*program: str, cwd: Path | None = None, **environment: str) -> list[str]:
    """Run a program without the launcher, and return the lines that it prints."""
    with Process(program, env={**_NOWHERE, **environment}, cwd=cwd) as process:
        return process.wait_ok(120).splitlines()


def customize(folder: Path, text: str, name: str = "sitecustomize") -> str:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / f"{name}.py").write_text(text)
    return str(folder)


# --- the user's own sitecustomize ---------------------------------------------------------------------


def test_the_users_own_sitecustomize_runs_and_is_the_one_that_is_imported(tmp_path: Path) -> None:
    path = customize(tmp_path / "site", "import json, helper\nprint('mine', helper.VALUE)\n")
    customize(tmp_path / "site", "VALUE = 5\n", "helper")
    code = f"import sitecustomize; print(sitecustomize.__file__); {_INSTRUMENTED}"
    lines = launched(sys.executable, "-c", code, PYTHONPATH=os.pathsep.join([path, str(REPOSITORY)]))
    assert lines[-3:] == ["mine 5", f"{path}/sitecustomize.py", "instrumented True"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("raise RuntimeError('on purpose')", "RuntimeError: on purpose"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def (", "SyntaxError: "),
    ],
)
def test_a_sitecustomize_that_fails_is_reported_as_python_does_and_stops_nothing(
    tmp_path: Path, text: str, error: str
) -> None:
    path = os.pathsep.join([customize(tmp_path / "site", text), str(REPOSITORY)])
    without = plain(sys.executable, "-c", "1", PYTHONPATH=path)
    assert without[-1].startswith(error)
    # The launcher is a Python program too.
    assert launched(sys.executable, "-c", _INSTRUMENTED, PYTHONPATH=path) == [*without, *without, "instrumented True"]


def test_a_sitecustomize_may_end_the_program(tmp_path: Path) -> None:
    path = customize(tmp_path / "site", "import sys; print('enough', flush=True); sys.exit(4)")
    program = f"PYTHONPATH=$PYTHONPATH:{path} exec {sys.executable} -c 'print(1)'"
    ends = []
    for launcher in ([], [_COMMAND, "run"]):
        with Process([*launcher, "/bin/sh", "-c", program], env=_NOWHERE) as process:
            ends.append((process.wait(120), process.lines[0], process.lines[-1]))
    assert ends[0] == ends[1] == (1, "enough", "SystemExit: 4")  # to Python this is a fatal error


def test_usercustomize_runs_too(tmp_path: Path) -> None:
    python = os.path.realpath(sys.executable)  # in a virtual environment there is no user's folder
    [folder] = plain(python, "-c", "import site; print(site.getusersitepackages())", PYTHONUSERBASE=str(tmp_path))
    customize(Path(folder), "print('the user runs')", "usercustomize")
    without = plain(python, "-c", "1", PYTHONUSERBASE=str(tmp_path))
    assert without == ["the user runs"]
    lines = launched(python, "-c", "1", PYTHONUSERBASE=str(tmp_path), PYTHONPATH="")
    assert [line for line in lines if "without telemetry" not in line] == without


# --- what the program sees ----------------------------------------------------------------------------


def test_the_program_sees_its_own_path_arguments_and_folder(tmp_path: Path) -> None:
    code = "import os, sys; print(sys.argv, sys.path, sys.flags, os.getcwd(), sys.executable, sys.prefix, input())"
    script = tmp_path / "bin" / "script.py"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\n{code}\n")
    script.chmod(0o755)
    (tmp_path / "module.py").write_text(code)
    programs = [
        [sys.executable, "bin/script.py", "a", "--b"],
        ["./bin/script.py", "-h"],
        [sys.executable, "-m", "module", "x"],
        [sys.executable, "-c", code, "-I"],
        ["python", "-X", "dev", "-W", "ignore", "bin/script.py"],
    ]
    if sys.version_info >= (3, 11):
        programs.append([sys.executable, "-P", "-c", code])
    environment = {
        **_NOWHERE,
        "PYTHONPATH": f"{REPOSITORY}:relative",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    for program in programs:
        seen = []
        for argv in (program, [_COMMAND, "run", *program]):
            with Process(argv, cwd=tmp_path, env=environment) as process:
                process.send_line("a line")
                seen.append(process.wait_ok(120).splitlines()[-1])
        assert seen[0] == seen[1]


def test_of_the_environment_only_the_start_is_added() -> None:
    code = "import json, os; print(json.dumps(dict(os.environ), sort_keys=True))"
    environments = [
        json.loads(run(sys.executable, "-c", code, PYTHONPATH=f"relative:{REPOSITORY}")[-1])
        for run in (plain, launched)
    ]
    without, within = environments
    added = {name: within[name] for name in within.keys() - without.keys()}
    assert added == {
        "MULTIAGENTS_OTEL_LAUNCHER": "1",
        "OTEL_PYTHON_CONFIGURATOR": "multiagents",
        "OTEL_PYTHON_DISTRO": "multiagents",
    }
    assert within["PYTHONPATH"].split(":")[1:] == ["relative", str(REPOSITORY)]
    differs = {name for name in without if within.get(name) != without[name]}
    assert differs <= {"PYTHONPATH", "PWD", "_", "OLDPWD"}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH is of Python 3.11")
def test_a_safe_path_stays_safe_and_is_instrumented(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise RuntimeError('from the working folder')")
    program = (sys.executable, "-c", f"import json; {_INSTRUMENTED}")
    assert launched(*program, cwd=tmp_path, PYTHONSAFEPATH="1") == ["instrumented True"]


def test_signals_and_statuses_are_the_programs() -> None:
    for code, status in (("import os; os.kill(os.getpid(), 9)", -9), ("import os; os._exit(3)", 3), ("raise 1", 1)):
        with Process([_COMMAND, "run", sys.executable, "-c", code], env=_NOWHERE) as process:
            assert process.wait(120) == status


# --- what can't be instrumented -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["-I"], "-I ignores PYTHONPATH"),
        (["-Bu", "-sE"], "-E ignores PYTHONPATH"),
        (["-W", "ignore", "-X", "utf8", "-bS"], "-S does not run sitecustomize"),
    ],
)
def test_an_option_that_keeps_telemetry_out_is_reported_and_the_program_runs(options: list[str], why: str) -> None:
    first, *rest = launched(sys.executable, *options, "-c", "print('it runs')")
    name = Path(sys.executable).name
    assert first.startswith(f"multiagents-otel run: {name} {why}: {sys.executable} runs without telemetry. ")
    assert rest == ["it runs"]


@pytest.mark.parametrize(
    ("line", "letter"),
    [
        ("#!/usr/bin/python3 -I", "I"),
        ("#!/usr/bin/python3 -sE", "E"),
        ("#!/usr/bin/env -S python3 -S", "S"),
        ("#!/usr/bin/env python3", None),
        ("#! /usr/bin/python3.11", None),
        ("#!/bin/sh -E", None),
        ("#!/usr/bin/python3 '", None),
        ("not a script -I", None),
        ("", None),
    ],
)
def test_the_first_line_of_a_script_is_read_as_well(tmp_path: Path, line: str, letter: str | None) -> None:
    script = tmp_path / "script"
    script.write_text(f"{line}\nprint('-I')\n")
    why = obstacle(str(script), ["-I", "-E"])
    assert (why is None) if letter is None else (why is not None and f" -{letter} " in why)


@pytest.mark.parametrize(
    "arguments", [["-c", "1", "-I"], ["-m", "x", "-E"], ["app.py", "-S"], ["-X", "-I"], ["-", "-I"], ["-cI"], []]
)
def test_arguments_of_the_program_are_no_options_of_python(arguments: list[str]) -> None:
    assert obstacle("/usr/bin/python3", arguments) is None


def test_a_python_without_this_package_says_so_and_runs() -> None:
    base = os.path.realpath(sys.executable)
    first, *rest = launched(base, "-c", "print('it runs')", PYTHONPATH="")
    assert rest == ["it runs"]
    assert first == f"multiagents-otel: {base} runs without telemetry: No module named 'multiagents_otel'"


def test_a_program_that_is_no_program_is_reported(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("no first line that names an interpreter")
    script.chmod(0o755)
    with Process([_COMMAND, "run", str(script)]) as process:
        assert process.wait(120) == 2
        assert process.lines[0] == f"multiagents-otel run: {str(script)!r} can't be started: Exec format error"


# --- children -----------------------------------------------------------------------------------------

CHILDREN: Final = """
import multiprocessing, os, subprocess, sys
def child():
    {instrumented}
if __name__ == "__main__":
    for method in ("spawn", "forkserver", "fork"):
        process = multiprocessing.get_context(method).Process(target=child)
        process.start()
        process.join()
        print(method, process.exitcode, flush=True)
    subprocess.run([sys.executable, "-c", {instrumented!r}], check=True)
    os.execv(sys.executable, [sys.executable, "-c", {instrumented!r} + "; print('exec')"])
"""


def test_children_of_every_kind_are_instrumented(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(CHILDREN.format(instrumented=_INSTRUMENTED))
    assert launched(sys.executable, str(app)) == [
        *("instrumented True", "spawn 0", "instrumented True", "forkserver 0", "instrumented True", "fork 0"),
        *("instrumented True", "instrumented True", "exec"),
    ]


def test_the_other_launcher_around_or_inside_instruments_once() -> None:
    other = str(Path(sys.executable).with_name("opentelemetry-instrument"))
    for argv in ([_COMMAND, "run", other], [other, _COMMAND, "run"]):
        with Process([*argv, sys.executable, "-c", _INSTRUMENTED], env=_NOWHERE) as process:
            lines = process.wait_ok(120).splitlines()
        assert lines[-1] == "instrumented True"
        assert "already instrumented" not in "".join(lines)
        assert "Overriding" not in "".join(lines)
