"""The syscalls of a process as they happen, in a panel over the tables."""

from __future__ import annotations

from contextlib import aclosing
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Log

from lingos_kernel.client.protocol import KernelClient
from lingos_kernel.errors import LingOSError, from_wire
from lingos_kernel.syscalls.events import Failure, Item
from lingos_shell.commands.trace import line_text

MAX_LINES = 5_000


class TracePanel(ModalScreen[None]):
    """Follows a process and its descendants until it is closed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "Close", id="dialog.close")
    ]
    DEFAULT_CSS = "TracePanel Log { width: 90%; height: 70%; }"

    def __init__(self, client: KernelClient, pid: int) -> None:
        super().__init__()
        self._client, self._pid = client, pid

    def compose(self) -> ComposeResult:
        """A log that scrolls."""
        log = Log(classes="dialog wide", max_lines=MAX_LINES)
        log.border_title = f"Trace of process {self._pid} and its descendants"
        log.border_subtitle = "Esc closes"
        yield log

    def on_mount(self) -> None:
        """Begin."""
        self.query_one(Log).focus()
        self.follow()

    @work(exclusive=True)
    async def follow(self) -> None:
        """Write each line as it comes, and why there are no more at the end."""
        log = self.query_one(Log)
        try:
            events = self._client.stream("proc.trace", pid=self._pid, follow=True)
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Item):
                        log.write_line(line_text(event.data))
                    elif isinstance(event, Failure):
                        raise from_wire(event.error)
            log.write_line("the process has ended")
        except LingOSError as error:
            log.write_line(f"the trace ended: {error.message}")
