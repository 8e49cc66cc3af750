"""One session without its widgets: interpreter, process, branches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lingos_kernel.errors import InvalidArguments, InvalidScript
from lingos_shell.tui.sessions.branches import branch_name, branch_points, family_of
from lingos_shell.tui.sessions.client import Attach, SessionClient, SessionProcess
from lingos_shell.tui.sessions.tools import Approvals

if TYPE_CHECKING:
    from lingos_kernel.telemetry.snapshot import ProcessRow, Snapshot
    from lingos_shell.language.builtin import Builtin
    from lingos_shell.language.completion import Completion
    from lingos_shell.language.interpreter import Interpreter
    from lingos_shell.language.jobs import Job


class Session:
    """What a tab works with. Its context is the kernel's, so it outlives the program."""

    def __init__(
        self,
        attach: Attach,
        *,
        name: str = "",
        parent: Callable[[], int | None] = lambda: None,
        words: Callable[[], Mapping[str, Builtin]] | None = None,
        on_job_end: Callable[[Job], None] | None = None,
    ) -> None:
        """`name` is a context to go on with; without it a new one begins with the first message.

        `words` makes the front end's own words of the language.
        """
        self._process = SessionProcess(attach, parent=parent)
        self.client = SessionClient(self._process)
        self.approvals = Approvals()
        self.on_job_end = on_job_end
        self._first_name = name
        self._words = words

    @cached_property
    def shell(self) -> Interpreter:
        """Runs texts; made when it is first wanted, since the language takes time to load."""
        from lingos_shell.language.conversation import KeptConversation
        from lingos_shell.language.interpreter import Interpreter

        conversation = KeptConversation(self._first_name, is_new=not self._first_name)
        words = self._words() if self._words else None
        shell = Interpreter(self.client, conversation=conversation, words=words)
        if self.on_job_end:
            shell.jobs.on_end = self.on_job_end
        return shell

    @property
    def is_loaded(self) -> bool:
        """Whether the shell was made."""
        return "shell" in vars(self)

    async def complete(self, text: str) -> list[Completion]:
        """What could stand at the end of the text."""
        return await self.shell.complete(text)

    @property
    def name(self) -> str:
        """Of its context; empty as long as it has none."""
        return self.shell.conversation.name if self.is_loaded else self._first_name

    @property
    def pid(self) -> int | None:
        """Of its process; None before the first call."""
        return self._process.pid

    def row(self, snapshot: Snapshot | None) -> ProcessRow | None:
        """Its process as the scheduler shows it."""
        if snapshot is None or self.pid is None:
            return None
        return next((row for row in snapshot.processes if row.pid == self.pid), None)

    def announce(self, text: str) -> None:
        """What the process is called, unless it is open already: the name, or what is asked."""
        from lingos_shell.language.conversation import name_of

        self._process.command = f"session {self.name or name_of(text)}"
        self.shell.pid = self.pid

    async def messages(self) -> list[dict[str, Any]]:
        """What the context holds; nothing when there is none yet. Raises `UnknownContext`."""
        if not self.name or getattr(self.shell.conversation, "is_new", False):
            return []
        shown = await self.client.call("ctx.show", name=self.name)
        return [message for message in shown["messages"] if message.get("whole", True)]

    async def contexts(self) -> list[dict[str, Any]]:
        """All contexts, the ones that changed last first."""
        listed = await self.client.call("ctx.list")
        return sorted(listed, key=lambda head: -float(head["updated_s"]))

    async def branch_points(self) -> dict[int, list[str]]:
        """Where the conversation branches; see `branches.branch_points`."""
        family = family_of(self.name, await self.client.call("ctx.list"))
        if self.name not in family or len(family) < 2:
            return {}
        shown = {
            name: (await self.client.call("ctx.show", name=name))["messages"] for name in family
        }
        return branch_points(self.name, shown)

    async def branch_at(self, token: int) -> None:
        """Go on with a fork that holds what was said up to a token."""
        taken = {str(head["name"]) for head in await self.client.call("ctx.list")}
        fork = branch_name(self.name, taken)
        await self.client.call("ctx.fork", name=self.name, to=fork, at=token)
        self.go_to(fork)

    def go_to(self, name: str) -> None:
        """Go on with another context."""
        from lingos_shell.language.conversation import KeptConversation

        self.shell.conversation = KeptConversation(name, is_new=False)

    async def rename(self, name: str) -> None:
        """Give the context another name. Raises what `ctx.fork` raises for one that is taken."""
        if not self.name:
            from lingos_shell.language.conversation import KeptConversation

            self.shell.conversation = KeptConversation(name)
            return
        before = self.name
        if name == before:
            return
        await self.client.call("ctx.fork", name=before, to=name)
        await self.client.with_options(confirmed=True).call("ctx.remove", name=before)
        self.go_to(name)

    async def append_result(self, tool: str, value: str) -> None:
        """Let the model know what a call gave that was made after its answer."""
        message = {"role": "tool", "name": tool, "content": value}
        await self.client.call("ctx.append", name=self.name, messages=[message])

    async def close(self) -> None:
        """End background jobs and the process; the context stays."""
        if self.is_loaded:
            await self.shell.close()
        await self._process.close()


def is_talk(text: str) -> bool:
    """Whether a text is a message to the model and nothing else: it can be asked again."""
    from lingos_shell.language.parser import parse_message
    from lingos_shell.language.syntax import Pipeline, Talk

    try:
        pipelines = parse_message(text).pipelines
    except InvalidScript:
        return False
    match pipelines:
        case (Pipeline(stages=(Talk(),), is_background=False),):
            return True
    return False


def checked_name(name: str) -> str:
    """A name for a session as a person has typed it. Raises `InvalidArguments`."""
    words = "-".join(name.split())
    if not words:
        raise InvalidArguments("a session needs a name", hint="letters, digits, . _ - @ : / +")
    return words
