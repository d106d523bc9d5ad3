"""What Windows lacks and refuses, simulated: a program imports this module before the package.

Modules and functions of POSIX are missing, an open file can't be renamed, names have forbidden characters, a file that
is not opened as binary gets other line ends, and the clock has steps of 15.6 ms. Other libraries, which have code of
their own for Windows, are imported before that, and keep what they have found.
"""

from __future__ import annotations

import asyncio
import builtins
import errno
import fcntl
import logging.handlers
import math
import multiprocessing.popen_spawn_posix
import multiprocessing.resource_tracker
import os
import pathlib
import select
import signal
import subprocess
import sys
import tempfile
import time
import types
from typing import Any, Final

import grpc
import multiagents
import opentelemetry.exporter.otlp.proto.grpc.trace_exporter
import opentelemetry.exporter.otlp.proto.http.trace_exporter
import opentelemetry.sdk.trace.export
import psutil
import redis.asyncio

IMPORTED: Final = (
    asyncio,
    logging,
    multiprocessing,
    grpc,
    multiagents,
    opentelemetry,
    psutil,
    redis,
    subprocess,
)

_MODULES: Final = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix", "readline"}
_OS: Final = (
    *(
        "fork",
        "forkpty",
        "register_at_fork",
        "getuid",
        "geteuid",
        "getgid",
        "getegid",
        "getgroups",
        "setuid",
        "getpgid",
    ),
    *("killpg", "setsid", "getsid", "waitid", "pread", "pwrite", "mkfifo", "posix_spawn", "getloadavg", "uname"),
    *("sched_getaffinity", "O_CLOEXEC", "O_NONBLOCK", "O_NOFOLLOW", "fchmod", "chown", "get_blocking"),
)
_SIGNALS: Final = (
    *("SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD", "SIGPIPE", "SIGQUIT", "SIGCONT", "SIGSTOP"),
    *("pthread_sigmask", "pthread_kill", "setitimer", "alarm", "siginterrupt", "sigwait", "sigpending", "SIG_BLOCK"),
)
_RESERVED: Final = frozenset('<>:"|?*')
_O_BINARY: Final = 1 << 28
_TICK: Final = 1 / 64

_import = builtins.__import__
_open, _write, _replace, _monotonic = os.open, os.write, os.replace, time.monotonic
_group, _own_group = os.getpgid, os.getpgid(0)
_text_files: set[int] = set()


def _checked_import(name: str, scope: Any = None, *args: Any, **kwargs: Any) -> Any:
    importer = (scope or {}).get("__name__") or ""
    if importer.partition(".")[0] == "multiagents_otel" and name.partition(".")[0] in _MODULES:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return _import(name, scope, *args, **kwargs)


def _windows_open(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
    if _RESERVED & set(os.fsdecode(path)):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    file = _open(path, flags & ~_O_BINARY, *args, **kwargs)
    (_text_files.discard if flags & _O_BINARY else _text_files.add)(file)
    return file


def _windows_write(file: int, data: Any) -> int:
    if file not in _text_files:
        return _write(file, data)
    _write(file, bytes(data).replace(b"\n", b"\r\n"))
    return len(data)


def _windows_replace(source: Any, target: Any, **kwargs: Any) -> None:
    for path in (source, target):
        if _is_open(os.path.realpath(path)):
            raise PermissionError(errno.EACCES, "The process cannot access the file because it is being used", path)
    _replace(source, target, **kwargs)


def _is_open(path: str) -> bool:
    # A test's program and its children are a group; to look at all processes of the machine takes too long.
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if _group(int(process.name)) == _own_group and any(
                str(file.readlink()) == path for file in (process / "fd").iterdir()
            ):
                return True
        except OSError:  # ended meanwhile, or not ours
            continue
    return False


def _path_replace(self: pathlib.Path, target: Any) -> pathlib.Path:
    _windows_replace(self, target)
    return type(self)(target)


def _locking(file: int, mode: int, _size: int) -> None:
    fcntl.lockf(file, fcntl.LOCK_UN if mode == 0 else fcntl.LOCK_EX | fcntl.LOCK_NB, 1)


def simulate() -> None:
    """Make this process' Python that of Windows, as far as the package can see."""
    tempfile.gettempdir()
    multiprocessing.set_start_method("spawn", force=True)
    multiprocessing.resource_tracker.ensure_running()
    for name in _OS:
        if hasattr(os, name):
            delattr(os, name)
    for name in _SIGNALS:
        if hasattr(signal, name):
            delattr(signal, name)
    for name in ("poll", "epoll"):
        if hasattr(select, name):
            delattr(select, name)
    msvcrt: Any = types.ModuleType("msvcrt")
    msvcrt.locking, msvcrt.LK_NBLCK, msvcrt.LK_UNLCK = _locking, 2, 0
    sys.modules["msvcrt"] = msvcrt
    patched: Any = os
    patched.O_BINARY, patched.open, patched.write, patched.replace = (
        _O_BINARY,
        _windows_open,
        _windows_write,
        _windows_replace,
    )
    patched.rename = _windows_replace
    paths: Any = pathlib.Path
    paths.replace = paths.rename = _path_replace
    clock: Any = time
    clock.monotonic = lambda: math.floor(_monotonic() / _TICK) * _TICK
    modules: Any = builtins
    modules.__import__ = _checked_import


simulate()
