"""What can be done in a session beside sending: stop, edit, branch, copy, search, approve."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from textual import on, work
from textual.widget import Widget

from lingos_kernel.errors import LingOSError
from lingos_shell.language.values import text_of
from lingos_shell.tui.sessions.answer import Answer
from lingos_shell.tui.sessions.entries import Entry, Note, UserMessage
from lingos_shell.tui.sessions.prompt import Prompt
from lingos_shell.tui.sessions.reader import Reader
from lingos_shell.tui.sessions.search import SearchBar
from lingos_shell.tui.sessions.tools import Approval, ToolBlock
from lingos_shell.tui.sessions.transcript import Transcript

if TYPE_CHECKING:
    from lingos_shell.language.jobs import Job
    from lingos_shell.tui.sessions.session import Session
    from lingos_shell.tui.sessions.view import Pending

EDITS = "another branch: Enter sends it, Esc leaves it"


class SessionActions(Widget):
    """The actions of a `SessionView`."""

    if TYPE_CHECKING:
        session: Session
        questions: int
        _current: asyncio.Task[None] | None
        _waiting: list[Pending]
        _editing: UserMessage | None
        _model: str

        @property
        def transcript(self) -> Transcript:
            """What was said."""

        @property
        def prompt(self) -> Prompt:
            """Where a person types."""

        @property
        def is_running(self) -> bool:
            """Whether something runs."""

        def tell_changed(self) -> None:
            """Let whoever draws the tab know."""

        def branch(self, text: str, at: int) -> None:
            """Send a text on a branch of its own."""

        async def reload(self) -> None:
            """Show the conversation that is open now."""

    # Stopping

    def action_stop_answer(self) -> None:
        """Leave the edit, else stop the run; else go to the prompt, or say how to quit."""
        if self._editing is not None:
            self._editing = None
            self.prompt.text = ""
            self.prompt.border_title = ""
        elif self._current is not None:
            self._current.cancel()
        elif not self.prompt.has_focus:
            self.prompt.focus()
        else:
            self.notify("Ctrl+Q quits")

    @on(Prompt.Scrolled)
    def _scrolled(self, event: Prompt.Scrolled) -> None:
        event.stop()
        page = self.transcript.scroll_page_up if event.by < 0 else self.transcript.scroll_page_down
        page(animate=False)

    # The selected entry

    @on(Transcript.Asked)
    def _asked(self, event: Transcript.Asked) -> None:
        event.stop()
        entry = event.entry
        message = self.transcript.user_before(entry)
        match event.what:
            case "open":
                self.open_entry(entry)
            case "copy":
                self.app.copy_to_clipboard(entry.plain)
                self.notify("copied")
            case "edit":
                self.edit(message)
            case "regenerate":
                self.regenerate(message)
            case "withdraw":
                self.withdraw(message)
            case "branch_before" | "branch_after":
                self.switch_branch(message, -1 if event.what == "branch_before" else 1)

    def open_entry(self, entry: Entry) -> None:
        """Show all of it, else unfold it."""
        if isinstance(entry, ToolBlock):
            entry.toggle()
        elif isinstance(entry, Answer) and not entry.is_cut:
            entry.toggle_reasoning()
        elif entry.is_cut:
            self.app.push_screen(Reader(entry.plain))

    def edit(self, message: UserMessage | None) -> None:
        """Let a person change a message; sent again, it begins a branch."""
        if message is None:
            return
        if self.withdraw(message):
            self.prompt.fill(message.text)
        elif message.at is None:
            self.notify("this message is not part of the conversation: it was not answered")
        else:
            self._editing = message
            self.prompt.border_title = EDITS
            self.prompt.fill(message.text)

    def regenerate(self, message: UserMessage | None) -> None:
        """Have a message answered once more, on a branch of its own."""
        if message is None or message.at is None:
            self.notify("there is no answer to be made again")
        else:
            self.branch(message.text, message.at)

    def withdraw(self, message: UserMessage | None) -> bool:
        """Take back a message whose turn has not come; whether there was one."""
        pending = next((p for p in self._waiting if p.entry is message and message), None)
        if pending is None or pending.is_withdrawn:
            return False
        pending.is_withdrawn = True
        assert message is not None
        message.remove()
        self.transcript.select(None)
        return True

    # Branches

    def switch_branch(self, message: UserMessage | None, by: int) -> None:
        """Go to the branch before or after, where the message has some."""
        if message is None or not message.branches:
            self.notify("the conversation has no other branch here; e edits a message")
        elif self.is_running:
            self.notify("an answer is coming; Esc stops it")
        else:
            names = message.branches
            place = names.index(self.session.name) if self.session.name in names else 0
            self.session.go_to(names[(place + by) % len(names)])
            self._reload()

    @work(exclusive=True, group="reload")
    async def _reload(self) -> None:
        await self.reload()
        self.transcript.focus(scroll_visible=False)

    @work(exclusive=True, group="branches", exit_on_error=False)
    async def show_branches(self) -> None:
        """Say at each message whether there are other branches."""
        try:
            points = await self.session.branch_points()
        except LingOSError:
            return  # a kernel that is gone; it is asked again after the next answer
        for entry in self.transcript.entries:
            if isinstance(entry, UserMessage) and entry.at is not None:
                entry.show_branches(points.get(entry.at, []), self.session.name)

    # Searching

    def action_search(self) -> None:
        """Open the search; again: the next place."""
        bar = self.query_one(SearchBar)
        if bar.has_class("open"):
            bar.action_go(-1)
        else:
            bar.open()

    @on(SearchBar.Closed)
    def _search_closed(self, event: SearchBar.Closed) -> None:
        event.stop()
        self.prompt.focus()

    # Questions

    def action_answer_question(self) -> None:
        """Bring the keyboard to the first call that asks."""
        if asking := self.query(Approval):
            asking.first().focus()
        else:
            self.notify("nothing asks for a yes")

    def _asks(self, more: int) -> None:
        self.questions += more
        if more > 0:
            self.notify("a call asks for a yes: Ctrl+G goes there")
        self.tell_changed()

    @on(Approval.Decided)
    def _decided(self, event: Approval.Decided) -> None:
        event.stop()
        self.prompt.focus()

    def _offer(self, block: ToolBlock) -> None:
        """The model wanted a call that only a person may allow."""
        self.run_worker(self._call_for_model(block), group="offers", exit_on_error=False)

    async def _call_for_model(self, block: ToolBlock) -> None:
        approvals = self.session.approvals
        may = approvals.known(block.tool)
        if may is None:
            self._asks(1)
            try:
                decision = await block.ask(f"The model wants to call /{block.tool}. May it?")
            finally:
                self._asks(-1)
            may = approvals.take(block.tool, decision)
        told = await self._call_confirmed(block) if may else self._refused(block)
        if self._current is not None:
            await asyncio.wait([self._current])  # its turn holds the context
        try:
            await self.session.append_result(block.tool, told)
        except LingOSError as error:
            await self.transcript.add(Note.of_error(error))

    async def _call_confirmed(self, block: ToolBlock) -> str:
        """Make the call, show what came of it; returns what the model is told."""
        sure = self.session.client.with_options(confirmed=True)
        try:
            value = await sure.call(block.tool, **block.arguments)
        except LingOSError as error:
            block.returned(error={"message": error.message, "hint": error.hint})
            return f"error: {error.message}"
        block.returned(value)
        return text_of(value)

    def _refused(self, block: ToolBlock) -> str:
        """Show that the call was refused; returns what the model is told."""
        block.returned(error={"message": "refused"})
        return "The user refused this call; nothing was done."

    # The rest

    def _job_ended(self, job: Job) -> None:
        why = ""
        if job.state == "failed":
            why = f": {getattr(job.task.exception(), 'message', job.task.exception())}"
        note = Note(f"[{job.number}] {job.state}  {job.source}{why}")
        self.run_worker(self.transcript.add(note), group="notes")

    def show_settings(self) -> None:
        """Model and settings at the edge of the prompt."""
        settings = self.session.shell.settings
        model = settings.model or self._model
        chosen = [f"{name} {text_of(value)[:20]}" for name, value in settings.options.items()]
        self.prompt.border_subtitle = " · ".join(part for part in (model, *chosen) if part)
