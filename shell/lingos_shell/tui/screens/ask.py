"""A small window that asks for one line of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.suggester import SuggestFromList
from textual.widgets import Input, Label


class AskText(ModalScreen[str | None]):
    """One line; Escape gives none. Names that are known are suggested while it is typed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel", id="dialog.cancel")
    ]
    DEFAULT_CSS = "AskText Input { width: 60; max-width: 100%; }"

    def __init__(self, title: str, about: str, known: Sequence[str] = ()) -> None:
        super().__init__()
        self._title, self._about, self._known = title, about, tuple(known)

    def compose(self) -> ComposeResult:
        """What is asked, what is known, the line."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = self._title
            dialog.border_subtitle = "Enter goes on · → takes what is proposed · Esc cancels"
            yield Label(self._about, markup=False)
            if self._known:
                yield Label("In the catalogue: " + ", ".join(self._known), markup=False)
            yield Input(suggester=SuggestFromList(self._known, case_sensitive=False))

    @on(Input.Submitted)
    def _answered(self, event: Input.Submitted) -> None:
        event.stop()
        self.dismiss(event.value.strip() or None)
