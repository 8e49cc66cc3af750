"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from lingos_shell.completion import complete_models, complete_syscalls
from lingos_shell.generation import ChatOptions
from lingos_shell.inputs import json_object, require_unicode

F = TypeVar("F", bound=Callable[..., Any])

model_option = click.option(
    "-m",
    "--model",
    metavar="NAME",
    shell_complete=complete_models,
    help="The model to ask (default: the configured one; `lingos models` lists them).",
)
timeout_option = click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="End the call after this long (exit code 4).",
)

_SAMPLING = (
    click.option("-s", "--system", metavar="TEXT", help="The system message."),
    click.option("-t", "--temperature", type=float, help="0 is greedy (the default)."),
    click.option("--max-tokens", type=int, help="Most tokens of the answer."),
    click.option("--seed", type=int, help="Makes a random answer repeatable."),
    click.option(
        "-o",
        "--option",
        "pairs",
        nargs=2,
        multiple=True,
        metavar="KEY VALUE",
        help="Any other sampling option: top_k, top_p, min_p, stop, n, logprobs, regex, ebnf, ...",
    ),
    click.option("--schema", metavar="FILE|JSON", help="JSON schema that the answer must meet."),
    click.option(
        "--tools",
        multiple=True,
        metavar="NAMES",
        shell_complete=complete_syscalls,
        help="Syscalls the model may call: names or patterns, separated by commas.",
    ),
)


def chat_options(command: F) -> F:
    """Give a command the options of an answer."""
    for add_option in reversed((model_option, *_SAMPLING)):
        command = add_option(command)
    return command


def chat_options_from(
    *,
    model: str | None,
    system: str | None,
    temperature: float | None,
    max_tokens: int | None,
    seed: int | None,
    pairs: tuple[tuple[str, str], ...],
    schema: str | None,
    tools: tuple[str, ...],
) -> ChatOptions:
    """The options as given on the command line. Raises `InvalidArguments`."""
    given = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    sampling: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if schema is not None:
        sampling["schema"] = json_object(schema, "the schema")
    return ChatOptions(
        model=model,
        system=require_unicode(system, "the system message") if system else None,
        tools=tuple(name.strip() for text in tools for name in text.split(",") if name.strip()),
        sampling=sampling,
        typed_later=pairs,
    )
