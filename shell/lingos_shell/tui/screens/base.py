"""What the further screens share: title and keys around a body, asking, acting, telling."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widget import Widget

from lingos_kernel.errors import LingOSError
from lingos_shell.tui.key_bar import KeyBar
from lingos_shell.tui.title import TitleBar

if TYPE_CHECKING:
    from lingos_shell.tui.app import LingOSApp


class RoomScreen(Screen[None]):
    """One room of the kernel on the whole screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,escape", "leave", "back", id="screen.leave",
                tooltip="Back to the conversations"),
    ]  # fmt: skip
    HELP_TITLE = "This screen"

    def __init__(self, host: LingOSApp) -> None:
        super().__init__()
        self.host = host

    def compose(self) -> ComposeResult:
        """Title, body, keys."""
        yield TitleBar(id="title")
        yield from self.body()
        yield KeyBar(id="keys")

    def body(self) -> Iterable[Widget]:
        """What stands between title and keys."""
        raise NotImplementedError

    def redraw(self) -> None:
        """A new snapshot has come."""

    def action_leave(self) -> None:
        """Back to the main screen."""
        if self.app.current_mode != "main":
            self.host.action_open_screen(self.app.current_mode)

    def may_act(self) -> bool:
        """Whether something may be changed; says so when not."""
        if self.host.is_readonly:
            self.notify("read-only: started with --readonly", severity="warning")
        return not self.host.is_readonly

    async def confirm(self, question: str) -> bool:
        """What a person says; call it from a worker."""
        from lingos_shell.tui.dialogs import Confirm

        return await self.host.push_screen_wait(Confirm(question)) is True

    async def order(self, syscall: str, **arguments: Any) -> Any:
        """The result of a call that a person has asked for; None after a failure, which is told."""
        try:
            client = await self.host.kernel_client()
            return await client.with_options(confirmed=True).call(syscall, **arguments)
        except LingOSError as error:
            self.tell(syscall, error)
            return None

    def tell(self, what: str, error: LingOSError) -> None:
        """Show an error with its hint."""
        told = f"{error.message}\n{error.hint}" if error.hint else error.message
        self.notify(told, title=what, severity="error", markup=False)
