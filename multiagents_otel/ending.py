"""The end of a process: at exit, by a signal, or as a child of multiprocessing.

A module that has something to send or to write before the end adds a call here, and this module makes it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _thread
import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import BuiltinFunctionType, FrameType, MethodType, TracebackType
from typing import Any, Final

from multiagents_otel.core.clock import monotonic
from multiagents_otel.core.forking import on_fork

_logger = logging.getLogger("multiagents_otel")

_LAST = -100
"""Priority of multiprocessing's finalizers: after the others."""

_FATAL: Final = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK", "SIGINT") if hasattr(signal, name)
)
"""Signals that are sent to end a process in order. Python handles SIGINT, unless the application sets the default."""

_DEFAULT: Final = int(signal.SIG_DFL)  # the C functions take no enum

_LOCKING: Final = ("opentelemetry.sdk", "opentelemetry.exporter", "logging", "multiagents_otel.telemetry")
"""Modules whose frames may hold a lock that a flush needs."""

_RETRIES: Final = 50
_RETRY_SECONDS: Final = 0.002

_MASKED: Final = (
    signal.valid_signals() - {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
    if hasattr(signal, "pthread_sigmask")
    else set()
)
"""All signals but those that a thread causes by a fault of its own."""

_INTERRUPT: Final = int(getattr(signal, "SIGURG", 0))
"""A signal that is ignored by default."""

_INSIST_SECONDS: Final = 0.1
_INSISTS: Final = 10
_NO_FD: Final = -1

_set_handler: Callable[[int, Any], Any] = _signal.signal
_get_handler: Callable[[int], Any] = _signal.getsignal
_set_wakeup_fd: Callable[..., int] = signal.set_wakeup_fd


class Ending:
    """The calls to make when this process ends; the one instance of a process is :data:`ENDING`.

    While armed, it handles the signals that end a process by default. ``signal.signal`` and ``signal.getsignal``
    go on as without it: they show ``SIG_DFL`` for its handler, and its handler is installed for ``SIG_DFL``. So a
    server that restores the default at its end does not take the flush away.

    Attributes:
        in_use: whether this process uses telemetry; a forked child does from its first record on.
        begun: whether the process is ending, one way or the other.
        flush_soon: flushes in the background.
    """

    def __init__(self) -> None:
        self.in_use = False
        self.begun = False
        self.flush_soon: Callable[[], None] = lambda: None
        self._calls: list[Callable[[bool], None]] = []
        self._starts: list[Callable[[], None]] = []
        self._installed = False
        self._armed = False
        self._crashed = False
        self._ending = False
        self._signal: int | None = None
        self._tries = 0
        self._handled = 0.0
        self._pipe = (_NO_FD, _NO_FD)
        self._pipe_stat: os.stat_result | None = None
        self._native: dict[int, int] = {}
        self._pending: Any = None
        self._asked = False
        self._requests: list[Any] = []  # kept as long as the interpreter may call them
        self._knows_multiprocessing = False

    def add(self, call: Callable[[bool], None], start: Callable[[], None] | None = None) -> None:
        """Make a call at the end, before those that were added earlier; once, however often it is added.

        The call must not raise, must be bounded in time, must start no thread, and may be made several times: a
        process may survive a signal. Its argument is true when the process can't go on.

        Args:
            call: the call.
            start: called now, and in a forked child when that uses telemetry: starts the threads of the call.
        """
        self.watch()
        if call not in self._calls:
            self._calls.append(call)
        if start is not None and start not in self._starts:
            self._starts.append(start)
        self.arm()

    def arm(self) -> None:
        """Start what is needed at the end, and take the signals; again after a fork, or a change of handlers."""
        self.in_use = True
        for start in self._starts:
            start()
        if not self._calls:
            return
        if _in_main_thread():
            self._take_signals()
        elif not self._armed and not self._asked:
            self._asked = True
            self._ask_main_thread()

    def _take_signals(self) -> None:
        if not self._armed:
            self._armed = True
            _signal.signal, _signal.getsignal = self._signal_signal, self._signal_getsignal
        with contextlib.suppress(ValueError):  # an interpreter that is not the main one
            for number in _FATAL:
                if _is_default(_get_handler(number)):
                    # faulthandler and other C code install handlers that Python does not know of.
                    self._native[number] = _native_handler(number)
                    _set_handler(number, self._on_signal)
            if self._pipe[1] == _NO_FD and os.name == "posix":
                self._watch_main_thread()

    def _ask_main_thread(self) -> None:
        """Only the main thread can handle signals; it may be in C code for good, as ``Thread.join()`` is."""
        if not _in_main_interpreter():
            return
        if (request := _call_in_main_thread(self._take_signals_in_main_thread)) is None:
            _logger.warning(
                "telemetry was started outside the main thread, and the interpreter has no ctypes.pythonapi: what is "
                "queued at %s is lost. Call auto_instrument() in the main thread",
                ", ".join(number.name for number in _FATAL if number != signal.SIGINT),
            )
            return
        self._requests.append(request)
        _interrupt_main_thread()

    def _take_signals_in_main_thread(self, _argument: object) -> int:
        _end_interrupt()
        if self.in_use:  # a forked child may not
            self._take_signals()
        return 0

    def use(self) -> bool:
        """Arm a forked child that records something; whether there is nothing more to do then."""
        if not self._armed and (not self.in_use or _in_main_thread()):
            self.arm()
        return self._armed

    def watch(self) -> None:
        """Notice the end, whether or not there is a call to make then; signals are left alone."""
        if not self._installed:
            self._installed = self.in_use = True
            # Finalizers do nothing once weakref's own end is over, and urllib3 closes its sockets by them: the first
            # finalizer of a process registers that end, which must come after ours.
            weakref.finalize(self, bool).atexit = False
            atexit.register(self._at_exit)
            on_fork(in_child=self._in_child)
            self._register_with_multiprocessing()
            process = sys.modules.get("multiprocessing.process")
            if process is not None and process.parent_process() is not None:
                self._in_multiprocessing_child()

    @property
    def in_order(self) -> bool:
        """Whether the process is ending, and not by an exception that the application has not caught."""
        return self.begun and not self._crashed

    def _at_exit(self) -> None:
        self._crashed = _ended_by_exception()
        self._end(True)

    def _end(self, last: bool) -> None:
        if self._ending:
            return
        self.begun = self._ending = True
        try:
            for call in reversed(self._calls):
                call(last)
        except (KeyboardInterrupt, SystemExit):
            pass  # a second Ctrl-C: the user does not want to wait
        finally:
            self._ending = False
        if last and self._signal is not None:
            self._die(self._signal)

    # --- signals --------------------------------------------------------------------------------

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._handled = monotonic()
        if self._ending:
            self._signal = number  # the end that is under way goes on, and the process then ends by the signal
            return
        if self._tries < _RETRIES and _may_hold_lock(frame):
            self._tries += 1
            if start_thread(_send_again, number):
                return
        self._tries = 0
        self._end(False)
        self._die(number)

    def _die(self, number: int) -> None:
        """End the process as the signal does without this handler."""
        self._signal = None
        self._restore(number)
        if os.name == "posix":
            os.kill(os.getpid(), number)
        else:
            signal.raise_signal(number)
        # The process lives on: the default does nothing to the first process of a container.
        self.begun = False
        _set_handler(number, self._on_signal)

    def _restore(self, number: int) -> None:
        _set_handler(number, _DEFAULT)
        if native := self._native.get(number):
            _set_native_handler(number, native)

    # A handler of Python's waits until the main thread is back from C code, which the default does not: a thread
    # notices each signal, interrupts a system call, and ends the process itself if the main thread does not come back.

    def _watch_main_thread(self) -> None:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        others = _set_wakeup_fd(writing, warn_on_full_buffer=False)
        if others != _NO_FD:
            _set_wakeup_fd(others)
        if others != _NO_FD or not _has_threads() or not start_thread(self._insist, reading):
            os.close(reading)
            os.close(writing)
            return
        self._pipe, self._pipe_stat = (reading, writing), os.fstat(reading)
        signal.set_wakeup_fd = self._signal_set_wakeup_fd

    def _insist(self, reading: int) -> None:
        while numbers := _read(reading):
            arrived = monotonic()
            for number in _FATAL:
                tries = 0
                while number in numbers and self._is_ours(_get_handler(number)) and not self._ending:
                    time.sleep(_INSIST_SECONDS)
                    if self._handled >= arrived - _INSIST_SECONDS:
                        break
                    if tries >= _INSISTS:
                        self._end_from_thread(number)
                        break
                    tries += 1
                    with contextlib.suppress(ProcessLookupError):
                        signal.pthread_kill(threading.main_thread().ident or 0, number)
        # The application has closed every descriptor, as daemons do. The next file gets the number of the pipe, and
        # each signal would write a byte into it.
        self._pending = _call_in_main_thread(self._unwatch_main_thread)

    def _unwatch_main_thread(self, _argument: object = None) -> int:
        ours, self._pipe = self._pipe[1], (_NO_FD, _NO_FD)
        if (others := _set_wakeup_fd(_NO_FD)) != ours:
            _set_wakeup_fd(others)
        return 0

    def _end_from_thread(self, number: int) -> None:
        if not _native_handler(number):
            return  # without ctypes nothing but the main thread can restore the handler
        self._end(False)
        before = _set_native_handler(number, self._native.get(number, 0))
        os.kill(os.getpid(), number)
        self.begun = False
        _set_native_handler(number, before)

    def _signal_set_wakeup_fd(self, fd: int, /, *, warn_on_full_buffer: bool = True) -> int:
        ours = self._pipe[1]
        if fd == _NO_FD and self._is_of_pipe(ours):  # a daemon may have closed it
            fd, warn_on_full_buffer = ours, False
        before = _set_wakeup_fd(fd, warn_on_full_buffer=warn_on_full_buffer)
        return _NO_FD if before == ours else before

    def _signal_signal(self, signalnum: int, handler: Any, /) -> Any:
        if self._armed and signalnum in _FATAL and _is_default(handler):
            self._native.pop(signalnum, None)
            handler = self._on_signal
        return self._shown(_set_handler(signalnum, handler))

    def _signal_getsignal(self, signalnum: int, /) -> Any:
        return self._shown(_get_handler(signalnum))

    def _shown(self, handler: Any) -> Any:
        return _DEFAULT if self._is_ours(handler) else handler

    def _is_ours(self, handler: Any) -> bool:
        return isinstance(handler, MethodType) and handler.__self__ is self

    # --- forked children ------------------------------------------------------------------------

    def _in_child(self) -> None:
        # A child that does not use telemetry ends by a signal at once, wherever it is: even deep in C code, where
        # no handler of Python's is called.
        self._armed = self.in_use = self.begun = self._ending = self._asked = False
        self._signal = None
        for number in _FATAL:
            if self._is_ours(_get_handler(number)):
                self._restore(number)
        if self._pipe[1] != _NO_FD:
            parents = self._pipe
            self._unwatch_main_thread()
            for fd in parents:
                if self._is_of_pipe(fd):
                    os.close(fd)
        self._register_with_multiprocessing()
        # Forked in a thread, the child ends when that thread does: the threads of the pipeline would keep it alive.
        main = threading.main_thread()
        if _has_threads() and not isinstance(main, (threading._MainThread, threading._DummyThread)):  # type: ignore[attr-defined]
            start_thread(self._end_after, main)

    def _is_of_pipe(self, fd: int) -> bool:
        """Whether a descriptor is still one of the pipe; the application may have closed it and opened another."""
        with contextlib.suppress(OSError):
            return self._pipe_stat is not None and os.path.samestat(os.fstat(fd), self._pipe_stat)
        return False

    def _end_after(self, thread: threading.Thread) -> None:
        thread.join()
        for other in threading.enumerate():
            if not other.daemon:
                other.join()
        self._end(True)
        os._exit(0)

    def _register_with_multiprocessing(self) -> None:
        # A child of multiprocessing's ends by os._exit(), after the finalizers that multiprocessing knows of; when it
        # starts, which may be after its main module was imported, those that it knew of are forgotten.
        multiprocessing_util = sys.modules.get("multiprocessing.util")
        if multiprocessing_util is not None and not self._knows_multiprocessing:
            self._knows_multiprocessing = True
            multiprocessing_util.register_after_fork(self, Ending._in_multiprocessing_child)

    def _in_multiprocessing_child(self) -> None:
        sys.modules["multiprocessing.util"].Finalize(None, self._at_end_of_child, exitpriority=_LAST)

    def _at_end_of_child(self) -> None:
        self._crashed = isinstance(sys.exc_info()[1], Exception)  # the finalizers run before it is printed
        self._end(True)


def _in_main_thread() -> bool:
    return _thread.get_ident() == threading.main_thread().ident


def _is_default(handler: Any) -> bool:
    return isinstance(handler, int) and handler == _DEFAULT


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 64)
    except OSError:
        return b""


