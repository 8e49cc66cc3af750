"""Searching the transcript: where the text stands is marked, entry after entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from lingos_shell.tui.sessions.answer import Answer

if TYPE_CHECKING:
    from lingos_shell.tui.sessions.entries import Entry
    from lingos_shell.tui.sessions.transcript import Transcript

MARK = "reverse"


class SearchBar(Horizontal):
    """Enter goes to the next place above, Shift+Enter (or Down) back, Escape closes."""

    HELP_TITLE = "Search"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "go(-1)", "Find the one above", show=False, id="search.above"),
        Binding("down,shift+enter", "go(1)", "Find the one below", show=False, id="search.below"),
        Binding("escape", "close", "Close the search", show=False, id="search.close"),
    ]
    DEFAULT_CSS = """
    SearchBar { display: none; height: 1; background: $surface; }
    SearchBar.open { display: block; }
    SearchBar Input { width: 1fr; border: none; height: 1; padding: 0 1; background: $surface; }
    SearchBar Static { width: auto; padding: 0 1; color: $foreground 60%; }
    """

    class Closed(Message):
        """Raised when the search is over."""

    def __init__(self, transcript: Transcript, **widget: Any) -> None:
        super().__init__(**widget)
        self._transcript = transcript
        self._found: list[Entry] = []
        self._at = 0
        self._marked: list[tuple[Static, Content]] = []

    def compose(self) -> ComposeResult:
        """The text, and how often it is there."""
        yield Input(placeholder="find …", compact=True, name="search the transcript")
        yield Static("", id="count", markup=False)

    def open(self) -> None:
        """Take the keyboard."""
        self.add_class("open")
        line = self.query_one(Input)
        line.focus()
        line.action_select_all()
        self.find(line.value)

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self.find(event.value)

    @on(Input.Submitted)
    def _next(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_go(-1)

    def find(self, text: str) -> None:
        """Mark each place of the text, and go to the last one."""
        self._unmark()
        wanted = text.casefold()
        entries = self._transcript.entries
        self._found = [e for e in entries if wanted and wanted in e.plain.casefold()]
        for entry in self._found:
            entry.add_class("found")
            self._mark(entry, wanted)
        self._at = len(self._found) - 1
        self._go(wanted)

    def action_go(self, by: int) -> None:
        """Go to another place; behind the last one comes the first."""
        if self._found:
            self._at = (self._at + by) % len(self._found)
        self._go(self.query_one(Input).value)

    def action_close(self) -> None:
        """Take all marks away."""
        self._unmark()
        self.remove_class("open")
        self.post_message(self.Closed())

    def _go(self, text: str) -> None:
        count = len(self._found)
        self.query_one("#count", Static).update(
            f"{self._at + 1} of {count}" if count else "not found" if text else ""
        )
        self._transcript.select(self._found[self._at] if count else None)

    def _mark(self, entry: Entry, wanted: str) -> None:
        """Mark the text wherever a widget of the entry shows it as a whole."""
        if isinstance(entry, Answer):
            entry.mark(wanted)
        for widget in entry.query(Static):
            content = shown_content(widget)
            if content is not None and (marked := with_marks(content, wanted)):
                self._marked.append((widget, content))
                widget.update(marked)

    def _unmark(self) -> None:
        for widget, content in self._marked:
            if widget.is_attached:
                widget.update(content)
        for entry in self._found:
            entry.remove_class("found")
            if isinstance(entry, Answer):
                entry.mark("")
        self._marked.clear()
        self._found = []


def shown_content(widget: Static) -> Content | None:
    """The text of a widget with its styles; None when it shows something else."""
    shown: Any = widget.content
    if isinstance(shown, str):
        return Content(shown)
    return shown if isinstance(shown, Content) else None


def with_marks(content: Content, wanted: str) -> Content | None:
    """The content with each place of the (case-folded) text marked; None when it is not there."""
    plain = content.plain.casefold()
    if wanted not in plain or len(plain) != len(content.plain):
        return None
    at = plain.find(wanted)
    while at >= 0:
        content = content.stylize(MARK, at, at + len(wanted))
        at = plain.find(wanted, at + len(wanted))
    return content
