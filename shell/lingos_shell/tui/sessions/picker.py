"""Pick one of many: typing searches, Enter picks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from lingos_shell.tui.spans import clean, fit

NAME_CELLS = 40


class Picker(ModalScreen[str | None]):
    """A list with a search above it; Escape picks none."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel", id="dialog.cancel")
    ]
    DEFAULT_CSS = """
    Picker .dialog { width: 80%; max-width: 100; }
    Picker Input { border: none; height: 1; padding: 0 1; background: $background; }
    Picker OptionList { width: 1fr; }
    """

    def __init__(
        self, title: str, options: Sequence[tuple[str, str]], *, chosen: str | None = None
    ) -> None:
        """`options`: (id, what is said about it)."""
        super().__init__()
        self._title, self._options, self._chosen = title, tuple(options), chosen

    def compose(self) -> ComposeResult:
        """The search, and what is found."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = self._title
            dialog.border_subtitle = "type to search · Enter picks · Esc cancels"
            yield Input(placeholder="search …", compact=True, name="search the list")
            yield OptionList(markup=False)

    def on_mount(self) -> None:
        """All of them at first; keys go to the search."""
        self._fill("")
        names = [name for name, _ in self._options]
        if self._chosen in names:
            self.query_one(OptionList).highlighted = names.index(self._chosen)
        self.query_one(Input).focus()

    @on(Input.Changed)
    def _search(self, event: Input.Changed) -> None:
        self._fill(event.value)

    def _fill(self, text: str) -> None:
        words = text.casefold().split()
        found = [
            (name, about)
            for name, about in self._options
            if all(word in f"{name} {about}".casefold() for word in words)
        ]
        options = self.query_one(OptionList)
        options.clear_options()
        width = min(NAME_CELLS, max((len(name) for name, _ in found), default=1))
        options.add_options(
            [Option(f"{fit(clean(name), width)}  {clean(about)}", name) for name, about in found]
        )
        options.highlighted = 0 if found else None

    def on_key(self, event: events.Key) -> None:
        """Up and Down go through the list while the search has the keys."""
        options = self.query_one(OptionList)
        if event.key == "up":
            options.action_cursor_up()
        elif event.key == "down":
            options.action_cursor_down()
        else:
            return
        event.stop()
        event.prevent_default()

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.query_one(OptionList).action_select()

    @on(OptionList.OptionSelected)
    def _picked(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)


class Ask(ModalScreen[str | None]):
    """Ask for a line of text; Escape gives none."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel", id="dialog.cancel")
    ]
    DEFAULT_CSS = """
    Ask .dialog { width: 70%; max-width: 90; }
    Ask Input { border: none; height: 1; padding: 0 1; background: $background; }
    """

    def __init__(self, title: str, value: str = "", *, about: str = "") -> None:
        super().__init__()
        self._title, self._value, self._about = title, value, about

    def compose(self) -> ComposeResult:
        """One line."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = self._title
            dialog.border_subtitle = "Enter takes it · Esc cancels"
            yield Input(self._value, placeholder=self._about, compact=True, name=self._title)

    def on_mount(self) -> None:
        """Keys go to the line."""
        self.query_one(Input).focus()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip() or None)
