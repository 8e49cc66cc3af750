"""Syscalls: find one, read what it does, fill in its form, run it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import aclosing
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.css.query import NoMatches
from textual.widget import Widget
from textual.widgets import Input, Tree
from textual.worker import Worker

from lingos_kernel.errors import LingOSError, from_wire
from lingos_kernel.syscalls.events import Failure, Item, Progress, Result
from lingos_kernel.syscalls.spec import SyscallInfo
from lingos_shell.inputs import read_text
from lingos_shell.syscall_help import facts_line
from lingos_shell.tui.lines import SpanLines
from lingos_shell.tui.screens.base import RoomScreen
from lingos_shell.tui.screens.form import arguments_of, best_of, command_of, tree_of
from lingos_shell.tui.screens.form_view import FormView
from lingos_shell.tui.screens.result_view import ResultView
from lingos_shell.tui.spans import Line, clean


class SyscallsScreen(RoomScreen):
    """The tree of syscalls at the left, one of them at the right."""

    HELP_TITLE = "Syscalls"
    AUTO_FOCUS = "#names"
    now: Callable[[], float] = staticmethod(time.monotonic)
    """The clock that calls are timed with."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f3,ctrl+f", "search", "search", id="syscalls.search",
                tooltip="Find a syscall by words of its name or summary"),
        Binding("f5,ctrl+r", "run", "run", id="syscalls.run", priority=True,
                tooltip="Run the syscall with what the form says"),
        Binding("f6", "copy_command", "copy as command", id="syscalls.copy", priority=True,
                tooltip="Copy the line of the shell's language that makes this call"),
        Binding("f7", "tree", "tree", show=False, id="syscalls.tree", priority=True,
                tooltip="Back to the tree of syscalls"),
        Binding("escape", "stop", "stop", show=False, id="syscalls.stop",
                tooltip="End the call that runs; else back to the tree, and from there back"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    SyscallsScreen #left { width: 28; border-right: solid $border-blurred; }
    SyscallsScreen #left:focus-within { border-right: solid $border; }
    SyscallsScreen #search { height: 1; border: none; padding: 0 1; background: $surface; }
    SyscallsScreen Tree { background: $background; padding: 0 0 0 1; scrollbar-size-vertical: 1; }
    SyscallsScreen #one { padding: 0 2; scrollbar-size-vertical: 1; }
    """

    def body(self) -> Iterable[Widget]:
        """Search and tree; help, form and result."""
        yield Body()

    def on_mount(self) -> None:
        """Learn which there are."""
        self._infos: list[SyscallInfo] = []
        self._info: SyscallInfo | None = None
        self._work: Worker[None] | None = None
        self.query_one(Tree).show_root = False
        self._learn()

    @work(exclusive=True, group="look")
    async def _learn(self) -> None:
        client = await self.host.kernel_client()
        try:
            self._infos = await client.syscalls()
        except LingOSError as error:
            self.tell("syscalls", error)
            return
        self._grow("")

    def on_screen_resume(self) -> None:
        """Plugins may have come or gone."""
        self._learn()

    # Finding one

    def action_search(self) -> None:
        """Go to the search line."""
        self.query_one("#search", Input).focus()

    def action_tree(self) -> None:
        """Go to the tree."""
        self.query_one(Tree).focus()

    @on(Input.Changed, "#search")
    def _searched(self, event: Input.Changed) -> None:
        event.stop()
        self._grow(event.value)

    @on(Input.Submitted, "#search")
    async def _found(self, event: Input.Submitted) -> None:
        """Enter: to the form of the first one found."""
        event.stop()
        best = best_of(self._infos, event.value)
        if best is not None:
            await self.open(best)
            self.query_one(FormView).begin()

    def _grow(self, search: str) -> None:
        """Draw the tree; a search opens its branches."""
        tree = self.query_one(Tree)
        tree.clear()
        branches = tree_of(self._infos, search)
        best = best_of(self._infos, search)
        shown = self._info or best
        opened = shown.name.partition(".")[0] if shown else ""
        for branch in branches:
            is_open = bool(search) or branch.prefix == opened
            node = tree.root.add(branch.prefix, expand=is_open)
            for info in branch.infos:
                node.add_leaf(info.name.partition(".")[2] or info.name, data=info)
        if best is not None and (search or self._info is None):
            self._show_first(best)

    @work(exclusive=True, group="open")
    async def _show_first(self, info: SyscallInfo) -> None:
        await self.open(info)

    @on(Tree.NodeHighlighted)
    async def _highlighted(self, event: Tree.NodeHighlighted[SyscallInfo]) -> None:
        event.stop()
        if event.node.data is not None:
            await self.open(event.node.data)

    @on(Tree.NodeSelected)
    async def _selected(self, event: Tree.NodeSelected[SyscallInfo]) -> None:
        event.stop()
        if event.node.data is not None:
            await self.open(event.node.data)
            self.query_one(FormView).begin()

    async def open(self, info: SyscallInfo) -> None:
        """Show a syscall with an empty form."""
        if info is self._info:
            return
        self._info = info
        one = self.query_one("#one")
        self.query_one("#help", SpanLines).show(lambda width: help_lines(info, width))
        await self.query(FormView).remove()
        self.query_one(ResultView).remove_class("open")
        await one.mount(FormView(info), after="#help")
        one.scroll_home(animate=False)

    # Running it

    def _arguments(self) -> dict[str, Any] | None:
        """What the form says; None, and said where, when something is wrong."""
        try:
            form = self.query_one(FormView)
        except NoMatches:
            return None
        arguments, wrong = arguments_of(form.info, form.typed, read_file=read_text)
        form.say(wrong)
        return None if wrong else arguments

    def action_run(self) -> None:
        """Run it, if the form is right."""
        info, arguments = self._info, self._arguments()
        if info is not None and arguments is not None and self.may_act():
            self._work = self._call(info, arguments)

    @work(exclusive=True, group="call")
    async def _call(self, info: SyscallInfo, arguments: dict[str, Any]) -> None:
        if info.confirm and not await self.confirm(f"{command_of(info.name, arguments)}\nRun it?"):
            return
        view = self.query_one(ResultView)
        await view.begin()
        view.status((("running …", "warn"), ("  Esc cancels", "dim")))
        self.call_after_refresh(self._reveal_result)
        begun = self.now()
        try:
            await self._stream(info, arguments, view, begun)
        except LingOSError as error:
            await view.failed(error.message, error.hint or "", self.now() - begun)

    async def _stream(
        self, info: SyscallInfo, arguments: dict[str, Any], view: ResultView, begun: float
    ) -> None:
        client = (await self.host.kernel_client()).with_options(confirmed=info.confirm)
        async with aclosing(client.stream(info.name, **arguments)) as events:
            async for event in events:
                match event:
                    case Item(data):
                        await view.take(data)
                    case Progress(done, total, unit, label):
                        of = f" of {total:g}" if total else ""
                        view.status(((f"{label} {done:g}{of} {unit}", "label"),))
                    case Failure(error):
                        raise from_wire(error)
                    case Result(data):
                        await view.end(data, self.now() - begun)
                        self.call_after_refresh(self._reveal_result)

    def _reveal_result(self) -> None:
        one, view = self.query_one("#one"), self.query_one(ResultView)
        one.scroll_to_widget(view, top=True, animate=False, force=True)

    async def action_stop(self) -> None:
        """End what runs; when nothing does, go to the tree, and from there back."""
        if self._work is not None and self._work.is_running:
            self._work.cancel()
            await self.query_one(ResultView).cancelled()
        elif self.query_one(Tree).has_focus:
            self.action_leave()
        else:
            self.action_tree()

    def action_copy_command(self) -> None:
        """Copy the call as a line of the shell's language."""
        info, arguments = self._info, self._arguments()
        if info is not None and arguments is not None:
            command = command_of(info.name, arguments)
            self.app.copy_to_clipboard(command)
            self.notify(command, title="Copied", markup=False)


class Body(Horizontal):
    """The two halves of the screen."""

    def compose(self) -> ComposeResult:
        """Search and tree; help, form and result."""
        with Vertical(id="left"):
            yield Input(id="search", placeholder="F3 search", compact=True)
            yield Tree("syscalls", id="names", name="syscalls by prefix")
        with VerticalScroll(id="one", can_focus=False):
            yield SpanLines(id="help")
            yield ResultView(id="result")


def help_lines(info: SyscallInfo, width: int) -> list[Line]:
    """What a syscall does, and who may call it."""
    from textwrap import wrap

    lines: list[Line] = [((f"/{info.name}", "accent"),)]
    lines += [((text, "strong"),) for text in wrap(clean(info.summary), max(width, 20))]
    for paragraph in info.help.split("\n\n") if info.help else ():
        text = clean(" ".join(paragraph.split()))
        lines += [((line, "text"),) for line in wrap(text, max(width, 20))]
    facts = facts_line(info)
    lines += [((line, "dim"),) for line in wrap(facts, max(width, 20))]
    return lines
