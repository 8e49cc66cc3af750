"""All of a long text on the whole screen, however long it is."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Log

from lingos_shell.tui.spans import clean


class Reader(ModalScreen[None]):
    """Only the lines on the screen are drawn."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "dismiss(None)", "Close", id="dialog.close"),
        Binding("c,y", "copy", "Copy all of it", id="reader.copy"),
    ]
    DEFAULT_CSS = """
    Reader .reader { width: 100%; height: 100%; max-height: 100%; max-width: 100%; }
    Reader Log { background: $surface; scrollbar-size: 1 1; }
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """The text in a frame."""
        with Vertical(classes="dialog reader") as dialog:
            dialog.border_title = f"{len(self._text.splitlines()):,} lines"
            dialog.border_subtitle = "c copies · Esc closes"
            yield Log(highlight=False, auto_scroll=False)

    def on_mount(self) -> None:
        """Fill it."""
        log = self.query_one(Log)
        log.write_lines([clean(line.expandtabs(4)) for line in self._text.splitlines()])
        log.focus()

    def action_copy(self) -> None:
        """Copy all of it."""
        self.app.copy_to_clipboard(self._text)
        self.notify("copied")
