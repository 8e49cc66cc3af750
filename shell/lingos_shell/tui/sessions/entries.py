"""What stands in a transcript beside answers: messages, notes, values, output of the host."""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from lingos_kernel.errors import LingOSError
from lingos_shell.language.values import as_table, text_of
from lingos_shell.tui.keyboard import Breathe, at_once
from lingos_shell.tui.lines import SpanLines
from lingos_shell.tui.sessions.clipping import MAX_LINES, clip, more_text, table_lines


class Entry(Vertical):
    """One piece of a transcript: it can be selected, searched, copied, opened."""

    DEFAULT_CSS = """
    Entry { height: auto; width: 1fr; padding: 0 1; border-left: outer transparent; }
    Entry.selected { border-left: outer $border; background: $surface; }
    Entry.found { border-left: outer $accent; }
    Entry.selected.found { border-left: outer $accent; background: $surface; }
    Entry > Static { height: auto; width: 1fr; }
    Entry .more { color: $foreground 55%; }
    """

    @property
    def plain(self) -> str:
        """All of it as text: what is copied and searched, and shown when it is opened."""
        return ""

    @property
    def is_cut(self) -> bool:
        """Whether there is more than what is shown."""
        return False

    async def flush(self, breathe: Breathe = at_once) -> None:
        """Draw what has come since the last time; `breathe` lets keys go first in long work."""


class UserMessage(Entry):
    """What a person has sent."""

    DEFAULT_CSS = """
    UserMessage { margin: 1 0 0 0; border-left: outer $accent; }
    UserMessage #words { text-style: bold; color: $foreground; }
    UserMessage.queued #words { color: $foreground 55%; text-style: none; }
    UserMessage #about { color: $foreground 55%; display: none; }
    UserMessage #about.known { display: block; }
    """

    def __init__(self, text: str, *, at: int | None = None, is_queued: bool = False) -> None:
        """`at` is the token of the context at which the message begins; None: not known (yet)."""
        super().__init__(classes="queued" if is_queued else "")
        self.text = text
        self.at = at
        self.branches: list[str] = []
        """The contexts that go on from here, each with a message of its own."""

    def compose(self) -> ComposeResult:
        """The words, and below them what is to be said about them."""
        shown, more = clip(self.text, lines=60)
        words = f"{shown}\n{more_text(more, 'lines')}" if more else shown
        yield Static(words, id="words", markup=False)
        yield Static("", id="about", markup=False)

    @property
    def plain(self) -> str:
        """The text as it was sent."""
        return self.text

    @property
    def is_cut(self) -> bool:
        """A long one is."""
        return clip(self.text, lines=60)[1] > 0

    def tell(self, about: str) -> None:
        """Say something about the message; nothing hides the line."""
        line = self.query_one("#about", Static)
        line.update(about)
        line.set_class(bool(about), "known")

    def show_branches(self, names: list[str], current: str) -> None:
        """Say which branch this is, of how many."""
        self.branches = names
        if current in names:
            place = names.index(current) + 1
            self.tell(f"branch {place}/{len(names)}  ← → switch")
        else:
            self.tell("")


class Note(Entry):
    """A sentence of the program to the person."""

    DEFAULT_CSS = """
    Note { color: $foreground 55%; }
    Note.failed { color: $error; }
    Note.failed #hint { color: $foreground 70%; }
    """

    def __init__(self, text: str, *, hint: str = "", classes: str = "") -> None:
        super().__init__(classes=classes)
        self._text, self._hint = text, hint

    @classmethod
    def of_error(cls, error: LingOSError) -> Note:
        """What went wrong, and what can be done about it."""
        return cls(f"error: {error.message}", hint=error.hint or "", classes="failed")

    def compose(self) -> ComposeResult:
        """The sentence, and the hint."""
        yield Static(clip(self._text)[0], markup=False)
        if self._hint:
            yield Static(clip(f"hint: {self._hint}")[0], id="hint", markup=False)

    @property
    def plain(self) -> str:
        """Both."""
        return f"{self._text}\n{self._hint}".strip()


class HostText(Entry):
    """Output of a command of the host; of a long one the beginning, and how much more there is."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[str] = []
        self._lines = 0
        self._is_stale = False

    def compose(self) -> ComposeResult:
        """The text, and what is not shown of it."""
        yield Static("", id="output", markup=False)
        yield Static("", id="more", classes="more", markup=False)

    def push(self, text: str) -> None:
        """More of it; it is drawn with the next `flush`."""
        self._pieces.append(text)
        self._lines += text.count("\n")
        self._is_stale = True

    @property
    def plain(self) -> str:
        """All of it."""
        self._pieces = ["".join(self._pieces)]
        return self._pieces[0].rstrip("\n")

    @property
    def is_cut(self) -> bool:
        """Whether lines are left out."""
        return clip(self.plain)[1] > 0

    async def flush(self, breathe: Breathe = at_once) -> None:  # noqa: ARG002  # it is short work
        """Draw the beginning, unless that is there already, and the count."""
        if not self._is_stale:
            return
        self._is_stale = False
        shown, more = clip(self.plain)
        output = self.query_one("#output", Static)
        if str(output.content) != shown:
            output.update(shown)
        self.query_one("#more", Static).update(more_text(more, "lines") if more else "")


class Value(Entry):
    """A value: lists of objects as a table, the rest as text; of long ones the beginning."""

    DEFAULT_CSS = "Value { margin: 0 0 0 0; }"

    def __init__(self, value: Any, source: str = "") -> None:
        super().__init__()
        self._value = value
        self.source = source
        self.table = as_table(value)

    def compose(self) -> ComposeResult:
        """The table or the text."""
        if self.table is not None:
            yield SpanLines(id="table")
            return
        shown, more = clip(self.plain)
        yield Static(shown, markup=False)
        if more:
            yield Static(more_text(more, "lines"), classes="more", markup=False)

    def on_mount(self) -> None:
        """Draw the table in the width that there is."""
        if self.table is not None:
            columns, rows = self.table
            self.query_one(SpanLines).show(lambda width: table_lines(columns, rows, width))

    @property
    def plain(self) -> str:
        """A table as lines of tab-separated cells, the rest as text."""
        if self.table is None:
            return text_of(self._value)
        columns, rows = self.table
        return "\n".join("\t".join(row) for row in (columns, *rows))

    @property
    def is_cut(self) -> bool:
        """Whether lines are left out, or cells may be cut."""
        return self.table is not None or self.plain.count("\n") >= MAX_LINES
