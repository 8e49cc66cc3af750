"""One conversation: what was said, and a prompt; answers stream in as Markdown."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Static
from textual.worker import Worker

from lingos_kernel.errors import KernelUnavailable, LingOSError, from_wire
from lingos_kernel.syscalls.events import Failure, Item, Progress, Result
from lingos_shell.tui.sessions.prompt import Prompt
from lingos_shell.tui.spans import clean
from lingos_shell.tui.units import rate, seconds

if TYPE_CHECKING:
    from textual.widgets import Markdown

    from lingos_kernel.client.protocol import KernelClient


WELCOME = """[b]LingOS[/b]: an operating system for language models

[$accent]Enter[/]   sends a message; the answer streams in here
[$accent]Ctrl+J[/]  begins a new line
[$accent]Esc[/]     stops an answer
[$accent]F1[/]      lists all keys
[$accent]F2[/]      shows who runs, who waits, where memory went
[$accent]Ctrl+P[/]  finds everything by its name"""


class Host(Protocol):
    """What a conversation needs of the program around it."""

    async def kernel_client(self) -> KernelClient:
        """The client, as soon as it is attached."""


class Conversation(Vertical):
    """Messages are answered one after another, in the order in which they were sent.

    What is sent before the kernel is there waits for it; an answer that broke off because the
    kernel went away is asked for again.
    """

    HELP_TITLE = "The conversation"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop_answer", "Stop the answer", show=False, id="session.stop"),
        Binding("ctrl+c", "stop_answer", "Stop the answer", show=False, id="session.interrupt"),
    ]
    DEFAULT_CSS = """
    Conversation { padding: 0 1; }
    Conversation #said { height: 1fr; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
    Conversation .you {
        margin: 1 0 0 0; padding: 0 1; width: 1fr; height: auto;
        border-left: outer $accent; color: $foreground; text-style: bold;
    }
    Conversation .answer { margin: 1 0 0 1; padding: 0 1; height: auto; }
    Conversation .note { padding: 0 2; color: $foreground 55%; height: auto; }
    Conversation .failed { color: $error; }
    Conversation #welcome { padding: 1 2; color: $foreground 70%; height: auto; }
    """

    def __init__(self, **widget: Any) -> None:
        super().__init__(**widget)
        self.messages: list[dict[str, Any]] = []
        self._waiting: asyncio.Queue[str] = asyncio.Queue()
        self._answering: asyncio.Task[None] | None = None

    def compose(self) -> ComposeResult:
        """What was said above, the prompt below."""
        with VerticalScroll(id="said", can_focus=False) as said:
            said.anchor()
            yield Static(WELCOME, id="welcome")
        yield Prompt(id="prompt", name="message to the model")

    def on_mount(self) -> None:
        """Keys go to the prompt; answers begin as soon as there is a kernel."""
        self.query_one(Prompt).focus()
        self.answer_all()

    @on(Prompt.Sent)
    async def take(self, event: Prompt.Sent) -> None:
        """Show the message at once; it is answered when its turn comes."""
        event.stop()
        await self._say(Static(clean_lines(event.text), classes="you", markup=False))
        self._waiting.put_nowait(event.text)

    def action_stop_answer(self) -> None:
        """Stop the answer that is coming; say how to quit when there is none."""
        if self._answering is not None:
            self._answering.cancel()
        else:
            self.notify("Ctrl+Q quits")

    @work(exclusive=True, group="answers")
    async def answer_all(self) -> None:
        """Answer message after message, for ever."""
        while True:
            text = await self._waiting.get()
            self.messages.append({"role": "user", "content": text})
            self._answering = asyncio.ensure_future(self._answer())
            try:
                await asyncio.wait([self._answering])
                if self._answering.cancelled():
                    self.messages.pop()
                    await self._note("stopped")
                elif error := self._answering.exception():
                    raise error
            finally:
                self._answering.cancel()
                self._answering = None

    async def _answer(self) -> None:
        """Answer the last message; again when the kernel went away meanwhile."""
        from textual.widgets import Markdown  # the parser is dear: only with the first answer

        markdown = Markdown("…", classes="answer", open_links=False)
        await self._say(markdown)
        while True:
            host = cast(Host, self.app)
            client = await host.kernel_client()
            try:
                result = await self._stream(client, markdown)
            except KernelUnavailable:
                await markdown.update("*The kernel went away; asking again when it is back …*")
                await asyncio.sleep(0)
                continue
            except LingOSError as error:
                await markdown.remove()
                self.messages.pop()
                hint = f"\n{error.hint}" if error.hint else ""
                await self._note(f"{error.message}{hint}", classes="note failed")
                return
            self.messages.append({"role": "assistant", "content": result["text"]})
            await self._note(usage_text(result))
            return

    async def _stream(self, client: KernelClient, markdown: Markdown) -> dict[str, Any]:
        """Show the answer as it comes; returns the result."""
        from textual.widgets import Markdown

        await markdown.update("…")
        stream = None
        whole = ""
        try:
            async with aclosing(client.stream("llm.chat", messages=[*self.messages])) as events:
                async for event in events:
                    match event:
                        case Item({"text": str(text)}):
                            if stream is None:
                                await markdown.update("")
                                stream = Markdown.get_stream(markdown)
                            whole += text
                            await stream.write(text)
                        case Progress(label=label, done=done, total=total):
                            share = f" {done / total:.0%}" if total else ""
                            await markdown.update(f"*{clean(label) or 'working'}{share} …*")
                        case Failure(error):
                            raise from_wire(error)
                        case Result(data):
                            result: dict[str, Any] = data
        finally:
            if stream is not None:
                await stream.stop()
        await markdown.update(whole.strip() or result["text"])
        return result

    async def _note(self, text: str, classes: str = "note") -> None:
        await self._say(Static(text, classes=classes, markup=False))

    async def _say(self, widget: Static | Markdown) -> None:
        said = self.query_one("#said", VerticalScroll)
        await said.query("#welcome").remove()
        await said.mount(widget)

    def workers_done(self) -> list[Worker[Any]]:
        """The workers of this conversation (tests wait for them)."""
        return [worker for worker in self.workers if worker.node is self]


def clean_lines(text: str) -> str:
    """The text without control characters other than line ends and tabs."""
    return "\n".join(clean(line.expandtabs(4)) for line in text.splitlines())


def usage_text(result: dict[str, Any]) -> str:
    """What an answer took: tokens, rate, times."""
    usage = result.get("usage", {})
    total_s, tokens = usage.get("total_s") or 0.0, usage.get("output_tokens", 0)
    parts = [
        str(result.get("model", "")),
        f"{tokens} tokens",
        f"{rate(tokens / total_s if total_s else 0.0)} tok/s",
        f"first after {seconds(usage.get('first_token_s'))}",
        f"{seconds(total_s)} in all",
    ]
    cut = " · cut at the token limit" if result.get("finish_reason") == "length" else ""
    return " · ".join(part for part in parts if part) + cut
