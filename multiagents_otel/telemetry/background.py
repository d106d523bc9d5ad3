"""Work of the SDK's own in the application's event loop: short, beside its tasks, and untraced."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any

from opentelemetry import context as context_api
from opentelemetry.context import Context

from multiagents_otel.processing.guard import Guard


class Background:
    """Tasks that the SDK runs in the running event loop.

    Args:
        guard: what a task raises is caught there.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._tasks: set[asyncio.Task[None]] = set()  # the loop keeps no reference to them

    def run(self, coroutine: Coroutine[Any, Any, None], component: str) -> bool:
        """Run a coroutine in a context of its own, without the current span; False where that is not possible."""
        try:
            context = contextvars.Context()
            context.run(context_api.attach, context_api.set_value("suppress_instrumentation", True, Context()))
            guarded = self._guarded(coroutine, component)
            try:
                task: asyncio.Task[None] = context.run(asyncio.get_running_loop().create_task, guarded)
            except BaseException:
                guarded.close()
                raise
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        except Exception:
            coroutine.close()
            self._guard.caught(component)
            return False
        return True

    async def _guarded(self, coroutine: Coroutine[Any, Any, None], component: str) -> None:
        try:
            await coroutine
        except Exception:
            self._guard.caught(component)
