"""What every `KernelClient` promises: in process, and over a real server on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel import Context, Result, __version__, syscall
from lingos_kernel.client.http import HttpClient
from lingos_kernel.client.local import LocalClient
from lingos_kernel.client.protocol import KernelClient
from lingos_kernel.errors import (
    CallTimeout,
    Cancelled,
    ConfirmationRequired,
    InvalidArguments,
    LingOSError,
    SyscallFailed,
    UnknownProcess,
    UnknownSyscall,
    _tree,
    from_wire,
    to_wire,
)
from lingos_kernel.kernel import Kernel
from lingos_kernel.syscalls.events import Accepted, Failure, Item, Progress
from lingos_kernel.syscalls.events import Result as ResultEvent

WAIT_S = 20.0
CROWD = 50
ERRORS = sorted(set(_tree(LingOSError).values()), key=lambda kind: kind.__name__)


@dataclass
class Stage:
    """What the test's syscalls tell the test."""

    began: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    crowd: asyncio.Barrier = field(default_factory=lambda: asyncio.Barrier(CROWD))
    items_made: int = 0


def data_syscalls(stage: Stage) -> list[Any]:
    """Syscalls that give something back."""

    @syscall("stage.echo")
    async def echo(data: Any) -> Any:
        """Give the argument back."""
        return data

    @syscall("stage.fail")
    async def fail(error: dict[str, Any]) -> None:
        """Raise an error."""
        raise from_wire(error)

    @syscall("stage.crash")
    async def crash() -> None:
        """Raise what no syscall should."""
        raise ZeroDivisionError("oops")

    @syscall("stage.count")
    async def count(n: int) -> AsyncGenerator[Any, None]:
        """Stream numbers, then their sum."""
        for number in range(n):
            stage.items_made += 1
            yield {"number": number}
        yield Result(sum(range(n)))

    return [echo, fail, crash, count]


def other_syscalls(stage: Stage) -> list[Any]:
    """Syscalls that wait, ask, or look at their caller."""

    @syscall("stage.hang")
    async def hang(context: Context, items: int = 0) -> AsyncGenerator[Any, None]:
        """Stream some items, then nothing, for ever."""
        try:
            context.progress(1, 2, unit="steps", label="half")
            for number in range(items):
                yield number
            stage.began.set()
            await asyncio.Event().wait()
        finally:
            stage.ended.set()

    @syscall("stage.meet")
    async def meet(number: int) -> int:
        """Return once a crowd of calls is here at the same time."""
        await stage.crowd.wait()
        return number

    @syscall("stage.whoami")
    async def whoami(context: Context) -> dict[str, Any]:
        """Tell whose call this is."""
        return {"pid": context.pid, "kind": context.principal.kind, "name": context.principal.name}

    @syscall("stage.wipe", confirm=True)
    async def wipe(what: str) -> str:
        """Wipe something, if a person says yes."""
        return f"wiped {what}"

    return [hang, meet, whoami, wipe]


@pytest.fixture
async def stage() -> Stage:
    """Events of the test's syscalls."""
    return Stage()


@pytest.fixture
def kernel(scripted_kernel: Kernel, stage: Stage) -> Kernel:
    """A real kernel on a scripted engine, with the test's syscalls."""
    for function in (*data_syscalls(stage), *other_syscalls(stage)):
        scripted_kernel.table.register(function, "stage")
    return scripted_kernel


@pytest.fixture(params=["local", "http"])
async def client(
    request: pytest.FixtureRequest, kernel: Kernel, serve_kernel: Any
) -> AsyncIterator[KernelClient]:
    """A client of the kernel, in process or over a socket."""
    if request.param == "local":
        await kernel.start()
        async with LocalClient(kernel) as local:
            yield local
        await kernel.stop()
    else:
        async with serve_kernel(kernel) as path, HttpClient(path) as http:
            yield http


async def within(awaitable: Any) -> Any:
    """The result, soon."""
    return await asyncio.wait_for(awaitable, WAIT_S)


