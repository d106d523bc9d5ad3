"""The log file where the system is Windows, simulated: rotation, several processes, line ends, names."""

from __future__ import annotations

from pathlib import Path

from tests.logs.lines import messages
from tests.support.processes import Process

PROGRAM = """
import tests.support.windows
import asyncio, logging, multiprocessing, sys
logging.basicConfig(format="LOG %(message)s")
from multiagents_otel import FileLogger

async def log(path, name, count, max_bytes):
    logger = FileLogger(path, max_bytes=max_bytes, backup_count=1_000)
    for number in range(count):
        await logger.info(f"{name} {number}", padding="x" * (number % 97))
        if number % 20 == 0:
            await asyncio.sleep(0.02)
    await logger.close()
    return logger.dropped

def run(*args):
    assert asyncio.run(log(*args)) == 0
"""


def files(path: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in path.parent.iterdir() if file.suffix != ".lock"}


def run(code: str, folder: Path) -> str:
    script = folder / "program.py"
    script.write_text(PROGRAM + code)
    with Process.python(script) as process:
        process.wait_ok(120)
        return process.output


def test_a_file_rotates_though_an_open_one_can_not_be_renamed(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "app.log"
    output = run(f"run({str(path)!r}, 'a', 600, 20_000)", tmp_path)
    assert messages_of(path) == [f"a {number}" for number in range(600)]
    assert "LOG" not in output
    sizes = files(path)
    del sizes["app.log"]
    assert len(sizes) > 4
    assert 19_000 < min(sizes.values()) <= max(sizes.values()) <= 20_000


def test_spawned_processes_that_rotate_one_file_lose_and_tear_no_line(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "app.log"
    run(
        f"""
if __name__ == "__main__":
    children = [multiprocessing.Process(target=run, args=({str(path)!r}, name, 400, 20_000)) for name in "abc"]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0, child.exitcode
""",
        tmp_path,
    )
    assert sorted(messages_of(path)) == sorted(f"{name} {number}" for name in "abc" for number in range(400))
    assert len(files(path)) > 4


def test_lines_end_as_they_do_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    run(f"run({str(path)!r}, 'a', 10, 0)", tmp_path)
    assert path.read_bytes().count(b"\n") == 10
    assert b"\r" not in path.read_bytes()


def test_a_line_that_was_torn_there_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_bytes(b'{"message": "half')
    run(f"run({str(path)!r}, 'a', 1, 0)", tmp_path)
    torn, whole = path.read_text().splitlines()
    assert torn == '{"message": "half'
    assert '"a 0"' in whole


def test_a_file_that_another_program_holds_open_grows_and_rotates_later(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "app.log"
    output = run(
        f"""
import pathlib
path = pathlib.Path({str(path)!r})
path.parent.mkdir()
with path.open("a"):
    run(path, "a", 100, 2_000)
    assert [file.name for file in path.parent.glob("*.log*") if file.suffix != ".lock"] == ["app.log"]
run(path, "b", 100, 2_000)
""",
        tmp_path,
    )
    assert messages_of(path) == [f"{name} {number}" for name in "ab" for number in range(100)]
    assert output.count("can't be rotated") == 1
    assert len(files(path)) > 5


def test_a_name_that_the_system_refuses_is_reported_once_and_the_application_goes_on(tmp_path: Path) -> None:
    output = run(
        f"""
async def main():
    for name in ("a:b.log", "a?.log", "a|b.log"):
        logger = FileLogger({str(tmp_path)!r} + "/" + name)
        for _ in range(3):
            await logger.info("lost")
            await logger.close()
        print("dropped", logger.dropped)
asyncio.run(main())
""",
        tmp_path,
    )
    assert output.count("dropped 3") == 3
    assert output.count("could not be written") == 3
    assert output.count("Invalid argument") == 3


def messages_of(path: Path) -> list[str]:
    path.with_name(f"{path.name}.lock").unlink()
    return messages(path)
