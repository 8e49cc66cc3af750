"""`lingos run FILE.los`: a saved script of the shell's language."""

from __future__ import annotations

from pathlib import Path

from lingos_kernel.client.protocol import KernelClient
from lingos_shell.generation import ChatOptions
from lingos_shell.inputs import read_text
from lingos_shell.invocation import Invocation

SUFFIX = ".los"


def script_name(words: tuple[str, ...]) -> str | None:
    """The script that the words of `lingos run` name: a file that ends in .los, or `-`.

    A single word that ends so is one whether it is there or not: nobody asks a model that.
    """
    if not words:
        return None
    first = words[0]
    is_lone = len(words) == 1 and len(first.split()) == 1
    if first == "-" or (first.endswith(SUFFIX) and (is_lone or Path(first).is_file())):
        return first
    return None


def run_script(
    invocation: Invocation,
    words: tuple[str, ...],
    options: ChatOptions,
    *,
    priority: int,
    is_sure: bool,
) -> int:
    """Run a script to its first error; returns the exit code. Its arguments are in `$args`."""
    name, *arguments = words
    text = read_text(name)

    async def work(client: KernelClient) -> int:
        from lingos_shell.commands.sh import set_typed, settings_from
        from lingos_shell.language.conversation import PassingConversation
        from lingos_shell.language.interpreter import Interpreter
        from lingos_shell.language.loaders import Loaders
        from lingos_shell.plugin_commands import load_plugin_loaders
        from lingos_shell.repl.plain_sink import PlainSink

        title = "script" if name == "-" else Path(name).name
        shell = Interpreter(
            client,
            conversation=PassingConversation(),
            settings=settings_from(options),
            loaders=Loaders(lambda: load_plugin_loaders(invocation)),
            pid=await client.open_process(f"run {title}", kind="job", priority=priority),
        )
        shell.variables["args"] = arguments
        await set_typed(shell, options)
        sink = PlainSink(as_json=invocation.as_json, is_sure=is_sure)
        try:
            outcome = await shell.run(text, sink, is_script=True)
        finally:
            sink.finish()
            await shell.close()
        return outcome.exit_code

    return invocation.run(work)