class TestCall:
    """`call`."""

    async def test_result_comes_back_as_it_was(self, client: KernelClient) -> None:
        """JSON data survives the way there and back, Unicode included."""
        for data in (
            None,
            0,
            -1.5,
            2**63,
            True,
            "",
            "Grüße, 世界, 👩‍👩‍👧, \u0000, \u2028",
            [],
            {"a": [1, {"b": None}], "ключ": "ü"},
        ):
            result = await within(client.call("stage.echo", data=data))
            assert result == data
            assert type(result) is type(data)

    async def test_arguments_become_json(self, client: KernelClient) -> None:
        """Tuples and paths arrive as lists and texts, whichever client is used."""
        result = await client.call("stage.echo", data={"a": (1, 2), "p": Path("/x/y")})
        assert result == {"a": [1, 2], "p": "/x/y"}

    async def test_argument_without_json_form_is_refused(self, client: KernelClient) -> None:
        """What cannot travel is the caller's mistake, and says so before anything is sent."""
        for data in ("\ud800", object(), {1j}):
            with pytest.raises(InvalidArguments, match=r"stage\.echo"):
                await client.call("stage.echo", data=data)

    async def test_big_data_passes(self, client: KernelClient) -> None:
        """Five megabytes go in and come out whole."""
        text = "0123456789abcdef" * (5 * 65536)
        assert await within(client.call("stage.echo", data=text)) == text

    async def test_error_keeps_its_class(self, client: KernelClient) -> None:
        """Every class of the error tree arrives as itself, with message, hint and details."""
        details = {"retry_after_s": 1.5, "sums": [1, 2]}
        for kind in ERRORS:
            sent = {"code": kind.code, "message": "it broke", "hint": "mend it", "details": details}
            with pytest.raises(LingOSError) as caught:
                await within(client.call("stage.fail", error=sent))
            assert type(caught.value) is kind
            assert to_wire(caught.value) == sent

    async def test_exception_of_a_syscall_is_told(self, client: KernelClient) -> None:
        """An exception that is no LingOS error arrives as `SyscallFailed` with its message."""
        with pytest.raises(SyscallFailed, match="oops"):
            await client.call("stage.crash")

    async def test_unknown_syscall(self, client: KernelClient) -> None:
        """A name that nobody registered is refused, with the near ones in the hint."""
        with pytest.raises(UnknownSyscall, match=r"stage\.ecko") as caught:
            await client.call("stage.ecko")
        assert "stage.echo" in caught.value.hint

    async def test_strange_names_are_unknown(self, client: KernelClient) -> None:
        """Whatever stands in a name, it is only a name."""
        for name in ("", "a b/../c?d=e#f", "ünï.cödé", "x" * 3000, "%2e%2e", ".."):
            with pytest.raises(UnknownSyscall):
                await client.call(name)

    async def test_wrong_arguments(self, client: KernelClient) -> None:
        """Missing, ill-typed and unknown arguments are refused."""
        for arguments in ({}, {"n": "many"}, {"n": 1, "m": 2}):
            with pytest.raises(InvalidArguments):
                await client.call("stage.count", **arguments)

    async def test_cancelling_the_task_cancels_the_call(
        self, client: KernelClient, stage: Stage
    ) -> None:
        """The kernel's side ends, too."""
        task = asyncio.create_task(client.call("stage.hang"))
        await within(stage.began.wait())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await within(stage.ended.wait())

    async def test_many_calls_run_at_the_same_time(self, client: KernelClient) -> None:
        """Fifty calls of one client meet in the kernel, and each gets its own result."""
        calls = [client.call("stage.meet", number=number) for number in range(CROWD)]
        assert await within(asyncio.gather(*calls)) == list(range(CROWD))

    async def test_calls_follow_each_other(self, client: KernelClient) -> None:
        """A client is good for any number of calls, failing ones between them."""
        for number in range(20):
            assert await client.call("stage.echo", data=number) == number
            with pytest.raises(UnknownSyscall):
                await client.call("stage.nothing")


class TestStream:
    """`stream`."""

    async def test_events_come_in_order(self, client: KernelClient) -> None:
        """First the acceptance, then every item in order, then the result, and nothing more."""
        events = [event async for event in client.stream("stage.count", n=500)]
        assert isinstance(events[0], Accepted)
        assert events[1:-1] == [Item({"number": number}) for number in range(500)]
        assert events[-1] == ResultEvent(sum(range(500)))

    async def test_items_come_while_the_call_runs(self, client: KernelClient, stage: Stage) -> None:
        """Progress and items are here before the call ends."""
        async with aclosing(client.stream("stage.hang", items=2)) as events:
            seen = [await within(anext(events)) for _ in range(4)]
            assert isinstance(seen[0], Accepted)
            assert Progress(1, 2, unit="steps", label="half") in seen
            assert [event for event in seen if isinstance(event, Item)] == [Item(0), Item(1)]
            assert not stage.ended.is_set()

    async def test_closing_early_cancels_the_call(self, client: KernelClient, stage: Stage) -> None:
        """Leaving the stream ends the call in the kernel."""
        async with aclosing(client.stream("stage.hang")) as events:
            await within(anext(events))
            await within(stage.began.wait())
        await within(stage.ended.wait())
        assert await client.call("stage.echo", data="still there") == "still there"

    async def test_slow_reader_slows_the_syscall_down(
        self, client: KernelClient, stage: Stage
    ) -> None:
        """Items that nobody reads yet do not pile up without bound, and none is lost."""
        async with aclosing(client.stream("stage.count", n=200_000)) as events:
            await within(anext(events))
            for _ in range(200):  # gives the kernel time to run ahead as far as it may
                await asyncio.sleep(0)
            assert stage.items_made < 200_000

    async def test_failures_are_the_last_event(self, client: KernelClient) -> None:
        """A call that is refused or fails ends its stream in a `Failure`; nothing is raised."""
        for name, arguments, code in (
            ("stage.nothing", {}, "unknown_syscall"),
            ("stage.count", {"n": "many"}, "invalid_arguments"),
            ("stage.wipe", {"what": "x"}, "confirmation_required"),
            ("stage.crash", {}, "syscall_failed"),
        ):
            *before, last = [event async for event in client.stream(name, **arguments)]
            assert isinstance(last, Failure)
            assert last.error["code"] == code
            assert not any(isinstance(event, Failure) for event in before)


