"""The line (or lines) where a person types."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

MAX_ROWS = 8


class Prompt(TextArea):
    """Enter sends, Ctrl+J (or Shift+Enter) begins a new line, Up and Down recall what was sent."""

    HELP_TITLE = "The prompt"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+j,shift+enter,alt+enter", "newline", "New line", show=False,
                id="prompt.newline"),
        Binding("enter", "send", "Send", show=False, priority=True, id="prompt.send"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    Prompt {
        height: auto; max-height: 10; min-height: 3; border: round $border-blurred;
        background: $background; padding: 0 1; scrollbar-size-vertical: 1;
    }
    Prompt:focus { border: round $border; background: $background; }
    """

    class Sent(Message):
        """Raised when a person has sent something."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, **widget: Any) -> None:
        super().__init__(
            compact=False, highlight_cursor_line=False, tab_behavior="focus",
            placeholder="Ask something …", **widget,
        )  # fmt: skip
        self._sent: list[str] = []
        self._recalled = 0

    def action_send(self) -> None:
        """Hand the text over and begin anew."""
        text = self.text
        if text.strip():
            self._sent.append(text)
            self._recalled = len(self._sent)
            self.text = ""
            self.post_message(self.Sent(text))

    def action_newline(self) -> None:
        """Begin a new line."""
        self.insert("\n")

    def on_key(self, event: events.Key) -> None:
        """At the edges of the text, Up and Down recall what was sent."""
        row = self.cursor_location[0]
        if event.key == "up" and row == 0:
            self._recall(-1, event)
        elif event.key == "down" and row == self.document.line_count - 1:
            self._recall(1, event)

    def _recall(self, by: int, event: events.Key) -> None:
        place = self._recalled + by
        if 0 <= place <= len(self._sent):
            event.stop()
            event.prevent_default()
            self._recalled = place
            self.text = self._sent[place] if place < len(self._sent) else ""
            self.move_cursor(self.document.end)
