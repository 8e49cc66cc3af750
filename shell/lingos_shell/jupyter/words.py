"""Words of the language that only a notebook has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from lingos_kernel.telemetry.snapshot import Snapshot
from lingos_shell.jupyter.answers import AnswerValue
from lingos_shell.language.builtin import Builtin, Request

if TYPE_CHECKING:
    from lingos_shell.jupyter.session import NotebookSession


def notebook_words(session: NotebookSession) -> Mapping[str, Builtin]:
    """The words, for one notebook."""

    def stream(request: Request) -> None:
        session.streams = request.arguments.get("on", True)

    def last(request: Request) -> AnswerValue:
        return session.answers.last(request.arguments.get("number", 1))

    return {
        "top": Builtin(_top, summary="Watch the scheduler here, live."),
        "last": Builtin(
            last,
            {"number": {"type": "integer", "description": "how many answers ago; 1 is the last"}},
            summary="Show an answer again, also one that came while no page was there.",
        ),
        "stream": Builtin(
            stream,
            {"on": {"type": "boolean", "description": "false shows answers only when whole"}},
            summary="Show answers as they come, or only when they are whole.",
        ),
    }


async def _top(request: Request) -> Snapshot:
    """What `CellOutput` makes the live view of."""
    return msgspec.convert(await request.shell.client.call("sys.snapshot"), Snapshot)
