"""Shell completion."""

from __future__ import annotations

from typing import Any

import pytest
from click.shell_completion import ShellComplete

from lingos_shell.command_line import cli
from lingos_shell.invocation import Invocation


@pytest.fixture
def complete(kernel: Any) -> Any:
    """The completions of a command line's last word, in names."""
    kernel.answers |= {
        "model.list": lambda: [{"name": "tiny", "kind": "causal"}, {"name": "big"}],
        "proc.list": lambda: [{"pid": 7, "command": "chat"}, {"pid": 12, "command": "run"}],
    }

    def completions(*words: str) -> list[str]:
        shell = ShellComplete(cli, {"obj": Invocation(connect=kernel.connect)}, "lingos", "_X")
        return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]

    return completions


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["mo"], ["models"]),
        (["k"], ["kill", "kernel"]),
        (["call", "llm."], ["llm.chat"]),
        (["syscalls", ""], ["llm.chat"]),
        (["run", "--model", "t"], ["tiny"]),
        (["show", ""], ["tiny", "big"]),
        (["kill", "1"], ["12"]),
        (["nice", ""], ["7", "12"]),
        (["kernel", "st"], ["start", "status", "stop"]),
        (["run", "--max"], ["--max-tokens"]),
    ],
)
def test_names_are_completed(complete: Any, words: list[str], expected: list[str]) -> None:
    """Commands and options from the program, syscalls, models and pids from the kernel."""
    assert sorted(complete(*words)) == sorted(expected)


def test_no_kernel_completes_nothing(complete: Any, kernel: Any) -> None:
    """And none is started."""
    kernel.running = False
    assert complete("show", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(lingos: Any, shell: str) -> None:
    """The script names the program and its variable."""
    outcome = lingos("completion", shell)
    assert outcome.exit_code == 0
    assert "_LINGOS_COMPLETE" in outcome.stdout
