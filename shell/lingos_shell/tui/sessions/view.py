"""One session on the screen: its transcript above, the prompt below."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Static

from lingos_kernel.errors import KernelUnavailable, LingOSError, UnknownName
from lingos_shell.tui.sessions.acting import SessionActions
from lingos_shell.tui.sessions.branches import last_user, start_of
from lingos_shell.tui.sessions.entries import Note, UserMessage
from lingos_shell.tui.sessions.history import entries_of
from lingos_shell.tui.sessions.prompt import CompletionMenu, Prompt
from lingos_shell.tui.sessions.search import SearchBar
from lingos_shell.tui.sessions.session import is_talk
from lingos_shell.tui.sessions.transcript import Transcript

if TYPE_CHECKING:
    from lingos_kernel.client.protocol import KernelClient
    from lingos_shell.language.conversation import Conversation
    from lingos_shell.tui.keyboard import Keyboard
    from lingos_shell.tui.link import KernelLink
    from lingos_shell.tui.sessions.session import Session
    from lingos_shell.tui.sessions.sink import TranscriptSink

T = TypeVar("T")
HISTORY = 30
"""Messages that are shown when a session is opened; earlier ones on demand."""
AGAIN_S = 1.0
"""So long a call that found no kernel waits for the link to notice, before it is made again."""

WELCOME = """[b]LingOS[/b]: an operating system for language models

