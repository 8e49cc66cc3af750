"""What was said in a session: entries in a scrolled list, one of which can be selected."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widgets import Static

from lingos_shell.tui.keyboard import Keyboard
from lingos_shell.tui.sessions.entries import Entry, UserMessage

FRAME_S = 1 / 15
"""Between two drawings of an answer that streams."""
TYPING_S, TYPING_FRAME_S = 0.3, 1.0
"""So long after a key somebody is typing; drawings are further apart then, since keys go first."""
SHARE = 4
"""Drawing what streams takes one part in so many of the time, however slow the machine is."""
BATCH = 10
"""Entries that are mounted in one go; keys are taken between two."""


class Transcript(VerticalScroll):
    """Follows its end as long as nobody scrolls up."""

    HELP_TITLE = "The transcript (while it has the keyboard)"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "select(-1)", "Select the entry above", show=False, id="transcript.up"),
        Binding("down,j", "select(1)", "Select the entry below", show=False, id="transcript.down"),
        Binding("home", "ends(-1)", "Select the first entry", show=False, id="transcript.first"),
        Binding("end", "ends(1)", "Select the last entry", show=False, id="transcript.last"),
        Binding("enter", "ask('open')", "Unfold it, or show all of it", show=False,
                id="transcript.open"),
        Binding("e", "ask('edit')", "Edit the message and send it again, as a branch", show=False,
                id="transcript.edit"),
        Binding("r", "ask('regenerate')", "Answer the message again, as a branch", show=False,
                id="transcript.regenerate"),
        Binding("left", "ask('branch_before')", "Go to the branch before", show=False,
                id="transcript.branch_before"),
        Binding("right", "ask('branch_after')", "Go to the next branch", show=False,
                id="transcript.branch_after"),
        Binding("c,y", "ask('copy')", "Copy it", show=False, id="transcript.copy"),
        Binding("delete", "ask('withdraw')", "Take a message back that is not answered yet",
                show=False, id="transcript.withdraw"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    Transcript { height: 1fr; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
    Transcript #earlier { color: $foreground 55%; padding: 0 2; height: auto; }
    Transcript #welcome { padding: 0 2; color: $foreground 70%; height: auto; }
    """

    class Asked(Message):
        """Raised when a key asks for something with the selected entry."""

        def __init__(self, what: str, entry: Entry) -> None:
            super().__init__()
            self.what, self.entry = what, entry

    class EarlierWanted(Message):
        """Raised when somebody wants to see what is above the first entry."""

    def __init__(
        self,
        keyboard: Keyboard,
        *,
        clock: Callable[[], float] = time.monotonic,
        **widget: Any,
    ) -> None:
        super().__init__(**widget)
        self._keyboard = keyboard
        self._clock = clock
        self._begun_s = self._next_s = 0.0
        self._is_drawing = False
        self.selected: Entry | None = None
        self._live: list[Entry] = []

    def on_mount(self) -> None:
        """Stay at the end; draw what streams a few times a second."""
        self.anchor()
        self._timer = self.set_interval(FRAME_S, self.flush, pause=True)

    # Content

    @property
    def entries(self) -> list[Entry]:
        """All that are mounted, in order."""
        return [child for child in self.children if isinstance(child, Entry)]

    async def add(self, entry: Entry, *, is_live: bool = False) -> None:
        """Put an entry at the end; a live one is drawn as it grows."""
        await self.query("#welcome").remove()
        await self.mount(entry)
        if is_live:
            self._live.append(entry)
            self._timer.resume()

    async def settle(self, entry: Entry) -> None:
        """The entry grows no more; what was not drawn yet is drawn."""
        if entry in self._live:
            self._live.remove(entry)
            if not self._live:
                self._timer.pause()
        await entry.flush()

    async def flush(self) -> None:
        """Draw what has come, unless nobody sees it."""
        if self._is_drawing or self._clock() < self._next_s or not self.is_on_screen:
            return
        self._is_drawing, self._begun_s = True, self._clock()
        try:
            for entry in tuple(self._live):
                await entry.flush(self._keyboard.breathe)
        finally:
            self.call_after_refresh(self._drawn)

    def _drawn(self) -> None:
        """What was flushed is laid out and painted: when may that be done again?"""
        self._is_drawing = False
        now_s = self._clock()
        least_s = TYPING_FRAME_S if self._keyboard.is_in_use(TYPING_S) else 0.0
        self._next_s = now_s + max((SHARE - 1) * (now_s - self._begun_s), least_s)

    @property
    def is_on_screen(self) -> bool:
        """Whether somebody sees it."""
        return self.is_attached and self.screen is self.app.screen and bool(self.region)

    async def show(self, entries: Sequence[Entry], *, earlier: int = 0) -> None:
        """Show these in the place of all others; `earlier` ones are not among them."""
        self.selected = None
        self._live.clear()
        self._timer.pause()
        await self.remove_children()
        await self._tell_earlier(earlier)
        await self._mount_all(entries)
        self.anchor()

    async def show_earlier(self, entries: Sequence[Entry], *, earlier: int) -> None:
        """Show these above the others."""
        first = next(iter(self.entries), None)
        await self._tell_earlier(earlier)
        await self._mount_all(entries, before=first)
        if first is not None:
            self.scroll_to_widget(first, top=True, animate=False)

    async def _mount_all(self, entries: Sequence[Entry], *, before: Entry | None = None) -> None:
        for begin in range(0, len(entries), BATCH):
            batch = entries[begin : begin + BATCH]
            await self.mount_all(batch, before=before)
            for entry in batch:
                await entry.flush()

    async def _tell_earlier(self, count: int) -> None:
        await self.query("#earlier").remove()
        if count:
            line = Static(f"… {count} earlier messages; Home shows them", id="earlier")
            await self.mount(line, before=0)

    # The selected one

    def select(self, entry: Entry | None, *, scrolls: bool = True) -> None:
        """Select an entry, or none."""
        if self.selected is not None:
            self.selected.remove_class("selected")
        self.selected = entry
        if entry is not None:
            entry.add_class("selected")
            if scrolls:
                self.scroll_to_widget(entry, animate=False)

    def action_select(self, by: int) -> None:
        """Go up or down; above the first one there may be earlier ones."""
        entries = self.entries
        if not entries:
            return
        if self.selected not in entries:
            self.select(entries[-1])
            return
        place = entries.index(self.selected) + by
        if place < 0:
            self.post_message(self.EarlierWanted())
        self.select(entries[max(0, min(place, len(entries) - 1))])

    def action_ends(self, end: int) -> None:
        """Go to the first entry, or to the last one and stay there."""
        entries = self.entries
        if end < 0:
            self.post_message(self.EarlierWanted())
            self.select(next(iter(entries), None))
        else:
            self.select(entries[-1] if entries else None)
            self.anchor()

    def action_ask(self, what: str) -> None:
        """Let the session do something with the selected entry, else with the last one."""
        entry = self.selected or next(reversed(self.entries), None)
        if entry is not None:
            self.post_message(self.Asked(what, entry))

    def on_focus(self, _event: events.Focus) -> None:
        """Something is selected while keys come here."""
        if self.selected is None and (entries := self.entries):
            self.select(entries[-1], scrolls=False)

    def on_blur(self, _event: events.Blur) -> None:
        """Nothing is selected while keys go elsewhere."""
        self.select(None)

    def on_click(self, event: events.Click) -> None:
        """Select the entry below the pointer."""
        widget = event.widget
        while widget is not None and not isinstance(widget, Entry):
            if widget is self:
                return
            widget = widget.parent  # type: ignore[assignment]  # a widget's parent is a widget
        self.focus(scroll_visible=False)
        self.select(widget, scrolls=False)

    def user_before(self, entry: Entry) -> UserMessage | None:
        """The message that the entry belongs to: itself, or the one before it."""
        entries = self.entries
        before: Iterable[Entry] = reversed(entries[: entries.index(entry) + 1])
        return next((found for found in before if isinstance(found, UserMessage)), None)
