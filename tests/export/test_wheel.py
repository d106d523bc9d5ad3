"""A user who only did ``pip install`` has the pipeline's files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from multiagents_otel.tools.deploy.export import exported
from multiagents_otel.tools.deploy.files import read
from multiagents_otel.tools.deploy.parameters import values
from multiagents_otel.tools.deploy.secrets import channels
from tests.support.processes import REPOSITORY


def run(*argv: str | Path, cwd: Path, **env: str) -> str:
    done = subprocess.run(argv, cwd=cwd, env=os.environ | env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the wheel is installed, that was made of the source release, that was made of the repository."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", folder, cwd=REPOSITORY)
    [source] = folder.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(folder)
    unpacked = folder / source.name.removesuffix(".tar.gz")
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder, cwd=unpacked)
    shutil.rmtree(unpacked)
    [wheel] = folder.glob("*.whl")
    site = folder / "site"
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        site,
        wheel,
        cwd=folder,
    )
    return site


def test_the_wheel_holds_the_files_of_the_repository(site: Path) -> None:
    shipped = site / "multiagents_otel" / "tools" / "deploy" / "collector-config"
    files = [path for path in shipped.rglob("*") if path.is_file()]
    assert {path.relative_to(shipped).as_posix(): path.read_text() for path in files} == read()


def test_the_installed_command_writes_them(site: Path, tmp_path: Path) -> None:
    paths = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    code = "import multiagents_otel; print(multiagents_otel.__file__)"
    where = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=paths)
    assert Path(where.strip()).is_relative_to(site)  # and not the checkout
    command = site / "bin" / "multiagents-otel"
    told = run(command, "config", "export", "out", "--decision-wait", "5m", cwd=tmp_path, PYTHONPATH=paths)
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    expected = exported(values({**channels(os.environ), "decision_wait": "5m"}))
    assert {path.relative_to(tmp_path / "out").as_posix(): path.read_text() for path in written} == expected
    assert f"wrote {len(expected)} files into out" in told
