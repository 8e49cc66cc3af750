"""The options that every command takes; they fill the `Invocation`."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Concatenate, ParamSpec, TypeVar

import click

from lingos_kernel.errors import InvalidArguments
from lingos_shell.invocation import Invocation

P = ParamSpec("P")
T = TypeVar("T")


def common_options(command: Callable[Concatenate[Invocation, P], T]) -> Callable[P, T]:
    """Give a command `--json`, `--local`, `-v` and the `Invocation` they make as first argument."""

    def with_invocation(*args: P.args, **kwargs: P.kwargs) -> T:
        invocation = click.get_current_context().ensure_object(Invocation)
        return command(invocation, *args, **kwargs)

    wrapped: Callable[P, T] = update_wrapper(with_invocation, command)
    for add_option in (json_option, local_option, verbose_option):
        wrapped = add_option(wrapped)
    return wrapped


def _keep(attribute: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    def callback(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value:
            setattr(context.ensure_object(Invocation), attribute, True)

    return callback


json_option = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    callback=_keep("as_json"),
    help="Write JSON to stdout; errors are a JSON object on stderr.",
)
local_option = click.option(
    "--local",
    is_flag=True,
    expose_value=False,
    callback=_keep("local"),
    help="Embed the kernel in this process; start and attach to none.",
)
verbose_option = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    callback=_keep("verbose"),
    help="Show the traceback of an error.",
)


def _keep_settings(
    context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> None:
    invocation = context.ensure_object(Invocation)
    for text in values:
        key, equals, value = text.partition("=")
        if not equals or "." not in key:
            raise InvalidArguments(
                f"--set {text!r} is not SECTION.KEY=VALUE", hint="for example engine.device=cpu"
            )
        invocation.overrides[key] = value


settings_option = click.option(
    "--set",
    metavar="SECTION.KEY=VALUE",
    multiple=True,
    expose_value=False,
    callback=_keep_settings,
    help="Override a setting for this command (`lingos config show` lists them).",
)
