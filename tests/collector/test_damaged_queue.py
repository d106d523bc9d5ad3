"""A damaged queue file is put aside before the Collector starts, and a whole one stays."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.collector.sending import post, traces
from tests.support.collectors import FOLDER, collector
from tests.support.ports import free_port
from tests.support.receiver import OtlpReceiver

PAGE: Final = 4096
QUEUE: Final = "exporter_otlp_http__traces"
SPANS: Final = 2_000

Damage = Callable[[bytearray], bytes]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Collector that was killed while its backend was away."""
    folder = tmp_path_factory.mktemp("queue")
    env = {"BACKEND_EXPORTER": "otlp_http", "BACKEND_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    with collector(folder, env=env) as running:
        for batch in range(SPANS // 20):
            spans = ({"name": f"{batch}-{number}-{random.randbytes(200).hex()}"} for number in range(20))
            assert post(running, "traces", traces(*spans).SerializeToString()) == 200
        running.service.kill9()
        return running.storage


def check(folder: Path) -> str:
    """Run the script as its own text says, and give what it prints."""
    argv = [sys.executable, str(FOLDER / "check-queue"), str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")
    return done.stderr


def aside(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if ".damaged-" in path.name]


def starts(folder: Path) -> tuple[int, int]:
    """Start the Collector: the spans of the queue that the backend gets, and those that come later."""
    with OtlpReceiver() as backend, collector(folder, backend=backend) as running:
        assert post(running, "traces", traces({"name": "new"}).SerializeToString()) == 200
        backend.wait_for(lambda seen: any(span.name == "new" for span in seen.spans))
        if not aside(running.storage):
            backend.wait_for(lambda seen: len(seen.spans) > SPANS * 0.8)
        assert running.service.process.returncode is None
        new = sum(span.name == "new" for span in backend.spans)
        return len({span.name for span in backend.spans}) - 1, new


def zeros(start: int, end: int) -> Damage:
    """Damage: these pages are empty."""
    return lambda data: bytes(data[: start * PAGE] + bytes((end - start) * PAGE) + data[end * PAGE :])


def garbage(step: int, seed: int) -> Damage:
    """Damage: one of so many pages is random."""

    def damage(data: bytearray) -> bytes:
        chance = random.Random(seed)
        for page in range(2, len(data) // PAGE, step):
            data[page * PAGE : (page + 1) * PAGE] = chance.randbytes(PAGE)
        return bytes(data)

    return damage


def figure(tag: int, value: int) -> Damage:
    """Damage: one of the queue's own figures, the field of this protobuf tag, has this value."""

    def damage(data: bytearray) -> bytes:
        states = list(re.finditer(rb"qmv0((?:[\x09\x11\x19\x21].{8})+)", data, re.DOTALL))
        changed = 0
        for state in states:
            for at in range(*state.span(1), 9):
                if data[at] == tag:
                    data[at + 1 : at + 9] = value.to_bytes(8, "little")
                    changed += 1
        assert changed
        return bytes(data)

    return damage


DAMAGES: Final[dict[str, Damage]] = {
    "an index of an item that is far away": figure(0x21, 2**60),
    "an index of the next item before that of the first": figure(0x21, 0),
    "a size that fills the queue": figure(0x09, 2**60),
    "a size below zero": figure(0x09, 2**64 - 5),
    "cut in the middle": lambda data: bytes(data[: len(data) // 2]),
    "cut in a page": lambda data: bytes(data[:100]),
    "cut after the meta pages": lambda data: bytes(data[: 2 * PAGE]),
    "no meta page": zeros(0, 2),
    "nothing but meta pages": lambda data: bytes(data[: 2 * PAGE] + bytes(len(data) - 2 * PAGE)),
    "zeros in the middle": lambda data: zeros(len(data) // PAGE // 8, len(data) // PAGE // 4)(data),
    "random pages": garbage(5, 2),
    "pages in each other's place": lambda data: bytes(
        data[: 4 * PAGE] + data[8 * PAGE : 12 * PAGE] + data[4 * PAGE : 8 * PAGE] + data[12 * PAGE :]
    ),
    "a text": lambda data: b"not a database\n" * 1000,
    "a single byte": lambda data: b"x",
}
HARMLESS: Final[dict[str, Damage]] = {
    "nothing": bytes,
    "no first meta page": zeros(0, 1),
    "no second meta page": zeros(1, 2),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_put_aside_and_the_collector_starts(storage: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(storage, tmp_path / "storage")
    queue = tmp_path / "storage" / QUEUE
    damaged = DAMAGES[name](bytearray(queue.read_bytes()))
    queue.write_bytes(damaged)
    message = check(tmp_path / "storage")
    [name_aside] = aside(tmp_path / "storage")
    assert re.fullmatch(rf"{re.escape(str(queue))}: damaged \(.+\)\. Renamed to {re.escape(name_aside)}\.\n", message)
    assert starts(tmp_path) == (0, 1)
    assert (tmp_path / "storage" / name_aside).read_bytes() == damaged
    assert check(tmp_path / "storage") == ""


@pytest.mark.parametrize("name", HARMLESS)
def test_a_file_that_the_collector_reads_stays_and_is_delivered(storage: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(storage, tmp_path / "storage")
    queue = tmp_path / "storage" / QUEUE
    queue.write_bytes(HARMLESS[name](bytearray(queue.read_bytes())))
    assert check(tmp_path / "storage") == ""
    assert starts(tmp_path) == (SPANS, 1)
    assert check(tmp_path / "storage") == ""


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_what_is_no_file_is_put_aside(tmp_path: Path, kind: str) -> None:
    queue = tmp_path / "storage" / QUEUE
    queue.parent.mkdir()
    if kind == "folder":
        queue.mkdir()
    else:
        queue.symlink_to(tmp_path / "nowhere")
    assert "damaged" in check(queue.parent)
    assert starts(tmp_path) == (0, 1)


def test_other_files_and_an_empty_queue_stay(tmp_path: Path) -> None:
    others = ("lost+found", "tempdb1", "notes.txt", "exporter_notes.txt", "other_thing.db", "receiver_list.csv")
    ends = (".damaged-20260101T000000Z", ".backup", ".bak", ".gz", ".swp", "~", "-copy")
    for name in (*others, *(f"{QUEUE}{end}" for end in ends), f"receiver_filelog_{ends[0]}", "0" * 63):
        (tmp_path / name).write_text("no database")
    (tmp_path / QUEUE).touch()
    before = sorted(tmp_path.iterdir())
    assert check(tmp_path) == ""
    assert sorted(tmp_path.iterdir()) == before
    assert check(tmp_path / "not there") == ""


@pytest.mark.parametrize(
    "name",
    [
        "exporter_otlp_http__traces",
        "exporter_otlp_grpc_to.eu-1_logs",
        "exporter_otlp_http_a~002Fb_metrics",
        "receiver_filelog_",
        "receiver_filelog_app",
        "0" * 64,
    ],
)
def test_a_damaged_file_of_any_component_is_put_aside(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("no database")
    assert f"{name}: damaged" in check(tmp_path)


def test_the_file_of_a_running_collector_stays(tmp_path: Path) -> None:
    with OtlpReceiver() as backend, collector(tmp_path, backend=backend) as running:
        message = check(running.storage)
        assert message.count("a running Collector has it open") == 3
        assert aside(running.storage) == []


def test_a_folder_that_can_not_be_read_is_an_error_with_its_cause(tmp_path: Path) -> None:
    loop = tmp_path / QUEUE
    loop.symlink_to(loop)
    argv = [sys.executable, str(FOLDER / "check-queue"), str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    assert QUEUE in done.stderr


@pytest.mark.slow
def test_whatever_is_damaged_the_collector_starts(storage: Path, tmp_path: Path) -> None:
    whole = (storage / QUEUE).read_bytes()
    chance = random.Random(os.environ.get("PYTEST_SEED", "queue"))
    for number in range(100):
        folder = tmp_path / str(number)
        shutil.copytree(storage, folder / "storage")
        data = bytearray(whole)
        for _ in range(chance.choice([1, 1, 3, 30])):
            start = chance.randrange(len(data))
            length = min(chance.choice([1, 8, 512, PAGE, 20 * PAGE]), len(data) - start)
            data[start : start + length] = chance.choice([bytes(length), chance.randbytes(length)])
        (folder / "storage" / QUEUE).write_bytes(data)
        check(folder / "storage")
        with OtlpReceiver() as backend, collector(folder, backend=backend) as running:
            assert post(running, "traces", traces({"name": "new"}).SerializeToString()) == 200, number
            backend.wait_for(lambda seen: any(span.name == "new" for span in seen.spans))
            assert running.service.process.returncode is None, number
        shutil.rmtree(folder)
