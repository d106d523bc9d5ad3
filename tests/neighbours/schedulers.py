"""Event loops that run tasks in other ways than asyncio does by default."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Generator
from typing import Any, cast

Factory = Callable[..., "asyncio.Future[Any]"]


class _Rest:
    """What is left of a coroutine that has run up to its first wait."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], first: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = first

    def __await__(self) -> Generator[Any, Any, Any]:
        waits_for = self._waits_for
        while True:
            try:
                sent = yield waits_for
            except BaseException as exception:
                step, value = cast("Callable[[Any], Any]", self._coroutine.throw), exception
            else:
                step, value = self._coroutine.send, sent
            try:
                waits_for = step(value)
            except StopIteration as stop:
                return stop.value


def _emulated(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
) -> asyncio.Future[Any]:
    context = options.get("context") or contextvars.copy_context()
    try:
        first = context.run(coroutine.send, None)
    except StopIteration as stop:
        done = loop.create_future()
        done.set_result(stop.value)
        return done
    except BaseException as exception:
        done = loop.create_future()
        done.set_exception(exception)
        return done

    async def rest() -> Any:
        return await _Rest(coroutine, first)

    task: Callable[..., asyncio.Future[Any]] = asyncio.Task
    return task(rest(), loop=loop, context=context)


def eager() -> Factory:
    """The eager task factory of Python 3.12, or as much of it as is needed here."""
    factory: Factory = getattr(asyncio, "eager_task_factory", _emulated)
    return factory
