"""The description of the API for machines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lingos_kernel.kernel import Kernel
from lingos_kernel.server.openapi import openapi
from lingos_kernel.syscalls.spec import SyscallInfo


def references(value: Any) -> Iterator[str]:
    """Every reference in a document."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref" and isinstance(item, str):
                yield item
            else:
                yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def resolve(document: Any, reference: str) -> Any:
    """What a reference points at."""
    for part in reference.removeprefix("#/").split("/"):
        document = document[part.replace("~1", "/").replace("~0", "~")]
    return document


def info(name: str, arguments: dict[str, Any]) -> SyscallInfo:
    """A syscall with these arguments."""
    return SyscallInfo(name, "o", "Sum.", "Help.", name, "cpu", None, False, False, arguments, {})


async def test_every_syscall_is_described(scripted_kernel: Kernel) -> None:
    """Each syscall of the table is a path, and every reference leads somewhere."""
    await scripted_kernel.start()
    infos = scripted_kernel.table.infos()
    await scripted_kernel.stop()
    document = openapi(infos)
    assert {f"/v1/call/{item.name}" for item in infos} <= document["paths"].keys()
    found = set(references(document))
    assert found
    assert all(resolve(document, reference) for reference in found)
    operations = [o["operationId"] for p in document["paths"].values() for o in p.values()
                  if "operationId" in o]  # fmt: skip
    assert len(operations) == len(set(operations)) == len(infos)


def test_definitions_of_two_syscalls_do_not_mix() -> None:
    """Types of the same name in two syscalls stay apart, and may refer to each other."""
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    schema = {"properties": {"a": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": node}}
    other = {"properties": {"a": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": {"type": "string"}}}
    document = openapi([info("a.b", schema), info("c.d", other)])
    schemas = document["components"]["schemas"]
    assert schemas["c.d.Node"] == {"type": "string"}
    assert schemas["a.b.Node"]["properties"]["next"] == {"$ref": "#/components/schemas/a.b.Node"}
    assert "$defs" not in str(document)
