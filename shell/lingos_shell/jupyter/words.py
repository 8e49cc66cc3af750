"""Words of the language that only a notebook has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from lingos_kernel.telemetry.snapshot import Snapshot
from lingos_shell.language.builtin import Builtin, Request

if TYPE_CHECKING:
    from lingos_shell.jupyter.session import NotebookSession


def notebook_words(session: NotebookSession) -> Mapping[str, Builtin]:
    """The words, for one notebook."""

    def stream(request: Request) -> None:
        session.streams = request.arguments.get("on", True)

    return {
        "top": Builtin(_top, summary="Watch the scheduler here, live."),
        "stream": Builtin(
            stream,
            {"on": {"type": "boolean", "description": "false shows answers only when whole"}},
            summary="Show answers as they come, or only when they are whole.",
        ),
    }


async def _top(request: Request) -> Snapshot:
    """What `CellOutput` makes the live view of."""
    return msgspec.convert(await request.shell.client.call("sys.snapshot"), Snapshot)
