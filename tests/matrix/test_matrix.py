"""The suite's core in other environments: the oldest OpenTelemetry and wrapt allowed, other Pythons, old frameworks.

The newest is what the suite itself runs in. An interpreter that this machine does not have is told as a skip; in
CI, where the oldest versions are part of `make test`, nothing of that row can be missing.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.matrix.environments import OLDEST, OTHERS, REPOSITORY, Environment, NoInterpreterError, build

CORE: Final = ("tests/contract", "tests/sdk", "tests/catalogue/test_b_patches.py")
"""What tells whether the package keeps its contract; in-process and quick."""


def _passes_in(environment: Environment) -> None:
    try:
        python = build(environment)
    except NoInterpreterError as missing:
        pytest.skip(str(missing))
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *CORE]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_the_core_passes_with_the_oldest_versions_allowed() -> None:
    _passes_in(OLDEST)


@pytest.mark.slow
@pytest.mark.parametrize("environment", OTHERS, ids=lambda environment: environment.name)
def test_the_core_passes_elsewhere(environment: Environment) -> None:
    _passes_in(environment)


@pytest.mark.slow
@pytest.mark.parametrize("environment", OTHERS, ids=lambda environment: environment.name)
def test_the_demo_runs_elsewhere(environment: Environment, tmp_path: Path) -> None:
    try:
        python = build(environment)
    except NoInterpreterError as missing:
        pytest.skip(str(missing))
    command = [str(python), str(REPOSITORY / "examples" / "demo"), "--folder", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
