"""`lingos plugins`: what is installed, and how it fares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from lingos_kernel.client.protocol import KernelClient
from lingos_kernel.errors import KernelUnavailable
from lingos_shell.common_options import common_options
from lingos_shell.invocation import Invocation
from lingos_shell.output import write_json, write_table
from lingos_shell.tables import plain_table
from lingos_shell.units import duration_text

if TYPE_CHECKING:
    from rich.table import Table

    from lingos_kernel.config import Config

Plugin = Mapping[str, Any]
"""A `PluginRecord`, as plain data."""


@click.command("plugins")
@click.option("--load", is_flag=True, help="Start a kernel if none runs, so that all are tried.")
@common_options
def command(invocation: Invocation, *, load: bool) -> None:
    """List the installed plugins, importing none.

    A running kernel tells which are loaded, how long that took and what went wrong; without one
    they are only listed. LINGOS_LOAD_PLUGINS names those to load; empty turns all off.
    """

    async def ask(client: KernelClient) -> list[Plugin]:
        records: list[Plugin] = await client.call("sys.plugins")
        return records

    try:
        plugins = invocation.run(ask, start=load)
    except KernelUnavailable as error:
        if load or error.details.get("reason") != "absent":
            raise
        plugins = installed(invocation.config())
    write_json(plugins) if invocation.as_json else write_table(render(plugins))


def installed(config: Config) -> list[Plugin]:
    """The plugins that the package metadata names; imports none of them."""
    from lingos_kernel.plugin_switches import PluginSwitches
    from lingos_kernel.plugins import PluginHost

    host = PluginHost(config.plugins, switches=PluginSwitches.at(config.paths))
    return [asdict(record) for record in host.available()]


def render(plugins: Iterable[Plugin]) -> Table:
    """One row per plugin; the last column says what it provides, or what went wrong."""
    rows = [
        (
            str(plugin["name"]),
            " ".join(filter(None, (str(plugin["distribution"]), str(plugin["version"])))),
            str(plugin["state"]),
            duration_text(plugin["import_s"]) if plugin["import_s"] else "-",
            provided_text(plugin),
        )
        for plugin in plugins
    ]
    return plain_table(("NAME", "FROM", "STATE", "IMPORT", "PROVIDES"), rows)


def provided_text(plugin: Plugin) -> str:
    """`12 syscalls, 1 command`, or the error."""
    if plugin["error"]:
        return str(plugin["error"])
    parts = [
        f"{len(names)} {kind if len(names) > 1 else kind.removesuffix('s')}"
        for kind, names in plugin["provides"].items()
        if names
    ]
    return ", ".join(parts) or "-"
