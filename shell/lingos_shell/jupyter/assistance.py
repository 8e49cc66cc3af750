"""Completion and inspection of the language's lines. Called from any thread."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lingos_kernel.errors import LingOSError
from lingos_shell.jupyter.interpolation import open_expression

if TYPE_CHECKING:
    from lingos_shell.jupyter.shell import LingOSShell
    from lingos_shell.language.completion import Completion

ANSWER_WAIT_S = 2.0
"""A kernel that takes longer to answer is left out."""
_CHAT_LINE = re.compile(r"%%chat[ \t]+(.*)\Z")
_VARIABLE = re.compile(r"\$(\w*)\Z")


class Assistance:
    """What may stand at a place of a cell, and what stands there; None where that is Python."""

    def __init__(self, shell: LingOSShell) -> None:
        self._shell = shell

    def expression_at(self, code: str, cursor: int) -> str | None:
        """The Python before the place, inside a line of the language."""
        line, at = self._line_at(code, cursor)
        return None if line is None else open_expression(line[:at])

    def complete(self, code: str, cursor: int) -> dict[str, Any] | None:
        """The content of a complete_reply."""
        if options := _CHAT_LINE.match(code[:cursor]):
            line: str | None = f"/llm.chat {options[1]}"
            at = len(line or "")
        else:
            line, at = self._line_at(code, cursor)
        if line is None:
            return None
        found = self.answer(self._shell.session.complete(line[:at])) or []
        return _complete_reply([*found, *self._variables(line[:at])], cursor - at, cursor)

    def inspect(self, code: str, cursor: int) -> dict[str, Any] | None:
        """The content of an inspect_reply: the help page of the line's call."""
        line, _ = self._line_at(code, cursor)
        if line is None or not line.startswith("/"):
            return None
        page = self.answer(self._shell.session.help(line[1:].split()[0]))
        data = {"text/plain": page, "text/markdown": f"```text\n{page}\n```"} if page else {}
        return {"status": "ok", "found": bool(page), "data": data, "metadata": {}}

    def answer(self, work: Any) -> Any:
        """What a coroutine on the bridge gives, unless it fails or takes too long: then None."""
        future = self._shell.bridge.submit(work)
        try:
            return future.result(ANSWER_WAIT_S)
        except (LingOSError, TimeoutError) as error:
            self._shell.log.debug("no answer for the notebook: %s", error)
            future.cancel()
            return None

    def _line_at(self, code: str, cursor: int) -> tuple[str | None, int]:
        found: tuple[str | None, int] = self._shell.input_transformer_manager.line_at(code, cursor)
        return found

    def _variables(self, text: str) -> list[Completion]:
        """The cells' own variables, behind a `$`."""
        from lingos_shell.language.completion import Completion

        typed = _VARIABLE.search(text)
        if typed is None:
            return []
        own = self._shell.user_ns.keys() - self._shell.user_ns_hidden.keys()
        return [
            Completion(f"${name}", typed.start(), kind="variable")
            for name in sorted(own)
            if name.startswith(typed[1]) and not name.startswith("_")
        ]


def moved(reply: Mapping[str, Any], by: int) -> dict[str, Any]:
    """A complete_reply on a part of a cell as one on the cell: the part begins `by` further on."""
    types = [
        {**kind, "start": kind["start"] + by, "end": kind["end"] + by}
        for kind in reply["metadata"].get("_jupyter_types_experimental", ())
    ]
    return {
        **reply,
        "cursor_start": reply["cursor_start"] + by,
        "cursor_end": reply["cursor_end"] + by,
        "metadata": {"_jupyter_types_experimental": types},
    }


def _complete_reply(found: list[Completion], begin: int, cursor: int) -> dict[str, Any]:
    """The reply; `begin` is where in the cell the completed text begins."""
    start = begin + found[0].start if found else cursor
    types = [
        {"start": start, "end": cursor, "text": c.text, "type": c.kind, "signature": c.help}
        for c in found
    ]
    return {
        "status": "ok",
        "matches": [completion.text for completion in found],
        "cursor_start": start,
        "cursor_end": cursor,
        "metadata": {"_jupyter_types_experimental": types},
    }
