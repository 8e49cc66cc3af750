"""A stand-in for a kernel, and a way to run command lines against it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel.errors import KernelUnavailable, LingOSError, UnknownSyscall, to_wire
from lingos_kernel.syscalls.events import Accepted, AnyEvent, Failure, Item, Result
from lingos_kernel.syscalls.spec import SyscallInfo
from lingos_shell.command_line import execute
from lingos_shell.invocation import Invocation

Answer = Callable[..., Any]
USAGE = {
    "prompt_tokens": 5,
    "output_tokens": 2,
    "cached_tokens": 0,
    "queue_s": 0.01,
    "first_token_s": 0.1,
    "total_s": 0.2,
}


def make_info(name: str, arguments: Mapping[str, Any] | None = None, **facts: Any) -> SyscallInfo:
    """A `SyscallInfo` with plain defaults."""
    plain = {
        "owner": "builtin",
        "summary": f"Does {name}.",
        "help": "",
        "capability": name,
        "cost": "io",
        "timeout_s": None,
        "confirm": False,
        "streams": False,
        "returns": {},
    }
    return SyscallInfo(
        name=name, arguments=arguments or {"type": "object", "properties": {}}, **(plain | facts)
    )


CHAT = make_info(
    "llm.chat",
    {
        "type": "object",
        "properties": {
            "messages": {"type": "array", "items": {"type": "object"}},
            "model": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "temperature": {"type": "number"},
            "top_k": {"type": "integer"},
            "stop": {"type": "array", "items": {"type": "string"}},
            "logit_bias": {"type": "object", "additionalProperties": {"type": "number"}},
            "n": {"type": "integer"},
        },
        "required": ["messages"],
    },
    streams=True,
)


@dataclass
class StandIn:
    """A `KernelClient` whose syscalls are the test's own functions.

    A function returns the result, raises the error, or returns a list of items and the result
    wrapped in `Result`.
    """

    answers: dict[str, Answer] = field(default_factory=dict)
    infos: list[SyscallInfo] = field(default_factory=lambda: [CHAT])
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    opened: list[tuple[str, str, int]] = field(default_factory=list)
    options: list[dict[str, Any]] = field(default_factory=list)
    running: bool = True
    cancelled: list[str] = field(default_factory=list)

    async def __aenter__(self) -> StandIn:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    async def connect(self, _invocation: Invocation, start: bool) -> StandIn:
        """As `Invocation.connect` wants it."""
        if not (self.running or start):
            raise KernelUnavailable(
                "no kernel answers", hint="start one with `lingos kernel start`", reason="absent"
            )
        return self

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """The result of the test's function."""
        *_, end = [event async for event in self.stream(name, **arguments)]
        if isinstance(end, Failure):
            from lingos_kernel.errors import from_wire

            raise from_wire(end.error)
        return end.data

    async def stream(self, name: str, /, **arguments: Any) -> AsyncGenerator[AnyEvent, None]:
        """The events that the test's function describes."""
        self.calls.append((name, arguments))
        yield Accepted("call-1", 2)
        try:
            if name not in self.answers:
                raise UnknownSyscall(f"unknown syscall {name!r}")
            answer = self.answers[name](**arguments)
            if asyncio.iscoroutine(answer):
                answer = await answer
        except LingOSError as error:
            yield Failure(to_wire(error))
            return
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        items = answer if isinstance(answer, list) and _is_events(answer) else [Result(answer)]
        for item in items:
            yield item

    async def syscalls(self) -> list[SyscallInfo]:
        """The syscalls that the test declared."""
        return self.infos

    async def open_process(self, command: str, *, kind: str = "session", priority: int = 0) -> int:
        """Remembers what was opened."""
        self.opened.append((command, kind, priority))
        return 2

    async def ping(self) -> dict[str, Any]:
        """A running kernel of this version."""
        from lingos_kernel import __version__

        return {"version": __version__, "os_pid": 1, "started_s": 0.0, "warning": ""}

    def with_options(self, **options: Any) -> StandIn:
        """Remembers the options."""
        self.options.append(options)
        return self


def _is_events(answer: Sequence[Any]) -> bool:
    return bool(answer) and isinstance(answer[-1], Result)


def chat_answer(text: str = "Paris.", **more: Any) -> list[AnyEvent]:
    """What `llm.chat` answers: the text in two pieces, and the result."""
    half = len(text) // 2
    result = {
        "text": text,
        "model": "tiny",
        "finish_reason": "stop",
        "choices": [{"text": text}],
        "usage": USAGE,
        "seed": 1,
    }
    pieces = [Item({"text": text[:half]}), Item({"text": text[half:]})]
    return [*pieces, Result(result | more)]


@dataclass(frozen=True)
class Outcome:
    """How a command line ended."""

    exit_code: int
    stdout: str
    stderr: str


@pytest.fixture
def kernel() -> StandIn:
    """A stand-in kernel that answers every chat with Paris."""
    return StandIn(answers={"llm.chat": lambda **_: chat_answer()})


@pytest.fixture
def lingos(
    kernel: StandIn,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Callable[..., Outcome]:
    """Runs a command line against the stand-in: `lingos("run", "Hello", stdin="text")`."""
    monkeypatch.setenv("LINGOS_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def run(*words: str, stdin: str | bytes = "") -> Outcome:
        content = stdin if isinstance(stdin, bytes) else stdin.encode()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))
        code = execute(words, Invocation(connect=kernel.connect))
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def syscall_info() -> Callable[..., SyscallInfo]:
    """Makes a `SyscallInfo` with plain defaults."""
    return make_info
