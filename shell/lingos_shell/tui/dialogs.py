"""Small windows that ask: pick one, yes or no, and windows that only show lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Label, OptionList
from textual.widgets.option_list import Option

from lingos_shell.tui.lines import SpanLines
from lingos_shell.tui.spans import Line, fit_line


class Pick(ModalScreen[str | None]):
    """Pick one of some options; Escape picks none."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "Cancel", id="dialog.cancel")
    ]

    def __init__(
        self,
        title: str,
        options: Sequence[tuple[str, str]],
        *,
        about: str = "",
        chosen: str | None = None,
    ) -> None:
        """`options`: (id, what it means); `chosen` is selected at first."""
        super().__init__()
        self._title, self._options, self._about = title, tuple(options), about
        self._chosen = chosen

    def compose(self) -> ComposeResult:
        """A bordered list."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = self._title
            dialog.border_subtitle = "Enter picks · Esc cancels"
            if self._about:
                yield Label(self._about, markup=False)
            width = max(len(name) for name, _ in self._options)
            yield OptionList(
                *(Option(f"{name:<{width}}  {about}".rstrip(), name)
                  for name, about in self._options),
                markup=False,
            )  # fmt: skip

    def on_mount(self) -> None:
        """Keys go to the list, at the option that is in force."""
        options = self.query_one(OptionList)
        names = [name for name, _ in self._options]
        options.highlighted = names.index(self._chosen) if self._chosen in names else 0
        options.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Picked."""
        event.stop()
        self.dismiss(event.option.id)


class Confirm(ModalScreen[bool]):
    """Yes or no; only y or a chosen Yes is yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "Yes", id="dialog.yes"),
        Binding("n,escape,q", "dismiss(False)", "No", id="dialog.no"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """The question, and No first."""
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Are you sure?"
            dialog.border_subtitle = "y yes · n no"
            yield Label(self._question, markup=False)
            yield OptionList(Option("No", "no"), Option("Yes", "yes"), markup=False)

    def on_mount(self) -> None:
        """Keys go to the list."""
        options = self.query_one(OptionList)
        options.highlighted = 0
        options.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Chosen."""
        event.stop()
        self.dismiss(event.option.id == "yes")


class Page(ModalScreen[None]):
    """Lines to read; Escape closes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,f1", "dismiss(None)", "Close", id="dialog.close")
    ]

    def __init__(self, title: str, lines: Sequence[Line]) -> None:
        super().__init__()
        self._title, self._lines = title, tuple(lines)

    def compose(self) -> ComposeResult:
        """A bordered page that scrolls."""
        with VerticalScroll(classes="dialog wide") as dialog:
            dialog.border_title = self._title
            dialog.border_subtitle = "Esc closes"
            yield SpanLines(id="page")

    def on_mount(self) -> None:
        """Fill the page."""
        self.query_one(SpanLines).show(
            lambda width: [fit_line(line, width) for line in self._lines]
        )
        self.query_one(VerticalScroll).focus()
