"""`lingos sh`: the line REPL."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from lingos_kernel.client.protocol import KernelClient
from lingos_shell.commands.options import chat_options, chat_options_from
from lingos_shell.common_options import common_options
from lingos_shell.generation import ChatOptions
from lingos_shell.invocation import Invocation
from lingos_shell.runner import run_interruptible

if TYPE_CHECKING:
    from lingos_shell.language.conversation import Settings
    from lingos_shell.language.interpreter import Interpreter
    from lingos_shell.repl.late_client import LateClient


@click.command("sh")
@chat_options
@click.option("--session", "name", metavar="NAME", help="Open the session, or begin it.")
@click.option("-y", "--yes", "is_sure", is_flag=True, help="Answer yes to every question.")
@common_options
@click.pass_context
def command(
    context: click.Context,
    invocation: Invocation,
    /,
    *,
    name: str | None,
    is_sure: bool,
    **chosen: Any,
) -> None:
    """Talk with a model and run syscalls, line by line.

    Text goes to the model; /help lists what else there is. Ctrl-C stops the answer, Ctrl-D
    leaves. When stdin is not a terminal each of its lines is one message, and --json writes each
    result as a line of JSON.
    """
    options = chat_options_from(**chosen)
    context.exit(run_interruptible(hold(invocation, options, name=name, is_sure=is_sure)))


async def hold(
    invocation: Invocation, options: ChatOptions, *, name: str | None, is_sure: bool
) -> int:
    """The whole sitting; returns the exit code."""
    from lingos_shell.language.conversation import KeptConversation, PassingConversation
    from lingos_shell.language.interpreter import Interpreter
    from lingos_shell.language.loaders import Loaders
    from lingos_shell.plugin_commands import load_plugin_loaders
    from lingos_shell.repl.late_client import LateClient
    from lingos_shell.repl.session import TERMINAL_WORDS, is_dumb, run_on_terminal

    def attached(pid: int) -> None:
        shell.pid = pid

    async def connect() -> KernelClient:
        return await invocation.client(start=True)

    is_plain = is_dumb() or invocation.as_json
    is_typed = sys.stdin is not None and sys.stdin.isatty()
    async with LateClient(connect, command="sh", on_attached=attached) as client:
        view = client.with_options(caller="human")
        shell = Interpreter(
            view,
            conversation=KeptConversation(name or "", is_new=True)
            if name or is_typed
            else PassingConversation(),
            settings=settings_from(options),
            loaders=Loaders(lambda: load_plugin_loaders(invocation)),
            words={} if is_plain else TERMINAL_WORDS,
            run_on_terminal=None if is_plain else run_on_terminal,
        )
        await set_typed(shell, options)
        if name:
            await _open(shell, name)
        if is_plain:
            return await _hold_plainly(shell, invocation, is_sure=is_sure)
        return await _hold_on_terminal(shell, client, invocation)


async def _hold_plainly(shell: Interpreter, invocation: Invocation, *, is_sure: bool) -> int:
    from lingos_shell.output import is_terminal
    from lingos_shell.repl.lines import typed_lines
    from lingos_shell.repl.plain_sink import PlainSink
    from lingos_shell.repl.session import hold_plainly

    sink = PlainSink(as_json=invocation.as_json, is_sure=is_sure)
    is_interactive = is_terminal(sys.stdin) and not invocation.as_json
    return await hold_plainly(shell, typed_lines(), sink, is_interactive=is_interactive)


async def _hold_on_terminal(shell: Interpreter, client: LateClient, invocation: Invocation) -> int:
    from lingos_shell.repl.prompt import Prompt, has_colour
    from lingos_shell.repl.session import Repl

    config = invocation.config()
    repl = Repl(
        shell,
        client,
        lambda toolbar: Prompt(
            shell,
            config.paths.state_dir / "history",
            toolbar=toolbar,
            editing=config.shell.editing,
            has_colour=has_colour(),
        ),
        default_model=config.models.default,
        has_colour=has_colour(),
    )
    return await repl.hold()


def settings_from(options: ChatOptions) -> Settings:
    """The settings of a session as the options of the command say."""
    from lingos_shell.language.conversation import Settings

    sampling: dict[str, Any] = dict(options.sampling or {})
    if options.tools:
        sampling["tools"] = list(options.tools)
    return Settings(options.model, options.system, sampling)


async def set_typed(shell: Interpreter, options: ChatOptions) -> None:
    """Take over the options whose types the kernel tells. Raises `InvalidArguments`."""
    if not options.typed_later:
        return
    from lingos_shell.generation import typed_options

    schema = (await shell.names.find("llm.chat")).arguments
    shell.settings.options.update(typed_options(options.typed_later, schema))


async def _open(shell: Interpreter, name: str) -> None:
    from lingos_shell.language.conversation import KeptConversation

    listed = await shell.client.call("ctx.list")
    shell.conversation = KeptConversation(
        name, is_new=all(context["name"] != name for context in listed)
    )
