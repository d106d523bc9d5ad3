"""A log file that is damaged while in use: the application goes on, the loss is reported once, logging resumes."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multiagents_otel import FileLogger
from tests.logs.lines import messages
from tests.support.processes import Process


def _make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _make_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _fill_disk(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/full")


def _replace_parent(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_text("a file")


def _link_to_nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "absent" / "app.log")


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (_make_directory, errno.EISDIR),
        (_make_loop, errno.ELOOP),
        (_fill_disk, errno.ENOSPC),
        (_replace_parent, errno.ENOTDIR),
        (_link_to_nowhere, errno.ENOENT),
    ],
)
async def test_a_file_that_can_no_longer_be_written(
    damage: Callable[[Path], None], cause: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "logs" / "app.log"
    logger = FileLogger(path, max_bytes=10_000, backup_count=2)
    await _log(logger, "before")
    damage(path)
    await _log(logger, "lost", "lost too")
    _remove(path)
    await _log(logger, "after", "and more")
    assert messages(path) == ["after", "and more"]
    assert logger.dropped == 2
    (record,) = caplog.records
    assert f"log records could not be written to {path}: " in record.getMessage()
    assert record.getMessage().endswith(f": {os.strerror(cause)}")


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: shutil.rmtree(path.parent), lambda path: os.truncate(path, 0)]
)
async def test_a_file_that_is_taken_away_or_emptied_costs_what_was_in_it_alone(
    damage: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "logs" / "app.log"
    logger = FileLogger(path)
    await _log(logger, "before")
    damage(path)
    await _log(logger, "after")
    assert messages(path) == ["after"]
    assert (logger.dropped, caplog.records) == (0, [])


async def test_a_disk_that_is_full_for_a_while_tears_no_later_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "app.log"
    logger = FileLogger(path)
    await _log(logger, "before")
    space = 30
    write = os.write

    def write_while_there_is_space(file: int, data: Any) -> int:
        nonlocal space
        if not space:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(file, bytes(data)[:space])
        space -= written
        return written

    monkeypatch.setattr(os, "write", write_while_there_is_space)
    await _log(logger, "torn")
    await _log(logger, "lost")
    space = 1_000_000
    await _log(logger, "after")
    before, torn, after = path.read_text().splitlines()
    assert [json.loads(line)["message"] for line in (before, after)] == ["before", "after"]
    assert len(torn) == 30
    assert logger.dropped == 2
    assert len(caplog.records) == 1


async def test_names_of_old_files_that_are_taken_lose_no_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "app.log"
    (tmp_path / "app.log.1" / "full").mkdir(parents=True)
    logger = FileLogger(path, max_bytes=500, backup_count=1)
    await _log(logger, *map(str, range(10)))
    assert [json.loads(line)["message"] for line in path.read_text().splitlines()] == [*map(str, range(10))]
    assert len(caplog.records) == 1
    shutil.rmtree(tmp_path / "app.log.1")
    await _log(logger, "later")
    assert messages(path)[-1] == "later"
    assert (tmp_path / "app.log.1").is_file()
    assert logger.dropped == 0


def test_a_folder_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "app.log"
    path.parent.mkdir()
    path.parent.chmod(0o700 if os.geteuid() == 0 else 0o500)
    code = f"""
    import asyncio, logging, os, sys
    logging.basicConfig(format="LOG %(message)s")
    from multiagents_otel import FileLogger
    logger = FileLogger({str(path)!r})
    async def main():
        if os.geteuid() == 0:
            os.seteuid(65534)
        for _ in range(3):
            await logger.info("lost")
            await logger.close()
        print("dropped", logger.dropped)
        if os.getuid() == 0:
            os.seteuid(0)
        os.chmod({str(path.parent)!r}, 0o777)
        await logger.info("later")
        await logger.close()
        print("dropped", logger.dropped)
    asyncio.run(main())
    """
    with Process.python(code) as process:
        process.wait_ok(60)
    assert process.output.count("dropped 3") == 2
    assert process.output.count("LOG ") == 1
    assert "Permission denied" in process.output
    assert messages(path) == ["later"]


async def _log(logger: FileLogger, *lines: str) -> None:
    for line in lines:
        await logger.info(line)
        await logger.close()


def _remove(path: Path) -> None:
    if path.parent.is_file():
        path.parent.unlink()
    elif path.is_dir():
        path.rmdir()
    else:
        path.unlink()
