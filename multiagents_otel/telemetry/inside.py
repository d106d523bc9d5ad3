"""What holds for the length of a call: context variables and the current OpenTelemetry context."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any, Generic, TypeVar

from opentelemetry import context as context_api
from opentelemetry.context import Context

T = TypeVar("T")


def given_back(variable: ContextVar[Any], token: Token[Any]) -> bool:
    """Give a variable the value that it had; False if the call was driven on in another context, without it."""
    try:
        variable.reset(token)
    except ValueError:
        return False
    return True


class inside(Generic[T]):  # noqa: N801 - reads as the statement that it is
    """``with inside(context, VARIABLE, value):`` gives all of it back at the end, on errors and on cancellation too.

    Not on GeneratorExit: a coroutine that the garbage collector closes runs in a context that is not its own,
    where there is nothing to give back.
    """

    __slots__ = ("_context", "_context_token", "_token", "_value", "_variable")

    def __init__(self, context: Context | None, variable: ContextVar[T] | None = None, value: T | None = None) -> None:
        self._context = context
        self._variable = variable
        self._value = value

    def __enter__(self) -> None:
        self._context_token = context_api.attach(self._context) if self._context is not None else None
        variable: ContextVar[Any] | None = self._variable
        self._token: Token[Any] | None = variable.set(self._value) if variable is not None else None

    def __exit__(self, kind: type[BaseException] | None, _exception: object, _traceback: object) -> None:
        if kind is not None and issubclass(kind, GeneratorExit):
            return
        variable, token = self._variable, self._token
        if token is not None and variable is not None and not given_back(variable, token):
            return
        if self._context_token is not None:
            context_api.detach(self._context_token)
