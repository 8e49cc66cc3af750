"""The line (or lines) where a person types, and the menu of what could stand there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, on, work
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, TextArea
from textual.widgets.option_list import Option

from lingos_shell.tui.spans import clean

if TYPE_CHECKING:
    from lingos_shell.language.completion import Completion

Completer = Callable[[str], Awaitable["list[Completion]"]]
"""What could stand at the end of a text."""
MAX_OFFERS = 100
MAX_HISTORY = 1000


class CompletionMenu(OptionList, can_focus=False):
    """What could stand at the cursor; the keys stay with the prompt."""

    DEFAULT_CSS = """
    CompletionMenu, CompletionMenu:focus {
        display: none; height: auto; max-height: 9; border: none; padding: 0 1;
        background: $surface; scrollbar-size-vertical: 1;
    }
    CompletionMenu.open { display: block; }
    CompletionMenu > .option-list--option { padding: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__(id="completions")
        self.offers: list[Completion] = []

    @property
    def is_open(self) -> bool:
        """Whether it is shown."""
        return self.has_class("open")

    def offer(self, offers: Sequence[Completion]) -> None:
        """Show these; none closes."""
        self.offers = list(offers[:MAX_OFFERS])
        self.clear_options()
        width = min(max((len(offer.text) for offer in self.offers), default=0), 40)
        self.add_options([Option(_line(offer, width)) for offer in self.offers])
        self.set_class(bool(self.offers), "open")
        self.highlighted = 0 if self.offers else None

    def close(self) -> None:
        """Offer nothing."""
        self.offer([])

    @property
    def chosen(self) -> Completion | None:
        """The highlighted one."""
        if not self.is_open or self.highlighted is None:
            return None
        return self.offers[self.highlighted]


def _line(offer: Completion, width: int) -> Content:
    text = clean(offer.text)
    about = clean(offer.help or offer.kind)
    return Content.assemble(f"{text:<{width}}  ", (about, "$foreground 55%"))


class Prompt(TextArea):
    """Enter sends, Ctrl+J begins a new line, Tab completes, Up and Down recall what was sent."""

    HELP_TITLE = "The prompt"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+j,shift+enter,alt+enter", "newline", "New line", show=False,
                id="prompt.newline"),
        Binding("enter", "send", "Send", show=False, id="prompt.send"),
        Binding("tab", "complete", "Complete; in an empty prompt: to the scheduler", show=False,
                id="prompt.complete"),
        Binding("pageup", "scroll(-1)", "Scroll the transcript up", show=False,
                id="prompt.page_up"),
        Binding("pagedown", "scroll(1)", "Scroll the transcript down", show=False,
                id="prompt.page_down"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    Prompt {
        height: auto; max-height: 10; min-height: 3; border: round $border-blurred;
        background: $background; padding: 0 1; scrollbar-size-vertical: 1;
        border-title-color: $accent; border-subtitle-color: $foreground 55%;
    }
    Prompt:focus { border: round $border; background: $background; }
    """

    class Sent(Message):
        """Raised when a person has sent something."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Scrolled(Message):
        """Raised when the transcript is to be scrolled by a page, up (-1) or down (1)."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    def __init__(
        self,
        *,
        menu: CompletionMenu | None = None,
        complete: Completer | None = None,
        **widget: Any,
    ) -> None:
        super().__init__(
            compact=False, highlight_cursor_line=False, tab_behavior="focus",
            placeholder="Ask something …", **widget,
        )  # fmt: skip
        self._menu = menu
        self._completer = complete
        self._sent: list[str] = []
        self._recalled = 0

    def on_show(self) -> None:
        """Be in the first frame: what was laid out in a batch is painted only when it asks."""
        self.refresh()

    def remember(self, texts: Iterable[str]) -> None:
        """Texts that Up recalls, as if they had been sent before all others."""
        self._sent = [*texts, *self._sent][-MAX_HISTORY:]
        self._recalled = len(self._sent)

    def fill(self, text: str) -> None:
        """Let a person go on with a text."""
        self.text = text
        self.move_cursor(self.document.end)
        self.focus()

    def action_send(self) -> None:
        """Hand the text over and begin anew; with the menu open, take what is chosen there."""
        if self._menu is not None and (chosen := self._menu.chosen):
            self._take(chosen)
            return
        text = self.text
        if text.strip():
            self._sent = [*self._sent, text][-MAX_HISTORY:]
            self._recalled = len(self._sent)
            self.text = ""
            self.post_message(self.Sent(text))

    def action_newline(self) -> None:
        """Begin a new line."""
        self.insert("\n")

    def action_scroll(self, by: int) -> None:
        """Scroll the transcript, whose keys these are while a message is typed."""
        self.post_message(self.Scrolled(by))

    # Completion

    def action_complete(self) -> None:
        """Offer what could stand here; with the menu open, take what is chosen there."""
        if self._menu is not None and (chosen := self._menu.chosen):
            self._take(chosen)
        elif self._completer is None or not self._before_cursor().strip():
            self.screen.focus_next()
        else:
            self._look_up(leaves=True)

    @work(exclusive=True, group="completion", exit_on_error=False)
    async def _look_up(self, *, leaves: bool = False) -> None:
        """Ask for proposals; a text that nothing fits to lets Tab `leave` the prompt."""
        if self._completer is None or self._menu is None:
            return
        text = self._before_cursor()
        offers = await self._completer(text)
        if text != self._before_cursor():
            return
        if len(offers) == 1 and leaves:
            self._take(offers[0])
        elif not offers and leaves:
            self.screen.focus_next()
        else:
            self._menu.offer(offers)

    def _before_cursor(self) -> str:
        return self.get_text_range((0, 0), self.cursor_location)

    def _take(self, offer: Completion) -> None:
        assert self._menu is not None
        self._menu.close()
        lines = self._before_cursor()[: offer.start].split("\n")
        start = (len(lines) - 1, len(lines[-1]))
        self.replace(offer.text, start, self.cursor_location, maintain_selection_offset=False)

    @on(TextArea.Changed)
    def _follow(self) -> None:
        """An open menu follows what is typed."""
        if self._menu is not None and self._menu.is_open:
            self._look_up()

    # Keys

    async def _on_key(self, event: events.Key) -> None:
        """Send where that key is pressed, behind the characters that were typed before it.

        A binding with priority would overtake those that are still on their way to this widget.
        """
        bound = None if event.is_printable else self.screen.active_bindings.get(event.key)
        if bound and bound.node is self and bound.binding.action in ("send", "newline"):
            event.stop()
            event.prevent_default()
            await self.run_action(bound.binding.action)
            return
        if self._has_moved(event):
            event.stop()
            event.prevent_default()
            return
        await super()._on_key(event)

    def _has_moved(self, event: events.Key) -> bool:
        """In the menu Up and Down choose; at the edges of the text they recall what was sent."""
        if self._menu is not None and self._menu.is_open:
            return self._has_moved_in_menu(self._menu, event)
        row = self.cursor_location[0]
        if event.key == "up" and row == 0:
            return self._has_recalled(-1)
        if event.key == "down" and row == self.document.line_count - 1:
            return self._has_recalled(1)
        return False

    def _has_moved_in_menu(self, menu: CompletionMenu, event: events.Key) -> bool:
        if event.key == "up":
            menu.action_cursor_up()
        elif event.key == "down":
            menu.action_cursor_down()
        elif event.key == "escape":
            menu.close()
        else:
            return False
        return True

    def _has_recalled(self, by: int) -> bool:
        place = self._recalled + by
        if not 0 <= place <= len(self._sent):
            return False
        self._recalled = place
        self.text = self._sent[place] if place < len(self._sent) else ""
        self.move_cursor(self.document.end)
        return True