class TestOptions:
    """`with_options` and `open_process`."""

    async def test_time_limit(self, client: KernelClient, stage: Stage) -> None:
        """A call that takes too long ends as `CallTimeout`, in the kernel, too."""
        with pytest.raises(CallTimeout):
            await within(client.with_options(timeout_s=0.05).call("stage.hang"))
        await within(stage.ended.wait())

    async def test_confirmation(self, client: KernelClient) -> None:
        """A destructive syscall runs only when a person has said yes."""
        with pytest.raises(ConfirmationRequired):
            await client.call("stage.wipe", what="it")
        confirmed = client.with_options(confirmed=True)
        assert await confirmed.call("stage.wipe", what="it") == "wiped it"
        with pytest.raises(ConfirmationRequired):
            await client.call("stage.wipe", what="it")

    async def test_kind_of_caller(self, client: KernelClient) -> None:
        """The kernel learns what kind of caller it is."""
        assert (await client.call("stage.whoami"))["kind"] == "code"
        human = client.with_options(caller="human")
        assert (await human.call("stage.whoami"))["kind"] == "human"

    async def test_calls_belong_to_the_opened_process(
        self, client: KernelClient, kernel: Kernel
    ) -> None:
        """After `open_process` the client's calls, and its views' calls, are that process's."""
        before = await client.call("stage.whoami")
        pid = await client.open_process("the test", kind="job", priority=7)
        process = kernel.processes.get(pid)
        assert (process.command, process.kind, process.priority) == ("the test", "job", 7)
        assert before["pid"] != pid
        assert (await client.call("stage.whoami"))["pid"] == pid
        assert (await client.with_options(priority=9).call("stage.whoami"))["pid"] == pid

    async def test_second_process_replaces_the_first(
        self, client: KernelClient, kernel: Kernel
    ) -> None:
        """A client has one process of its own."""
        first = await client.open_process("one")
        second = await client.open_process("two")
        assert (await client.call("stage.whoami"))["pid"] == second
        await within(ended(kernel, first))

    async def test_process_of_another_client(self, client: KernelClient) -> None:
        """A call can be made in a process by its pid."""
        pid = await client.open_process("one")
        view = client.with_options(pid=pid)
        assert (await view.call("stage.whoami"))["pid"] == pid

    async def test_unknown_process(self, client: KernelClient) -> None:
        """A pid that nobody has is refused."""
        with pytest.raises(UnknownProcess):
            await client.with_options(pid=4_000_000).call("stage.whoami")

    async def test_strange_process_is_refused(self, client: KernelClient) -> None:
        """A process needs a kind and a priority that exist."""
        with pytest.raises(InvalidArguments):
            await client.open_process("x", kind="kernel")
        with pytest.raises(InvalidArguments):
            await client.open_process("x", priority=99)

    async def test_killed_process_ends_its_calls(
        self, client: KernelClient, kernel: Kernel, stage: Stage
    ) -> None:
        """A call whose process is ended is cancelled."""
        pid = await client.open_process("doomed")
        task = asyncio.create_task(client.call("stage.hang"))
        await within(stage.began.wait())
        kernel.processes.close(pid, "the test says so")
        with pytest.raises(Cancelled, match="the test says so"):
            await within(task)

    async def test_priority(self, client: KernelClient, kernel: Kernel, stage: Stage) -> None:
        """A call has the priority that it was given, else its process's."""
        await client.open_process("x", priority=4)
        for view, expected in ((client, 4), (client.with_options(priority=11), 11)):
            stage.began.clear()
            task = asyncio.create_task(view.call("stage.hang"))
            await within(stage.began.wait())
            assert [call.priority for call in kernel.dispatcher.calls()] == [expected]
            task.cancel()
            await asyncio.wait({task})
        with pytest.raises(InvalidArguments):
            await client.with_options(priority=20).call("stage.whoami")


class TestLooking:
    """`ping` and `syscalls`."""

    async def test_ping(self, client: KernelClient) -> None:
        """The kernel tells its version, process and start."""
        answer = await client.ping()
        assert answer["version"] == __version__
        assert answer["warning"] == ""
        assert isinstance(answer["os_pid"], int)
        assert isinstance(answer["started_s"], float)

    async def test_syscalls(self, client: KernelClient, kernel: Kernel) -> None:
        """The list has every syscall, by name, with all that a form needs."""
        infos = await client.syscalls()
        assert infos == kernel.table.infos()
        count = next(info for info in infos if info.name == "stage.count")
        assert count.streams
        assert count.arguments["required"] == ["n"]


async def ended(kernel: Kernel, pid: int) -> None:
    """Wait until a process has ended."""
    while any(process.pid == pid for process in kernel.processes.processes()):
        await asyncio.sleep(0)
