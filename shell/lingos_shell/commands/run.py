"""`lingos run`: one prompt, one answer."""

from __future__ import annotations

from typing import Any

import click

from lingos_kernel.client.protocol import KernelClient
from lingos_kernel.errors import EmptyPrompt
from lingos_shell.calls import follow
from lingos_shell.commands.options import chat_options, chat_options_from, timeout_option
from lingos_shell.commands.script import run_script, script_name
from lingos_shell.common_options import common_options
from lingos_shell.generation import AnswerPrinter, ChatOptions, choices_text, warn_if_cut
from lingos_shell.inputs import piped_input, require_unicode
from lingos_shell.invocation import Invocation
from lingos_shell.output import write_json, write_line


@click.command("run")
@click.argument("words", nargs=-1, metavar="[PROMPT]...")
@chat_options
@click.option("--no-stream", is_flag=True, help="Write the answer when it is whole.")
@click.option(
    "--nice",
    "priority",
    type=click.IntRange(-20, 19),
    default=0,
    help="Priority: -20 is the most urgent, 19 the least.",
)
@timeout_option
@click.option("-y", "--yes", "is_sure", is_flag=True, help="A script's questions: answer yes.")
@common_options
@click.pass_context
def command(
    context: click.Context,
    invocation: Invocation,
    /,
    *,
    words: tuple[str, ...],
    no_stream: bool,
    priority: int,
    is_sure: bool,
    timeout_s: float | None,
    **chosen: Any,
) -> None:
    """Answer one prompt, or run a script (.los).

    Piped text comes before the prompt. A file that ends in .los is a script of the shell's
    language, - is one on stdin; words behind it are its $args.

    \b
    lingos run "What is the capital of France?"
    lingos run report.los 2026
    cat report.txt | lingos run "Name three risks." -t 0.7 --max-tokens 200
    lingos run --schema '{"type": "object", ...}' --json "Invent a person."
    """
    options = chat_options_from(**chosen)
    if script_name(words):
        context.exit(run_script(invocation, words, options, priority=priority, is_sure=is_sure))
    prompt = join_prompt(piped_input(), require_unicode(" ".join(words), "the prompt"))
    is_streaming = not (no_stream or invocation.as_json)

    async def work(client: KernelClient) -> dict[str, Any]:
        await client.open_process(process_title(prompt), kind="job", priority=priority)
        return await answer(client, prompt, options, is_streaming=is_streaming, timeout_s=timeout_s)

    result = invocation.run(work)
    if invocation.as_json:
        write_json(result)
    elif not is_streaming or len(result.get("choices") or []) > 1:
        write_line(choices_text(result))
    if not invocation.as_json:
        warn_if_cut(result)


def join_prompt(piped: str | None, prompt: str) -> str:
    """Piped text, an empty line, the prompt. Raises `EmptyPrompt` when there is neither."""
    parts = [part for part in ((piped or "").strip("\n"), prompt) if part.strip()]
    if not parts:
        raise EmptyPrompt("the prompt is empty", hint='for example: lingos run "Say hello."')
    return "\n\n".join(parts)


def process_title(prompt: str) -> str:
    """What `lingos ps` shows for the prompt."""
    words = " ".join(prompt.split())
    return f"run {words}" if len(words) <= 40 else f"run {words[:39]}…"


async def answer(
    client: KernelClient,
    prompt: str,
    options: ChatOptions,
    *,
    is_streaming: bool,
    timeout_s: float | None = None,
) -> dict[str, Any]:
    """The result of `llm.chat` for the prompt, its text written to stdout while it comes."""
    arguments = await options.arguments(client, [{"role": "user", "content": prompt}])
    printer = AnswerPrinter()
    shown = is_streaming and arguments.get("n", 1) == 1
    try:
        result: dict[str, Any] = await follow(
            client,
            "llm.chat",
            arguments,
            on_item=printer.item if shown else printer.narrate_tools,
            timeout_s=timeout_s,
        )
    finally:
        printer.finish()
    return result
