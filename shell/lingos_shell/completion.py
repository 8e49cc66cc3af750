"""What the shell completes: names that the running kernel knows. Starts no kernel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import click
from click.shell_completion import CompletionItem

from lingos_kernel.client.protocol import KernelClient
from lingos_kernel.errors import LingOSError
from lingos_shell.invocation import Invocation

PATIENCE_S = 1.0
"""A person waits for the Tab key; a kernel that is slower than this completes nothing."""

Ask = Callable[[KernelClient], Awaitable[list[tuple[str, str]]]]


def complete_syscalls(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of syscalls, with their summaries."""

    async def ask(client: KernelClient) -> list[tuple[str, str]]:
        return [(info.name, info.summary) for info in await client.syscalls()]

    return _complete(context, incomplete, ask)


def complete_models(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of stored models."""

    async def ask(client: KernelClient) -> list[tuple[str, str]]:
        models = await client.call("model.list")
        return [(str(model["name"]), str(model.get("kind", ""))) for model in models]

    return _complete(context, incomplete, ask)


def complete_pids(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Pids of the kernel's processes, with their commands."""

    async def ask(client: KernelClient) -> list[tuple[str, str]]:
        rows = await client.call("proc.list")
        return [(str(row["pid"]), str(row.get("command", ""))) for row in rows]

    return _complete(context, incomplete, ask)


def _complete(context: click.Context, incomplete: str, ask: Ask) -> list[CompletionItem]:
    invocation = context.find_object(Invocation) or Invocation()

    async def patiently(client: KernelClient) -> list[tuple[str, str]]:
        import asyncio

        async with asyncio.timeout(PATIENCE_S):
            return await ask(client)

    try:
        known = invocation.run(patiently, start=False)
    except (LingOSError, TimeoutError):
        return []  # completion never gets in the way of typing
    return [CompletionItem(name, help=text) for name, text in known if name.startswith(incomplete)]
