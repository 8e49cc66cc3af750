"""What a function's signature says: its parameters, their types, and how it runs."""

from __future__ import annotations

import inspect
import typing
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from dataclasses import dataclass
from typing import Any, Literal, Unpack

from lingos_kernel.errors import PluginError
from lingos_kernel.syscalls import events, spec

Flow = Literal["function", "coroutine", "generator", "async_generator"]

_STREAMS = (AsyncGenerator, AsyncIterator, AsyncIterable, Generator, Iterator, Iterable)
_ALWAYS_KNOWN: dict[str, Any] = {
    # Plugins may import these for type checking alone.
    "Context": spec.Context,
    "Item": events.Item,
    "Progress": events.Progress,
    "Result": events.Result,
    "AnyEvent": events.AnyEvent,
    "AsyncIterator": AsyncIterator,
    "AsyncGenerator": AsyncGenerator,
    "Iterator": Iterator,
    "Generator": Generator,
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument that callers give."""

    name: str
    annotation: Any
    default: Any
    """`inspect.Parameter.empty` when it must be given."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A syscall's function, read."""

    flow: Flow
    takes_context: bool
    parameters: tuple[Parameter, ...]
    returns: Any
    """The annotation of the result, or of one streamed piece; `Any` when unknown."""


def read_signature(function: Callable[..., Any], *, name: str) -> Signature:
    """The signature of a syscall's function; bound methods are read without their `self`.

    Raises `PluginError` for a parameter without a usable type, and for kinds of parameters that
    callers cannot name.
    """
    found = list(inspect.signature(function).parameters.values())
    types = _Types(function)
    takes_context = bool(found) and types.resolve(found[0].annotation) is spec.Context
    given = found[1 if takes_context else 0 :]
    parameters = [p for each in given for p in _parameters(each, types, name)]
    returns = inspect.signature(function).return_annotation
    return Signature(_flow(function), takes_context, tuple(parameters), _returned(types, returns))


def _parameters(parameter: inspect.Parameter, types: _Types, syscall: str) -> Iterator[Parameter]:
    """The arguments that a parameter stands for: one, or each key of `**options: Unpack[...]`."""
    options = types.resolve(parameter.annotation)
    if parameter.kind is not parameter.VAR_KEYWORD or typing.get_origin(options) is not Unpack:
        yield _parameter(parameter, types, syscall)
        return
    (options_type,) = typing.get_args(options)
    for key, annotation in typing.get_type_hints(options_type, include_extras=True).items():
        is_required = key in options_type.__required_keys__
        yield Parameter(key, annotation, inspect.Parameter.empty if is_required else None)


def _parameter(parameter: inspect.Parameter, types: _Types, syscall: str) -> Parameter:
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise PluginError(
            f"{syscall}: the parameter {parameter} cannot be given by name",
            hint="take each argument by a name of its own",
        )
    if parameter.annotation is parameter.empty:
        raise PluginError(
            f"{syscall}: the parameter {parameter.name} has no type", hint="annotate it"
        )
    annotation = types.resolve(parameter.annotation)
    if annotation is _UNRESOLVED:
        raise PluginError(
            f"{syscall}: the type {parameter.annotation} of {parameter.name} is not known where"
            " the function is defined",
            hint="import or define it there, at run time too",
        )
    return Parameter(parameter.name, annotation, parameter.default)


_UNRESOLVED = object()


class _Types:
    """Evaluates a function's annotations one by one, local and type-checking names included."""

    def __init__(self, function: Callable[..., Any]) -> None:
        plain = inspect.unwrap(getattr(function, "__func__", function))
        declared = getattr(function, spec.ATTRIBUTE, None)
        closure = inspect.getclosurevars(plain).nonlocals if inspect.isfunction(plain) else {}
        self._globals = getattr(plain, "__globals__", {})
        self._locals = {**closure, **(declared.names if declared else {})}

    def resolve(self, annotation: Any) -> Any:
        """The type; `_UNRESOLVED` when one of its names means nothing."""
        if annotation is None:
            return None
        carrier = type("Carrier", (), {"__annotations__": {"it": annotation}})
        known = {**_ALWAYS_KNOWN, **self._globals}
        try:
            return typing.get_type_hints(carrier, known, self._locals, include_extras=True)["it"]
        except (NameError, AttributeError):
            return _UNRESOLVED


def _flow(function: Callable[..., Any]) -> Flow:
    plain = inspect.unwrap(function)
    if inspect.isasyncgenfunction(plain):
        return "async_generator"
    if inspect.iscoroutinefunction(plain):
        return "coroutine"
    return "generator" if inspect.isgeneratorfunction(plain) else "function"


def _returned(types: _Types, annotation: Any) -> Any:
    if annotation is inspect.Signature.empty:
        return Any
    resolved = types.resolve(annotation)
    return Any if resolved is _UNRESOLVED else resolved


def streamed_type(annotation: Any) -> Any:
    """What an iterator's annotation says about one piece; `Any` when nothing usable.

    Events in it (`Item`, `Progress`, `Result`) tell nothing about the shape of the result.
    """
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) not in _STREAMS or not arguments:
        return Any
    pieces = typing.get_args(arguments[0]) or arguments[:1]
    has_events = any(isinstance(p, type) and issubclass(p, events.CallEvent) for p in pieces)
    return Any if has_events else arguments[0]
