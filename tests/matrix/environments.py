"""The environments beside our own in which a selection of the suite runs: old and other versions of what we stand on.

Built under ``.venvs/`` and kept there until what they are made of changes. ``python -m tests.matrix.environments``
builds them all, ``... environments ends`` those whose names begin so.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

REPOSITORY: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = REPOSITORY / ".venvs"

_OLDEST_STABLE: Final = "1.38.0"
_OLDEST_BETA: Final = "0.59b0"
_STABLE: Final = ("api", "sdk", "proto", "exporter-otlp", "exporter-otlp-proto-grpc", "exporter-otlp-proto-http")
_BETA: Final = ("semantic-conventions", "instrumentation", "instrumentation-logging", "distro")


class Environment(NamedTuple):
    """One environment.

    Attributes:
        name: what the test and the folder are called.
        python: "3.12"; None is the Python that runs the suite.
        pins: distribution and the version it is held at.
        group: the dependency group that is installed beside the package.
        alone: a distribution that is installed without its own dependencies.
    """

    name: str
    python: str | None
    pins: Mapping[str, str]
    group: str = "test"
    alone: str | None = None


OLDEST: Final = Environment(
    "oldest",
    None,
    {
        **{f"opentelemetry-{part}": _OLDEST_STABLE for part in _STABLE},
        **{f"opentelemetry-{part}": _OLDEST_BETA for part in _BETA},
        "wrapt": "1.14.*",
    },
)
"""The lower bounds of pyproject.toml."""

OTHERS: Final = (
    Environment("framework-0.1.0", None, {"multiagents-framework": "0.1.0"}),
    Environment("python-3.10", "3.10", {}),
    Environment("python-3.12", "3.12", {}),
    Environment("python-3.13", "3.13", {}),
)

ENDS: Final = tuple(
    Environment(f"ends-{python}", python, {}, "ends", "multiagents-framework>=0.1.0")
    for python in ("3.10", "3.11", "3.12", "3.13", "3.14")
)
"""Where the end of a process is tested: the framework is installed, and not imported. Quick to build."""


class NoInterpreterError(RuntimeError):
    """This machine has no such Python."""


def interpreter(version: str | None) -> str:
    """The program for a version of Python: the running one, on the PATH, or one that pyenv has.

    Raises:
        NoInterpreterError: there is none.
    """
    if version is None or version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    for candidate in _candidates(version):
        if _version_of(candidate) == version:
            return candidate
    raise NoInterpreterError(f"no Python {version} on the PATH or among pyenv's versions")


def _candidates(version: str) -> Iterator[str]:
    if on_path := shutil.which(f"python{version}"):
        yield on_path
    root = os.environ.get("PYENV_ROOT")
    if root is None and (pyenv := shutil.which("pyenv")):
        root = _output([pyenv, "root"])
    versions = Path(root or Path.home() / ".pyenv", "versions")
    for folder in sorted(versions.glob(f"{version}.*"), reverse=True):
        yield str(folder / "bin" / "python")


def _version_of(program: str) -> str | None:
    return _output([program, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])


def _output(command: list[str]) -> str | None:
    try:  # a shim of pyenv's exists for versions that are not active, and fails
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def build(environment: Environment) -> Path:
    """The Python of an environment, built when it is not there yet.

    Raises:
        NoInterpreterError: it is for a Python that this machine does not have.
    """
    program = interpreter(environment.python)
    pins = "".join(f"{name}=={version}\n" for name, version in sorted(environment.pins.items()))
    made_of = "\n".join(
        [pins, environment.alone or "", _version_of(program) or "", (REPOSITORY / "pyproject.toml").read_text()]
    )
    folder = FOLDER / f"{environment.name}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    complete = folder / "complete"
    if complete.exists():
        return python
    for stale in FOLDER.glob(f"{environment.name}-*"):
        shutil.rmtree(stale)
    _run([program, "-m", "venv", str(folder)])
    constraints = folder / "constraints.txt"
    constraints.write_text(pins)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--upgrade", "pip>=25.1"])  # the first that knows dependency groups
    _run([*pip, "--constraint", str(constraints), "--editable", ".", "--group", environment.group])
    if environment.alone:
        _run([*pip, "--no-deps", environment.alone])
    complete.touch()
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")


def main() -> None:
    """Build the environments whose names begin as the command line says, else all."""
    for environment in (OLDEST, *ENDS, *OTHERS):
        if not environment.name.startswith(tuple(sys.argv[1:] or [""])):
            continue
        try:
            print(f"{environment.name}: {build(environment)}")
        except NoInterpreterError as missing:
            print(f"{environment.name}: left out, {missing}")


if __name__ == "__main__":
    main()
