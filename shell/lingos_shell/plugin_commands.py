"""Commands and loaders that plugins add to the shell by their hooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lingos_shell.invocation import Invocation


def load_plugin_commands(invocation: Invocation) -> Mapping[str, Any]:
    """Import the installed plugins and collect their click commands by name.

    Only called for a name that is not built in, so that no other command pays for plugins. What a
    broken plugin did is in `lingos plugins`; the others' commands work.
    """
    from lingos_kernel.plugin_switches import PluginSwitches
    from lingos_kernel.plugins import PluginHost
    from lingos_kernel.registry import Registry

    commands = Registry("command")
    config = invocation.config()
    host = PluginHost(config.plugins, switches=PluginSwitches.at(config.paths))
    host.attach("commands", commands)
    host.load()
    return commands.items


def load_plugin_loaders(invocation: Invocation) -> Mapping[str, Any]:
    """Import the installed plugins and collect their loaders (`@name:what`) by name."""
    from lingos_kernel.plugin_switches import PluginSwitches
    from lingos_kernel.plugins import PluginHost
    from lingos_kernel.registry import Registry

    loaders = Registry("loader")
    config = invocation.config()
    host = PluginHost(config.plugins, switches=PluginSwitches.at(config.paths))
    host.attach("loaders", loaders)
    host.load()
    return loaders.items
