"""The OpenAPI 3.1 description of the native API, made from the table of syscalls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lingos_kernel import __version__
from lingos_kernel.client import wire
from lingos_kernel.syscalls.spec import SyscallInfo

_ERROR = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {
        "code": {"type": "string", "description": "The stable name of the error."},
        "message": {"type": "string", "description": "What happened to what."},
        "hint": {"type": "string", "description": "What to do."},
        "details": {"type": "object"},
    },
}
_EVENT = {
    "type": "object",
    "required": ["event"],
    "properties": {"event": {"enum": ["accepted", "item", "progress", "result", "failure"]}},
}
_HEADERS = (
    (wire.PID, {"type": "integer"}, "The process that the call belongs to."),
    (wire.PRIORITY, {"type": "integer", "minimum": -20, "maximum": 19}, "-20 is most urgent."),
    (wire.CONFIRMED, {"enum": ["yes", "no"]}, "A person has said yes."),
    (wire.TIMEOUT, {"type": "number", "exclusiveMinimum": 0}, "Shortens the syscall's limit."),
    (wire.CALLER, {"enum": ["human", "code", "notebook", "http"]}, "What kind of caller it is."),
)


def openapi(infos: Iterable[SyscallInfo]) -> dict[str, Any]:
    """The document; each syscall is one POST path."""
    schemas: dict[str, Any] = {"Error": _ERROR, "CallEvent": _EVENT}
    paths = {f"/v1/call/{info.name}": {"post": _operation(info, schemas)} for info in infos}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "LingOS kernel",
            "version": __version__,
            "description": "Every system call as one POST; GET /v1/syscalls lists them.",
        },
        "paths": {**_fixed_paths(), **paths},
        "components": {"schemas": schemas},
    }


def _operation(info: SyscallInfo, schemas: dict[str, Any]) -> dict[str, Any]:
    arguments = _hoisted(info.arguments, f"{info.name}.", schemas)
    result = _hoisted(info.returns, f"{info.name}.result.", schemas)
    return {
        "operationId": info.name,
        "tags": [info.name.split(".")[0]],
        "summary": info.summary,
        "description": info.help,
        "parameters": [
            {"name": name, "in": "header", "schema": schema, "description": text}
            for name, schema, text in _HEADERS
        ],
        "requestBody": {"required": True, "content": {wire.JSON: {"schema": arguments}}},
        "responses": _responses(
            "The result; or, if asked for, the events as they come.",
            {
                wire.JSON: {"schema": result},
                wire.EVENTS: {"schema": {"$ref": "#/components/schemas/CallEvent"}},
            },
        ),
    }


def _hoisted(schema: Mapping[str, Any], prefix: str, schemas: dict[str, Any]) -> Any:
    """The schema with its `$defs` moved to the document's components, references included."""

    def move(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: refer(key, item) for key, item in value.items() if key != "$defs"}
        return [move(item) for item in value] if isinstance(value, list | tuple) else value

    def refer(key: str, value: Any) -> Any:
        if key == "$ref" and isinstance(value, str) and value.startswith("#/$defs/"):
            return f"#/components/schemas/{prefix}{value.removeprefix('#/$defs/')}"
        return move(value)

    for name, definition in schema.get("$defs", {}).items():
        schemas[prefix + name] = move(definition)
    return move(schema)


def _responses(description: str, content: dict[str, Any]) -> dict[str, Any]:
    error = {"schema": {"$ref": "#/components/schemas/Error"}}
    return {
        "200": {"description": description, "content": content},
        "default": {"description": "An error.", "content": {wire.JSON: error}},
    }


def _fixed_paths() -> dict[str, Any]:
    def answer(text: str) -> dict[str, Any]:
        return _responses(text, {wire.JSON: {"schema": {}}})

    def part(name: str, kind: str) -> list[dict[str, Any]]:
        return [{"name": name, "in": "path", "required": True, "schema": {"type": kind}}]

    process = {
        "type": "object",
        "required": ["command"],
        "properties": {
            "command": {"type": "string"},
            "kind": {"enum": ["session", "job", "agent"]},
            "priority": {"type": "integer", "minimum": -20, "maximum": 19},
        },
    }
    return {
        "/v1/ping": {"get": {"summary": "Is there a kernel?", "responses": answer("There is.")}},
        "/v1/syscalls": {"get": {"summary": "List them.", "responses": answer("By name.")}},
        "/v1/syscalls/{name}": {
            "get": {
                "summary": "Describe one.",
                "parameters": part("name", "string"),
                "responses": answer("Its types and help."),
            }
        },
        "/v1/processes": {
            "post": {
                "summary": "Open a process.",
                "description": f"With Accept: {wire.EVENTS} it ends with the connection.",
                "requestBody": {"required": True, "content": {wire.JSON: {"schema": process}}},
                "responses": answer("Its pid."),
            }
        },
        "/v1/processes/{pid}": {
            "delete": {
                "summary": "End a process.",
                "parameters": part("pid", "integer"),
                "responses": answer("Done."),
            }
        },
        "/v1/calls/{call_id}/cancel": {
            "post": {
                "summary": "Cancel a call.",
                "parameters": part("call_id", "string"),
                "responses": answer("It has ended as cancelled."),
            }
        },
    }
