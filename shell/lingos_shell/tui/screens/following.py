"""A panel with the items of a stream, line by line, until it is closed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Log

from lingos_kernel.errors import LingOSError, from_wire
from lingos_kernel.syscalls.events import AnyEvent, Failure, Item
from lingos_shell.commands.trace import line_text
from lingos_shell.units import duration_text

MAX_LINES = 5_000


class FollowPanel(ModalScreen[None]):
    """Follows a stream; closing it ends the call."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "Close", id="dialog.close")
    ]
    DEFAULT_CSS = "FollowPanel Log { width: 90%; height: 70%; }"

    def __init__(
        self,
        title: str,
        events: AsyncGenerator[AnyEvent, None],
        text: Callable[[dict[str, Any]], str],
    ) -> None:
        super().__init__()
        self._title, self._events, self._text = title, events, text

    def compose(self) -> ComposeResult:
        """A log that scrolls."""
        log = Log(classes="dialog wide", max_lines=MAX_LINES)
        log.border_title = self._title
        log.border_subtitle = "Esc closes"
        yield log

    def on_mount(self) -> None:
        """Begin."""
        self.query_one(Log).focus()
        self.follow()

    @work(exclusive=True)
    async def follow(self) -> None:
        """Write each item as it comes, and why there are no more at the end."""
        log = self.query_one(Log)
        try:
            async with aclosing(self._events) as events:
                async for event in events:
                    if isinstance(event, Item):
                        log.write_line(self._text(event.data))
                    elif isinstance(event, Failure):
                        raise from_wire(event.error)
            log.write_line("that was all")
        except LingOSError as error:
            log.write_line(f"it ended: {error.message}")


def plugin_line_text(line: dict[str, Any]) -> str:
    """A line of `plugin.trace` as people read it."""
    if line["event"] != "hook":
        return line_text(line)
    about = f" of {line['syscall']}" if line["syscall"] else ""
    said = f" {line['message']}" if line["message"] else ""
    return f"{line['hook']}{about} = {line['outcome']}{said} <{duration_text(line['run_s'])}>"
