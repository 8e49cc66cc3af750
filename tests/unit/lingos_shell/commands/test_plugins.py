"""`lingos plugins`, and the commands that plugins add."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest

import lingos_shell.plugin_commands
from lingos_shell.commands.plugins import provided_text

PLUGIN = {
    "name": "text",
    "distribution": "lingos",
    "version": "0.1.0",
    "module": "lingos_text",
    "state": "loaded",
    "import_s": 0.02,
    "slow": False,
    "error": "",
    "provides": {"syscalls": ["text.summarize", "text.ask"], "commands": ["x"], "panes": []},
}


def test_a_running_kernel_tells_what_is_loaded(lingos: Any, kernel: Any) -> None:
    """State, time and what each provides."""
    kernel.answers["sys.plugins"] = lambda: [PLUGIN]
    assert "loaded  20 ms   2 syscalls, 1 command" in lingos("plugins").stdout
    assert json.loads(lingos("plugins", "--json").stdout) == [PLUGIN]


def test_without_a_kernel_plugins_are_listed_only(lingos: Any, kernel: Any) -> None:
    """None is imported and no kernel is started."""
    kernel.running = False
    outcome = lingos("plugins", "--json")
    assert outcome.exit_code == 0
    assert {row["name"]: row["state"] for row in json.loads(outcome.stdout)}["text"] == "available"


def test_what_went_wrong_is_shown() -> None:
    """The error takes the place of what the plugin would provide."""
    assert provided_text(PLUGIN | {"error": "cannot be imported"}) == "cannot be imported"


def test_a_plugins_command_runs(lingos: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plugins are looked through only for a name that is not built in."""

    @click.command("greet")
    def greet() -> None:
        click.echo("hello from a plugin")

    loads = []

    def load(_invocation: Any) -> dict[str, click.Command]:
        loads.append(1)
        return {"greet": greet}

    monkeypatch.setattr(lingos_shell.plugin_commands, "load_plugin_commands", load)
    assert lingos("--help").exit_code == 0
    assert loads == []
    assert lingos("greet").stdout == "hello from a plugin\n"
    assert "did you mean greet" in lingos("gret").stderr
