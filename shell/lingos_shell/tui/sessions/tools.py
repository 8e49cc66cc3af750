"""Calls of syscalls in a transcript: what was called, what came back, and asking for a yes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import Collapsible, Static

from lingos_shell.language.values import text_of
from lingos_shell.tui.sessions.clipping import clip, more_text
from lingos_shell.tui.sessions.entries import Entry
from lingos_shell.tui.spans import clean

Decision = Literal["once", "always", "refuse", "never"]
"""always and never hold for the same syscall in the same session."""
IN_TITLE = 60
"""Characters of arguments and of a value in the title of a block."""


class Approvals:
    """What a person has decided for a whole session, by syscall."""

    def __init__(self) -> None:
        self._decided: dict[str, bool] = {}

    def known(self, name: str) -> bool | None:
        """Whether the syscall may be called; None: ask."""
        return self._decided.get(name)

    def take(self, name: str, decision: Decision) -> bool:
        """Keep what holds for longer; returns whether the call may be made."""
        is_yes = decision in ("once", "always")
        if decision in ("always", "never"):
            self._decided[name] = is_yes
        return is_yes


class Approval(Static, can_focus=True):
    """Asks whether to make a call. It never takes the keyboard: Ctrl+G brings it there."""

    HELP_TITLE = "A call that asks"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "decide('once')", "Yes, once", id="approval.once", show=True),
        Binding("A", "decide('always')", "Yes, always in this session", id="approval.always"),
        Binding("r", "decide('refuse')", "No", id="approval.refuse"),
        Binding("R", "decide('never')", "No, never in this session", id="approval.never"),
    ]
    DEFAULT_CSS = """
    Approval { height: auto; width: 1fr; padding: 0 1; background: $warning 15%; }
    Approval:focus { background: $warning 35%; }
    """

    class Decided(Message):
        """Raised when the person has decided; the keyboard is free again."""

    def __init__(self, question: str) -> None:
        super().__init__(markup=True, name=f"question: {question}")
        self._question = question
        self.decided: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()

    def on_mount(self) -> None:
        """The question and its answers, each of which can be clicked."""
        choices = "  ".join(
            f"[@click=decide('{decision}')][b]{key}[/b] {words}[/]"
            for key, words, decision in (
                ("a", "once", "once"),
                ("A", "always in this session", "always"),
                ("r", "refuse", "refuse"),
                ("R", "always refuse", "never"),
            )
        )
        asked = Content.from_markup("$question\n", question=self._question)
        self.update(asked + Content.from_markup(choices))

    def action_decide(self, decision: Decision) -> None:
        """Hand the decision over."""
        if not self.decided.done():
            self.decided.set_result(decision)
            self.post_message(self.Decided())


class ToolBlock(Entry):
    """One call: its title tells how it went; unfolded, arguments and what came back."""

    DEFAULT_CSS = """
    ToolBlock Collapsible {
        background: transparent; border: none; padding: 0; color: $foreground 75%;
    }
    ToolBlock CollapsibleTitle { padding: 0; }
    ToolBlock Contents { padding: 0 2; }
    ToolBlock.failed CollapsibleTitle { color: $error; }
    """

    def __init__(self, name: str, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.tool, self.arguments = name, dict(arguments)
        self.is_waiting = True
        """Nothing has come back."""
        self._came = ""
        self._outcome = "…"

    def compose(self) -> ComposeResult:
        """Folded."""
        yield Collapsible(
            Static(self._body(), id="came", markup=False), title=self._title(), collapsed=True
        )

    def on_mount(self) -> None:
        """Enter on the entry unfolds; the title takes no keys."""
        from textual.widgets._collapsible import CollapsibleTitle

        self.query_one(CollapsibleTitle).can_focus = False

    @property
    def plain(self) -> str:
        """Name, arguments, and what came back."""
        return f"{self.tool} {_json(self.arguments)}\n{self._came}".rstrip()

    @property
    def is_cut(self) -> bool:
        """Whether lines are left out."""
        return clip(self.plain)[1] > 0

    def toggle(self) -> None:
        """Unfold, or fold."""
        fold = self.query_one(Collapsible)
        fold.collapsed = not fold.collapsed

    def returned(self, value: Any = None, error: Mapping[str, Any] | None = None) -> None:
        """Show what came back."""
        self.set_result(value, error)
        self.query_one(Collapsible).title = self._title()
        self.query_one("#came", Static).update(self._body())

    def set_result(self, value: Any = None, error: Mapping[str, Any] | None = None) -> None:
        """What came back, before the block is shown."""
        self.is_waiting = False
        if error is not None:
            hint = error.get("hint")
            self._came = f"{error.get('message', error)}" + (f"\nhint: {hint}" if hint else "")
            self._outcome = f"failed: {_short(str(error.get('message', error)))}"
        else:
            self._came = text_of(value)
            self._outcome = f"→ {_short(self._came)}"
        self.set_class(error is not None, "failed")

    async def ask(self, question: str) -> Decision:
        """Let the person decide, in place."""
        approval = Approval(question)
        await self.mount(approval)
        try:
            return await approval.decided
        finally:
            if approval.is_attached:
                await approval.remove()

    def _title(self) -> Any:
        # markup=False is not offered for titles; a Content is taken as it is
        return Content(f"/{clean(self.tool)} {_short(_json(self.arguments))} {self._outcome}")

    def _body(self) -> str:
        shown, more = clip(self.plain)
        return f"{shown}\n{more_text(more, 'lines')}" if more else shown


def _json(arguments: Mapping[str, Any]) -> str:
    return json.dumps(arguments, ensure_ascii=False, default=str) if arguments else ""


def _short(text: str) -> str:
    words = clean(" ".join(text[: 4 * IN_TITLE].split()))
    return words if len(words) <= IN_TITLE else f"{words[: IN_TITLE - 1]}…"
