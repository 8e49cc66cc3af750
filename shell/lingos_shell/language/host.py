"""Commands of the host's shell: fed, read, and ended with the run that they belong to."""

from __future__ import annotations

import asyncio
import codecs
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from lingos_kernel.errors import CommandFailed
from lingos_shell.language.values import text_of

CHUNK_BYTES = 65_536
GRACE_S = 2.0
"""How long a command may take to end before it is killed."""
MAX_VARIABLE_BYTES = 100_000
"""Systems refuse longer variables of the environment."""


def environment(variables: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a command: the own one, and the shell's variables as texts below it."""
    texts = {name: text_of(value).replace("\0", "") for name, value in variables.items()}
    fit = {n: t for n, t in texts.items() if len(t.encode(errors="replace")) <= MAX_VARIABLE_BYTES}
    return {**fit, **os.environ}


async def run_command(
    command: str,
    feed: AsyncIterator[str] | None,
    *,
    variables: Mapping[str, Any],
    narrate: Callable[[str], Awaitable[None]],
) -> AsyncGenerator[str, None]:
    """The output of a command as it comes; `feed` is written to its standard input meanwhile.

    `narrate` gets what it says on its standard error. Closing the generator ends the command and
    all that it started. Raises `CommandFailed` when it ends with another exit code than 0, and
    what `feed` raises.
    """
    async with _started(command, environment(variables), has_input=feed is not None) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        feeding = asyncio.create_task(_feed(process, feed))
        telling = asyncio.create_task(_tell(process.stderr, narrate))
        try:
            decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
            while chunk := await process.stdout.read(CHUNK_BYTES):
                if text := decoder.decode(chunk):
                    yield text
            if text := decoder.decode(b"", final=True):
                yield text
            code = await process.wait()
            await telling
            if not feeding.done():
                feeding.cancel()  # the command has ended: it wants no more
            with suppress(asyncio.CancelledError):
                await feeding
        finally:
            for task in (feeding, telling):
                task.cancel()
            await asyncio.gather(feeding, telling, return_exceptions=True)
    if code:
        raise command_failed(command, code)


def command_failed(command: str, code: int) -> CommandFailed:
    """The error of a command that ended with an exit code, or by a signal (negative)."""
    how = f"ended with exit code {code}" if code > 0 else f"was ended by signal {-code}"
    shown = command if len(command) <= 60 else command[:59] + "…"
    return CommandFailed(f"!{shown} {how}", exit_status=code)


async def _feed(process: asyncio.subprocess.Process, feed: AsyncIterator[str] | None) -> None:
    if feed is None:
        return
    assert process.stdin is not None
    try:
        async for text in feed:
            process.stdin.write(text.encode("utf-8", errors="surrogateescape"))
            await process.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        pass  # the command reads no further, as `head` does
    finally:
        process.stdin.close()


async def _tell(stream: asyncio.StreamReader, narrate: Callable[[str], Awaitable[None]]) -> None:
    while chunk := await stream.read(CHUNK_BYTES):
        await narrate(chunk.decode(errors="replace").rstrip("\n"))


@asynccontextmanager
async def _started(
    command: str, environ: Mapping[str, str], *, has_input: bool
) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *(shell(), "-c", command),
        stdin=pipe if has_input else nothing,
        stdout=pipe,
        stderr=pipe,
        env=environ,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a command with everything that it started."""
    for sent in (signal.SIGTERM, signal.SIGKILL):  # the second one for what outlives the first
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sent)
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await process.wait()


def shell() -> str:
    """The host's shell."""
    return os.environ.get("SHELL") or "/bin/sh"
