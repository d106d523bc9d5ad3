"""One log file and several processes: nothing lost, nothing torn, however they end."""

from __future__ import annotations

import asyncio
import fcntl
import json
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from multiagents_otel import FileLogger
from tests.logs.lines import entries, messages
from tests.support.processes import Process

HEAD = """
import asyncio, os, signal, sys, threading, time
from multiagents_otel import FileLogger
def log(logger, *messages, **fields):
    async def main():
        for message in messages:
            await logger.info(message, **fields)
    asyncio.run(main())
logger = FileLogger(PATH)
"""


def head(path: Path) -> str:
    return f"PATH = {str(path)!r}\n{HEAD}"


def test_processes_that_rotate_one_file_lose_and_tear_no_line(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "shared.log"
    code = f"""
    import asyncio, sys
    from multiagents_otel import FileLogger
    logger = FileLogger({str(path)!r}, max_bytes=20_000, backup_count=1_000)
    async def main():
        print("ready", flush=True)
        sys.stdin.readline()
        for number in range(800):
            await logger.info(f"{{sys.argv[1]}} {{number}}", padding="x" * (number % 97))
            if number % 20 == 0:
                await asyncio.sleep(0.005)
    asyncio.run(main())
    """
    with ExitStack() as stack:
        processes = [stack.enter_context(Process.python(code, name)) for name in "abcd"]
        for process in processes:
            process.wait_line("ready")
        for process in processes:
            process.send_line("go")
        for process in processes:
            process.wait_ok(60)
    found = messages(path)
    assert sorted(found) == sorted(f"{name} {number}" for name in "abcd" for number in range(800))
    for name in "abcd":  # each process' own lines are in its own order
        assert [m for m in found if m.startswith(name)] == [f"{name} {number}" for number in range(800)]
    sizes = {file.name: file.stat().st_size for file in path.parent.iterdir()}
    del sizes[path.name]
    assert len(sizes) > 10
    assert max(sizes.values()) <= 20_000
    assert min(sizes.values()) > 19_000  # none is rotated before it is full


def test_the_oldest_files_go(tmp_path: Path) -> None:
    path = tmp_path / "short.log"
    code = f"""
    import asyncio
    from multiagents_otel import FileLogger
    logger = FileLogger({str(path)!r}, max_bytes=1_000, backup_count=2)
    async def main():
        for number in range(40):
            await logger.info(f"{{number:04}}")
        await logger.close()
    asyncio.run(main())
    """
    with Process.python(code) as process:
        process.wait_ok()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["short.log", "short.log.1", "short.log.2"]
    found = messages(path)
    assert found == [f"{number:04}" for number in range(40 - len(found), 40)]
    assert all(file.stat().st_size <= 1_000 for file in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("pass", 0),
        ("sys.exit(3)", 3),
        ("raise RuntimeError", 1),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -signal.SIGTERM),
        ("import atexit; atexit._run_exitfuncs(); log(logger, 'after the end'); os._exit(0)", 0),
    ],
    ids=["end", "sys.exit", "exception", "SIGTERM", "later than the end"],
)
def test_at_an_end_everything_is_in_the_file(tmp_path: Path, ending: str, code: int) -> None:
    path = tmp_path / "app.log"
    program = head(path) + f"log(logger, *map(str, range(5_000)))\n{ending}"
    with Process.python(program) as process:
        assert process.wait() == code, process.output
    late = ["after the end"] if "after the end" in ending else []
    assert messages(path) == [*map(str, range(5_000)), *late]


def test_an_applications_own_SIGTERM_handler_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    program = f"""
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: (print("mine", flush=True), sys.exit(5)))
{head(path)}
log(logger, "before")
print("set", flush=True)
time.sleep(60)
"""
    with Process.python(program) as process:
        process.wait_line("set")
        assert process.terminate() == 5
    assert messages(path) == ["before"]


