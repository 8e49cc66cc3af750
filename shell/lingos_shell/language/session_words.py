"""The words for sessions: opening one, writing one to a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lingos_kernel.errors import InvalidArguments
from lingos_shell.language.conversation import KeptConversation
from lingos_shell.language.redirection import Target

if TYPE_CHECKING:
    from lingos_shell.language.builtin import Request

ATTACH = "attach"


async def session(request: Request) -> Any:
    """`/session`: show, open or begin one."""
    shell, name = request.shell, request.arguments.get("name")
    if name == ATTACH and "session" in request.arguments:
        name = request.arguments["session"]
    elif "session" in request.arguments:
        raise InvalidArguments(
            f"/session takes one name, or {ATTACH} and a name", hint=f"/session {name}"
        )
    listed = await shell.client.call("ctx.list")
    if name is None:
        current = shell.conversation.name
        return [
            {"": "*" if row["name"] == current else "", **_picked(row)}
            for row in sorted(listed, key=lambda row: row["updated_s"])
        ]
    known = next((row for row in listed if row["name"] == name), None)
    shell.conversation = KeptConversation(name, is_new=known is None)
    await request.tell(
        f"session {name}, {known['tokens']} tokens of {known['model']}"
        if known
        else f"session {name} begins"
    )
    return None


def _picked(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("name", "tokens", "model")}


async def export(request: Request) -> None:
    """`/export`: write a session to a file."""
    import asyncio

    from lingos_shell.language.export import exported

    shell, file = request.shell, request.arguments["file"]
    name = request.arguments.get("session") or shell.conversation.name
    if not name:
        raise InvalidArguments(
            "there is no session to write yet", hint="/session lists those that the kernel keeps"
        )
    target = Target.check(file, is_appending=False)
    shown = await shell.client.call("ctx.show", name=name)
    size = await asyncio.to_thread(target.write_text, exported(shown, file))
    await request.tell(f"wrote {name}, {size} bytes, to {target.path}")
