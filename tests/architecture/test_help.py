"""Everything that a person can call explains itself."""

from __future__ import annotations

import ast
from pathlib import Path

import click
import pytest

from lingos_shell.registry import COMMANDS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_and_option_has_help(name: str) -> None:
    """No option is left to guessing, in groups neither."""
    command = COMMANDS[name].load()
    inner = list(command.commands.values()) if isinstance(command, click.Group) else []
    for each in [command, *inner]:
        assert each.help, each.name
        options = [p for p in each.params if isinstance(p, click.Option)]
        assert [option.name for option in options if not option.help] == []


def test_each_syscall_has_a_docstring() -> None:
    """Its first line is the summary that people and models see."""
    silent = []
    for role in ("kernel", "plugins"):
        for path in (ROOT / role).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _is_syscall(node):
                    doc = (ast.get_docstring(node) or "").splitlines()
                    if not doc or not doc[0].endswith((".", "?")):
                        silent.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert silent == []


def _is_syscall(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    calls = (d.func if isinstance(d, ast.Call) else d for d in node.decorator_list)
    return any(isinstance(call, ast.Name) and call.id == "syscall" for call in calls)
