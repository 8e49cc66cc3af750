"""A typed function becomes a syscall: a model that checks its arguments, schemas, and help."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import pydantic
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from pydantic_core import ErrorDetails, to_json

from lingos_kernel.errors import InvalidArguments, PluginError
from lingos_kernel.names import did_you_mean
from lingos_kernel.syscalls.docstrings import parse_docstring
from lingos_kernel.syscalls.signature import (
    Flow,
    Parameter,
    read_signature,
    streamed_type,
)
from lingos_kernel.syscalls.spec import Declaration, SyscallInfo

_MAX_SHOWN = 40
"""Characters of a wrong value that an error shows."""


@dataclass(frozen=True, slots=True)
class Syscall:
    """A registered syscall as the dispatcher runs it."""

    info: SyscallInfo
    function: Callable[..., Any]
    flow: Flow
    takes_context: bool
    model: type[pydantic.BaseModel]
    fields: Mapping[str, str]
    """The model's field of each argument."""

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments in their declared types, only those that were given.

        JSON values are taken where JSON has no value of the type itself (a list for a tuple, a
        text for a path or an enum), but no value is guessed: "1" is not a number. Raises
        `InvalidArguments` in one line.
        """
        try:
            found = self.model.model_validate(arguments, strict=True)
        except pydantic.ValidationError as error:
            found = self._validate_as_json(arguments, error)
        for name, value in arguments.items():
            if isinstance(value, str) and not value.isascii():
                self._check_text(name, value)
        given = found.model_fields_set
        return {
            name: getattr(found, field) for name, field in self.fields.items() if field in given
        }

    def _check_text(self, name: str, value: str) -> None:
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InvalidArguments(
                f"{self.info.name}: {name} is not Unicode text: {value[error.start]!a}"
                f" at character {error.start}",
                hint="decode it with the right encoding",
                syscall=self.info.name,
                arguments=[name],
            ) from None

    def _validate_as_json(
        self, arguments: Mapping[str, Any], first: pydantic.ValidationError
    ) -> pydantic.BaseModel:
        try:
            return self.model.model_validate_json(to_json(dict(arguments)), strict=True)
        except pydantic.ValidationError as error:
            raise _invalid(self.info, error) from None
        except ValueError:  # an argument that no JSON can carry
            raise _invalid(self.info, first) from None


def describe(
    function: Callable[..., Any], declaration: Declaration, *, name: str, owner: str
) -> Syscall:
    """The syscall that a function makes; raises `PluginError` when its types cannot be used."""
    signature = read_signature(function, name=name)
    docs = parse_docstring(function.__doc__)
    model, names = _arguments_model(name, signature.parameters, docs.arguments)
    streams = signature.flow in ("generator", "async_generator")
    info = SyscallInfo(
        name=name,
        owner=owner,
        summary=docs.summary,
        help=docs.help,
        capability=declaration.capability or name,
        cost=declaration.cost,
        timeout_s=declaration.timeout_s,
        confirm=declaration.confirm,
        streams=streams,
        arguments=_arguments_schema(name, model),
        returns=_returns_schema(signature.returns, streams=streams),
    )
    return Syscall(info, function, signature.flow, signature.takes_context, model, names)


def _arguments_model(
    name: str, parameters: tuple[Parameter, ...], docs: Mapping[str, str]
) -> tuple[type[pydantic.BaseModel], dict[str, str]]:
    # Fields are named by position and carry the argument's name as alias, so that any name works
    # (`schema`, `copy` and `_x` would clash with pydantic's own).
    names = {parameter.name: f"argument_{n}" for n, parameter in enumerate(parameters)}
    config = pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=False)
    try:
        model = pydantic.create_model(
            name,
            __config__=config,
            **{names[p.name]: _field(p, docs.get(p.name, "")) for p in parameters},
        )
        model.model_json_schema()
    except (pydantic.errors.PydanticUserError, TypeError) as error:
        raise PluginError(
            f"{name}: an argument's type cannot be checked: {str(error).splitlines()[0]}",
            hint="use plain types, pydantic models, dataclasses, enums or paths",
        ) from error
    return model, names


def _field(parameter: Parameter, description: str) -> Any:
    info = FieldInfo.from_annotation(parameter.annotation)
    extra: dict[str, Any] = {"alias": parameter.name}
    if parameter.default is not inspect.Parameter.empty:
        extra["default"] = parameter.default
    elif not info.is_required():
        raise PluginError(
            f"the parameter {parameter.name} has its default in Field()",
            hint="give it in the signature: the function is called from Python too",
        )
    if description and not info.description:
        extra["description"] = description
    return Annotated[parameter.annotation, pydantic.Field(**extra)]


class _Schema(GenerateJsonSchema):
    """JSON schemas without the titles that only repeat the names."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  pydantic's signature
        return False


def _arguments_schema(name: str, model: type[pydantic.BaseModel]) -> dict[str, Any]:
    return {**model.model_json_schema(schema_generator=_Schema), "title": name}


def _returns_schema(annotation: Any, *, streams: bool) -> dict[str, Any]:
    """The JSON schema of a result; {} when nothing is known about it."""
    if streams:
        piece = _returns_schema(streamed_type(annotation), streams=False)
        return {"type": "array", "items": piece} if piece else {}
    if annotation is Any:
        return {}
    mode: JsonSchemaMode = "serialization"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pydantic.json_schema.PydanticJsonSchemaWarning)
            adapter = pydantic.TypeAdapter(annotation)
            return adapter.json_schema(mode=mode, schema_generator=_Schema)
    except pydantic.errors.PydanticUserError:
        pass
    try:
        return msgspec.json.schema(annotation)
    except TypeError:
        return {}


# Errors


def _invalid(info: SyscallInfo, error: pydantic.ValidationError) -> InvalidArguments:
    """One line that names each wrong argument, what was given and what is wanted."""
    known = list(info.arguments.get("properties", {}))
    problems, hints, wrong = [], [], []
    for detail in _distinct(error.errors(include_url=False)):
        name = str(detail["loc"][0]) if detail["loc"] else ""
        wrong.append(name)
        if detail["type"] == "extra_forbidden" and len(detail["loc"]) == 1:
            problems.append(f"{name} is not an argument")
            hints.append(did_you_mean(name, known))
        elif detail["type"] == "missing" and len(detail["loc"]) == 1:
            problems.append(f"{name} is missing")
        else:
            problems.append(_problem(detail))
    takes = f"it takes {', '.join(known)}" if known else "it takes no arguments"
    hint = "; ".join(dict.fromkeys(hint for hint in hints if hint)) or takes
    return InvalidArguments(
        f"{info.name}: {'; '.join(problems)}", hint=hint, syscall=info.name, arguments=wrong
    )


def _distinct(details: list[ErrorDetails]) -> Iterator[ErrorDetails]:
    """The first problem of each argument: a union reports one for each of its members."""
    seen = set()
    for detail in details:
        top = detail["loc"][:1]
        if top not in seen:
            seen.add(top)
            yield detail


def _problem(detail: ErrorDetails) -> str:
    names = [str(part) for part in detail["loc"]]
    shown = repr(detail["input"])
    if len(shown) > _MAX_SHOWN:
        shown = shown[:_MAX_SHOWN] + "…"
    wanted = detail["msg"][:1].lower() + detail["msg"][1:]
    return f"{'.'.join(names)} is {shown}: {wanted}"