def _native_handler(number: int) -> int:
    """The address of a signal's C handler; 0 for the default, or if it is unknown."""
    return _call_native("PyOS_getsig", number)


def _set_native_handler(number: int, address: int) -> int:
    return _call_native("PyOS_setsig", number, address)


def _call_native(name: str, number: int, *addresses: int) -> int:
    """Call a function of Python's C API that returns an address; 0 also where there is no ctypes."""
    try:
        import ctypes

        function = getattr(ctypes.pythonapi, name)
    except (ImportError, AttributeError):
        return 0
    function.argtypes, function.restype = (ctypes.c_int, *[ctypes.c_void_p] * len(addresses)), ctypes.c_void_p
    return function(number, *addresses) or 0


def _in_main_interpreter() -> bool:
    """Whether this is no sub-interpreter, as far as is known; pending calls are the main interpreter's."""
    try:
        import ctypes

        current, main = ctypes.pythonapi.PyInterpreterState_Get, ctypes.pythonapi.PyInterpreterState_Main
    except (ImportError, AttributeError):
        return True
    current.restype = main.restype = ctypes.c_void_p
    return bool(current() == main())


def _interrupt_main_thread() -> None:
    """Have the main thread make pending calls, where it waits in ``threading``.

    A C function without effect handles one signal, which others ignore: the wait is interrupted, and goes on.
    """
    main = threading.main_thread()
    frame = sys._current_frames().get(main.ident or 0)
    waits = frame is not None and frame.f_globals.get("__name__") == "threading"
    # An interpreter that is part of another program may take any thread for the main one.
    if not waits or not _has_threads() or main.native_id != os.getpid() or not _is_default(_get_handler(_INTERRUPT)):
        return
    if not _native_handler(_INTERRUPT) and (harmless := _function_without_effect()):
        _set_native_handler(_INTERRUPT, harmless)
        signal.pthread_kill(main.ident or 0, _INTERRUPT)