def test_kill_9_loses_at_most_what_came_in_its_last_moment(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    program = head(path) + (
        "log(logger, *map(str, range(100)))\n"
        "while not os.path.exists(PATH) or open(PATH).read().count('\\n') < 100: time.sleep(0.01)\n"
        "print('written', flush=True)\n"
        "log(logger, *map(str, range(100, 9_000)))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    with Process.python(program) as process:
        assert process.wait() == -signal.SIGKILL
        process.wait_line("written")
    found = messages(path)
    assert found == [str(number) for number in range(len(found))]
    assert len(found) >= 100


def test_a_line_that_a_killed_process_tore_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text('{"message": "whole"}\n{"message": "to')
    with Process.python(head(path) + "log(logger, 'next')") as process:
        process.wait_ok()
    first, torn, after = path.read_text().splitlines()
    assert (first, torn) == ('{"message": "whole"}', '{"message": "to')
    assert '"message": "next"' in after


def test_a_line_that_another_process_is_about_to_end_is_not_torn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "app.log"
    path.write_text('{"message": "who')  # under the other one's lock
    lock = fcntl.flock

    def wait_for_the_other(file: int, operation: int) -> None:
        if path.stat().st_size == len('{"message": "who'):
            with path.open("a") as other:
                other.write('le"}\n')
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", wait_for_the_other)
    logger = FileLogger(path)
    asyncio.run(log_and_close(logger, "next"))
    assert messages(path) == ["whole", "next"]


async def log_and_close(logger: FileLogger, message: str) -> None:
    await logger.info(message)
    await logger.close()


def test_a_line_that_is_torn_while_the_file_is_open_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    logger = FileLogger(path)
    asyncio.run(log_and_close(logger, "first"))
    with path.open("a") as killed:
        killed.write('{"message": "to')
    asyncio.run(log_and_close(logger, "next"))
    first, torn, after = path.read_text().splitlines()
    assert torn == '{"message": "to'
    assert [json.loads(line)["message"] for line in (first, after)] == ["first", "next"]


@pytest.mark.parametrize("how", ["fork", "multiprocessing"])
def test_a_forked_child_writes_its_own_lines_and_none_of_its_parents(tmp_path: Path, how: str) -> None:
    path = tmp_path / "app.log"
    program = head(path) + (
        "log(logger, *(f'parent {n}' for n in range(300)))\n"  # they are queued when it forks
        "def child(): log(logger, *(f'child {n}' for n in range(300)))\n"
        f"if {how!r} == 'fork':\n"
        "    pid = os.fork()\n"
        "    if not pid:\n"
        "        child(); sys.exit(0)\n"
        "    assert os.waitpid(pid, 0)[1] == 0\n"
        "else:\n"
        "    import multiprocessing\n"
        "    process = multiprocessing.get_context('fork').Process(target=child)\n"
        "    process.start(); process.join(); assert process.exitcode == 0\n"
        "log(logger, 'parent after')"
    )
    with Process.python(program) as process:
        process.wait_ok()
    found = messages(path)
    assert [m for m in found if m.startswith("parent")] == [*(f"parent {n}" for n in range(300)), "parent after"]
    assert [m for m in found if m.startswith("child")] == [f"child {n}" for n in range(300)]


def test_a_stopped_process_that_holds_the_file_holds_up_no_other(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    holder = f"""
    import fcntl, os, sys
    file = open({str(path)!r}, "a")
    fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.readline()
    """
    with Process.python(holder) as stopped:
        stopped.wait_line("held")
        with Process.python(head(path) + "log(logger, 'on')") as process:
            process.wait_ok()
        assert [entry["message"] for entry in entries(path)] == ["on"]


def test_a_stream_that_is_stuck_keeps_no_process_from_ending_whatever_is_logged_at_its_end() -> None:
    program = """
import asyncio, atexit, threading
from multiagents_otel import ConsoleLogger

class Stuck:
    def write(self, text):
        threading.Event().wait()

async def log(*records):
    for record in records:
        await logger.info(str(record))

atexit.register(lambda: asyncio.run(log(*range(100))))
logger = ConsoleLogger(output_stream=Stuck())
asyncio.run(log("on"))
"""
    with Process.python(program) as process:
        assert process.wait(30) == 0
