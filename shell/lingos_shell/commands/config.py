"""`lingos config`: the settings and where each comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lingos_shell.common_options import common_options
from lingos_shell.invocation import Invocation
from lingos_shell.output import narrate, write_json, write_line, write_table
from lingos_shell.tables import plain_table

if TYPE_CHECKING:
    from rich.table import Table

    from lingos_kernel.config import ConfigValue


@click.group("config")
def command() -> None:
    """Show or validate the settings.

    Order: command line (--set), environment (LINGOS_SECTION_KEY), project (.lingos.toml),
    user (config.toml), default.
    """


@command.command("show")
@click.argument("key", required=False)
@common_options
def show(invocation: Invocation, *, key: str | None) -> None:
    """Show each setting with its value and source, or one setting's value."""
    values = invocation.config().explain()
    if key is not None:
        values = [_named(values, key)]
    if invocation.as_json:
        write_json([_plain(value) for value in values])
    elif key is not None:
        write_line(value_text(values[0].value))
    else:
        write_table(render(values))


@command.command("validate")
@common_options
def validate(invocation: Invocation) -> None:
    """Check every settings file and variable; exit code 2 and the place when one is wrong."""
    config = invocation.config()
    for warning in config.warnings:
        narrate(f"lingos: warning: {warning}")
    sources = sorted({value.source for value in config.explain()} - {"default"})
    if invocation.as_json:
        write_json({"valid": True, "warnings": list(config.warnings), "sources": sources})
    else:
        write_line("the settings are valid")


def render(values: Iterable[ConfigValue]) -> Table:
    """One row per setting."""
    rows = [(value.key, value_text(value.value), value.source) for value in values]
    return plain_table(("KEY", "VALUE", "SOURCE"), rows)


def value_text(value: Any) -> str:
    """A setting's value as it is written in TOML, roughly."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value) or "(none)"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} = {item}" for name, item in value.items()) or "(none)"
    return str(value)


def _plain(value: ConfigValue) -> dict[str, Any]:
    plain = str(value.value) if isinstance(value.value, Path) else value.value
    return {"key": value.key, "value": plain, "source": value.source}


def _named(values: Iterable[ConfigValue], key: str) -> ConfigValue:
    from lingos_kernel.errors import UnknownName
    from lingos_kernel.names import did_you_mean

    by_key = {value.key: value for value in values}
    if key not in by_key:
        hint = did_you_mean(key, by_key, otherwise="`lingos config show` lists the settings")
        raise UnknownName(f"unknown setting {key!r}", hint=hint)
    return by_key[key]