def _end_interrupt() -> None:
    if _INTERRUPT and (harmless := _function_without_effect()) and _native_handler(_INTERRUPT) == harmless:
        _set_native_handler(_INTERRUPT, _DEFAULT)


def _function_without_effect() -> int:
    """Return the address of a C function that a signal may call at any time; 0 where there is no ctypes."""
    try:
        import ctypes

        return ctypes.cast(ctypes.pythonapi.Py_IsInitialized, ctypes.c_void_p).value or 0
    except (ImportError, AttributeError):
        return 0


def _call_in_main_thread(call: Callable[[object], int]) -> Any:
    """Have a call made by the main thread, as soon as it runs Python code. The caller keeps what is returned."""
    try:
        import ctypes

        pending = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(call)
        if ctypes.pythonapi.Py_AddPendingCall(pending, None):
            return None  # there are too many others
    except (ImportError, AttributeError):
        return None
    return pending


def _may_hold_lock(frame: FrameType | None) -> bool:
    """Whether the main thread was interrupted where it may hold a lock that a flush needs."""
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith(_LOCKING):
            return True
        frame = frame.f_back
    return False


def _send_again(number: int) -> None:
    time.sleep(_RETRY_SECONDS)
    os.kill(os.getpid(), number)


def _ended_by_exception() -> bool:
    """Whether the main module was left by an exception, which the interpreter keeps before it exits.

    Interactive shells and test runners keep the exceptions that they show there too.
    """
    error = getattr(sys, "last_value", None)  # KeyboardInterrupt is no Exception
    traceback: TracebackType | None = getattr(sys, "last_traceback", None)
    if not isinstance(error, Exception) or hasattr(sys, "ps1") or sys.flags.interactive or sys.flags.inspect:
        return False
    if traceback is None:
        return isinstance(error, SyntaxError)
    code, names = traceback.tb_frame.f_code, traceback.tb_frame.f_globals
    if names.get("__name__") == "runpy":
        return code.co_name == "_run_module_as_main"
    main = vars(sys.modules["__main__"]) if "__main__" in sys.modules else {}
    if code.co_name != "<module>" or names is not main:
        return False
    file = main.get("__file__")
    return not file or Path(code.co_filename).name == Path(file).name


def _has_threads() -> bool:
    """Whether threads are those of the system: gevent's and eventlet's share one, and a read would block them all."""
    return isinstance(_thread.start_new_thread, BuiltinFunctionType)


def start_thread(run: Callable[..., Any], *arguments: Any) -> bool:
    """Start a daemon thread that takes no signals; False if the interpreter starts none any more.

    Not ``threading.Thread``: the caller may be a signal handler that interrupted threading's own code. A signal
    that was delivered to such a thread would not wake the main thread, whose handlers are the application's.
    """
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, _MASKED) if _MASKED else None
    try:
        _thread.start_new_thread(run, arguments)
        return True
    except RuntimeError:
        return False
    finally:
        if masked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)


ENDING = Ending()