[$accent]Enter[/]   sends a message; [$accent]/help[/] lists what else can be typed
[$accent]Ctrl+J[/]  begins a new line, [$accent]Tab[/] completes
[$accent]Esc[/]     stops an answer
[$accent]Ctrl+T[/]  begins another session, [$accent]Ctrl+R[/] opens an old one
[$accent]F1[/]      lists all keys
[$accent]F2[/]      shows who runs, who waits, where memory went
[$accent]Ctrl+P[/]  finds everything by its name"""


class Host(Protocol):
    """What a session needs of the program around it."""

    link: KernelLink
    keyboard: Keyboard
    is_readonly: bool

    async def kernel_client(self) -> KernelClient:
        """The client, as soon as it is attached."""


@dataclass(slots=True)
class Pending:
    """A text that is run when its turn comes."""

    text: str
    entry: UserMessage | None
    """Where it stands; None for one that is put behind a fork first."""
    at: int | None = None
    """The token at which to fork before."""
    is_withdrawn: bool = False


class SessionView(SessionActions, Vertical):
    """Texts are run one after another, in the order in which they were sent.

    What is sent before the kernel is there waits for it; an answer that broke off because the
    kernel went away is asked for again.
    """

    HELP_TITLE = "The session"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop_answer", "Stop the answer", show=False, id="session.stop"),
        Binding("ctrl+c", "stop_answer", "Stop the answer", show=False, id="session.interrupt"),
        Binding("ctrl+f", "search", "Search the transcript", show=False, priority=True,
                id="session.search"),
        Binding("ctrl+g", "answer_question", "Go to the call that asks for a yes", show=False,
                priority=True, id="session.question"),
    ]  # fmt: skip
    DEFAULT_CSS = "SessionView { padding: 0 1; height: 1fr; width: 1fr; }"

    class Changed(Message):
        """Raised when name, state or questions of the session have changed."""

    class Left(Message):
        """Raised when a person has typed /exit."""

    def __init__(self, host: Host, session: Session, **widget: Any) -> None:
        super().__init__(**widget)
        self._host = host
        self.session = session
        self.questions = 0
        """Calls that wait for a yes."""
        self.has_news = False
        """Something has come while nobody looked."""
        self._queue: asyncio.Queue[Pending] = asyncio.Queue()
        self._waiting: list[Pending] = []
        self._current: asyncio.Task[None] | None = None
        self._is_wanted = asyncio.Event()
        self._shown: Conversation | None = None
        """The conversation in the transcript; None before the first text."""
        self._messages: list[dict[str, Any]] = []
        """Those of the context when it was opened."""
        self._first = 0
        """The place of the first one that is shown."""
        self._editing: UserMessage | None = None
        self._model = ""
        self._end: int | None = None
        """Tokens of the context; None: not known."""
        self._is_new_to_prompt = True

    def compose(self) -> ComposeResult:
        """What was said above, the prompt below."""
        transcript = Transcript(self._host.keyboard, id="said")
        with transcript:
            if not self.session.name:
                yield Static(WELCOME, id="welcome")
        yield SearchBar(transcript, id="search")
        menu = CompletionMenu()
        yield menu
        yield Prompt(
            id="prompt",
            name="message to the model",
            menu=menu,
            complete=self.session.complete,
        )

    def on_mount(self) -> None:
        """Texts are run as soon as there is a kernel."""
        self.session.on_job_end = self._job_ended
        self.run_all()
        self.call_after_refresh(self._load_language)

    @work(thread=True, group="language")
    def _load_language(self) -> None:
        """Load what texts are run with behind the first frame, while a person begins to type."""
        import lingos_shell.language.interpreter
        import lingos_shell.tui.markdown  # noqa: F401

    @property
    def transcript(self) -> Transcript:
        """What was said."""
        return self.query_one(Transcript)

    @property
    def prompt(self) -> Prompt:
        """Where a person types."""
        return self.query_one(Prompt)

    @property
    def is_running(self) -> bool:
        """Whether something runs."""
        return self._current is not None

    def come_to_front(self) -> None:
        """The session is looked at: now, at the latest, what was said in it is fetched."""
        self._is_wanted.set()
        self.has_news = False
        self.prompt.focus()

    # Sending

    @on(Prompt.Sent)
    async def take(self, event: Prompt.Sent) -> None:
        """Show the text at once; it is run when its turn comes."""
        event.stop()
        await self.send(event.text)

    async def send(self, text: str) -> None:
        """Run a text when its turn comes; in the place of the message that is edited, if one is."""
        if self._host.is_readonly:
            self.notify("read-only: nothing is sent")
            return
        editing, self._editing = self._editing, None
        self._is_wanted.set()
        if editing is not None:
            self.prompt.border_title = ""
            self._enqueue(Pending(text, None, at=editing.at))
            return
        is_queued = self.is_running or bool(self._waiting)
        entry = UserMessage(text, is_queued=is_queued)
        await self.transcript.add(entry)
        self.transcript.anchor()
        if is_queued:
            entry.tell("queued")
        self._enqueue(Pending(text, entry))

    def _enqueue(self, pending: Pending) -> None:
        self._waiting.append(pending)
        self._queue.put_nowait(pending)
        self.post_message(self.Changed())

    @work(exclusive=True, group="answers")
    async def run_all(self) -> None:
        """Show what was said before; then run text after text, for ever."""
        await self._is_wanted.wait()
        if self.session.name:
            await self._with_kernel(self.load)
        while True:
            pending = await self._queue.get()
            self._waiting.remove(pending)
            if not pending.is_withdrawn:
                await self._turn(pending)

    async def _turn(self, pending: Pending) -> None:
        self._current = running = asyncio.ensure_future(self._run(pending))
        self.post_message(self.Changed())
        try:
            await asyncio.wait([running])
        finally:
            running.cancel()
            self._current = None
            self.has_news = not self.transcript.is_on_screen
            self.post_message(self.Changed())
        if not running.cancelled() and (fault := running.exception()):
            raise fault

    async def _run(self, pending: Pending) -> None:
        """Run a text; a message to the model again when the kernel went away meanwhile."""
        from lingos_shell.language.sink import Failed
        from lingos_shell.tui.sessions.sink import TranscriptSink

        self._shown = self._shown or self.session.shell.conversation
        sink = TranscriptSink(
            self.transcript, self.session.approvals, on_question=self._asks, offer=self._offer
        )
        try:
            entry = await self._begin(pending)
            talks = is_talk(pending.text)
            if talks:
                await sink.begin()
            self.session.announce(pending.text)
            while not await self._attempt(pending.text, sink, may_repeat=talks):
                await self._wait_for_kernel()
            await sink.close()
            await self._after(entry, sink)
        except asyncio.CancelledError:
            await sink.close(note="stopped")
            raise
        except LingOSError as error:
            await sink.show(Failed(error))

    async def _begin(self, pending: Pending) -> UserMessage:
        """The entry of a text whose turn has come, behind a fork when it wants one."""
        if pending.at is not None:
            at = pending.at
            await self._with_kernel(lambda: self.session.branch_at(at))
            await self._with_kernel(self.load)
        if pending.entry is None:
            pending.entry = UserMessage(pending.text)
            await self.transcript.add(pending.entry)
            self.transcript.anchor()
        pending.entry.remove_class("queued")
        pending.entry.tell("")
        return pending.entry

    async def _attempt(self, text: str, sink: TranscriptSink, *, may_repeat: bool) -> bool:
        """Run a text; false when it is to be run again, since the kernel went away."""
        from lingos_shell.language.builtin import Leave
        from lingos_shell.language.parser import parse_message
        from lingos_shell.language.sink import Failed

        shell = self.session.shell
        try:
            await shell.run_tree(parse_message(text), sink)
        except Leave:
            self.post_message(self.Left())
        except KernelUnavailable as error:
            if not may_repeat:
                await sink.show(Failed(error))
                return True
            await sink.close(note="the kernel went away; asking again when it is back …")
            return False
        except LingOSError as error:
            await sink.show(Failed(error))
        return True

    async def _after(self, entry: UserMessage, sink: TranscriptSink) -> None:
        """Another conversation may be open now; this one has grown."""
        if self.session.shell.conversation is not self._shown:
            await self._with_kernel(self.load)
            return
        kept = sink.result.get("context") or {}
        self._model = str(sink.result.get("model") or self._model)
        self.show_settings()
        if kept.get("name") != self.session.name or not kept:
            return
        entry.at = self._end if self._end is not None else await self._start_of_last()
        self._end = int(kept["tokens"])
        self.show_branches()

    async def _start_of_last(self) -> int | None:
        messages = await self.session.messages()
        place = last_user(messages)
        return None if place is None else start_of(messages, place)

    # What was said before

    async def load(self) -> None:
        """Show the conversation that is open now. Raises `KernelUnavailable`."""
        self._shown = self.session.shell.conversation
        self._end = None
        try:
            self._messages = await self.session.messages()
        except UnknownName as error:
            self._messages = []
            self.session.shell.conversation = self._shown = type(self._shown)()
            await self.transcript.add(Note.of_error(error))
            return
        self._end = int(self._messages[-1]["end"]) if self._messages else None
        if self._is_new_to_prompt:
            self._is_new_to_prompt = False
            said = (m for m in self._messages if m["role"] == "user")
            self.prompt.remember(str(message.get("content") or "") for message in said)
        self._first = max(0, len(self._messages) - HISTORY)
        await self.transcript.show(entries_of(self._messages, self._first), earlier=self._first)
        self.show_branches()
        self.post_message(self.Changed())

    @on(Transcript.EarlierWanted)
    async def show_earlier(self, event: Transcript.EarlierWanted) -> None:
        """Show more of what was said before."""
        event.stop()
        if self._first:
            last, self._first = self._first, max(0, self._first - HISTORY)
            entries = entries_of(self._messages[:last], self._first)
            await self.transcript.show_earlier(entries, earlier=self._first)
            self.show_branches()

    # For the actions

    def tell_changed(self) -> None:
        """Let whoever draws the tab know."""
        self.post_message(self.Changed())

    def branch(self, text: str, at: int) -> None:
        """Send a text behind what was said up to a token, on a branch of its own."""
        self._enqueue(Pending(text, None, at=at))

    async def rename(self, name: str) -> None:
        """Give the context another name; what is shown stays. Raises what the kernel does."""
        await self.session.rename(name)
        self._shown = self.session.shell.conversation
        self.post_message(self.Changed())

    async def reload(self) -> None:
        """Show the conversation that is open now, as soon as there is a kernel."""
        await self._with_kernel(self.load)

    # The kernel

    async def _with_kernel(self, act: Callable[[], Awaitable[T]]) -> T:
        """Do something, again as long as the kernel goes away."""
        while True:
            try:
                return await act()
            except KernelUnavailable:
                await self._wait_for_kernel()

    async def _wait_for_kernel(self) -> None:
        """Until the link has noticed that the kernel went, or a while when it is still there."""
        try:
            async with asyncio.timeout(AGAIN_S):
                await self._host.link.lost()
        except TimeoutError:
            return
