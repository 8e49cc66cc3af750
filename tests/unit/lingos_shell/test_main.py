"""The root of the command line: help, errors, exit codes."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest

from lingos_kernel import __version__
from lingos_kernel.errors import LingOSError, NotPermitted, _tree
from lingos_shell.failures import ending_of
from lingos_shell.output import OutputClosed
from lingos_shell.registry import COMMANDS


def test_version(lingos: Any) -> None:
    """`--version` is one line of data."""
    assert lingos("--version").stdout == f"lingos {__version__}\n"
    assert json.loads(lingos("--version", "--json").stdout) == {"version": __version__}


def test_help_names_every_command(lingos: Any) -> None:
    """Help is drawn from the registry alone."""
    outcome = lingos("--help")
    assert outcome.exit_code == 0
    for name, entry in COMMANDS.items():
        assert name in outcome.stdout
        assert entry.summary in outcome.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_registry_and_command_tell_the_same(name: str) -> None:
    """The summary in the registry is the first sentence of the command's own help."""
    command = COMMANDS[name].load()
    assert command.name == name
    assert (command.help or "").splitlines()[0] == COMMANDS[name].summary


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(lingos: Any, name: str) -> None:
    """`lingos COMMAND --help` works without a kernel."""
    outcome = lingos(name, "--help")
    assert outcome.exit_code == 0
    assert "Usage: lingos" in outcome.stdout


def test_an_unknown_command_gets_near_names(lingos: Any) -> None:
    """A typo costs one line."""
    outcome = lingos("modles")
    assert outcome.exit_code == 2
    assert outcome.stderr == (
        "lingos: error: unknown command 'modles'\nhint: did you mean models?\n"
    )


def test_an_unknown_option_gets_near_names(lingos: Any) -> None:
    """A mistyped option is answered as a mistyped command is."""
    outcome = lingos("run", "--temprature", "1", "x")
    assert outcome.exit_code == 2
    assert "no such option: --temprature" in outcome.stderr
    assert "--temperature" in outcome.stderr


@pytest.mark.parametrize("kind", sorted(_tree(LingOSError).values(), key=lambda kind: kind.code))
def test_every_error_is_a_line_a_hint_and_its_exit_code(
    lingos: Any, kernel: Any, kind: type[LingOSError]
) -> None:
    """No error of LingOS shows a traceback."""
    more = {"retry_after_s": 1.0} if kind.code == "queue_full" else {}

    def answer(**_: Any) -> None:
        raise kind("it happened", hint="do that", **more)

    kernel.answers["llm.chat"] = answer
    outcome = lingos("run", "x")
    assert outcome.exit_code == kind.exit_code
    assert outcome.stderr == "lingos: error: it happened\nhint: do that\n"


def test_errors_are_json_objects_when_json_is_asked_for(lingos: Any, kernel: Any) -> None:
    """Programs read errors too, on stderr; stdout stays empty."""

    def refuse(**_: Any) -> None:
        raise NotPermitted("no", hint="ask", capability="llm.chat")

    kernel.answers["llm.chat"] = refuse
    outcome = lingos("run", "--json", "x")
    assert outcome.stdout == ""
    assert json.loads(outcome.stderr) == {
        "error": {
            "code": "not_permitted",
            "message": "no",
            "hint": "ask",
            "details": {"capability": "llm.chat"},
            "exit_code": 1,
        }
    }


def test_usage_errors_are_json_objects_too(lingos: Any) -> None:
    """Also what goes wrong before the options are known."""
    outcome = lingos("run", "--json", "--nonsense")
    assert json.loads(outcome.stderr)["error"]["code"] == "usage"


def test_verbose_shows_the_traceback(lingos: Any, kernel: Any) -> None:
    """`-v` is for those who mend LingOS."""

    def fail(**_: Any) -> None:
        raise NotPermitted("no")

    kernel.answers["llm.chat"] = fail
    assert "Traceback" in lingos("run", "-v", "x").stderr
    assert "Traceback" not in lingos("run", "x").stderr


def test_a_fault_of_the_program_is_one_line_too(lingos: Any, kernel: Any) -> None:
    """A bug says that it is one."""
    kernel.open_process = lambda *_, **__: 1 / 0
    outcome = lingos("run", "x")
    assert outcome.exit_code == 1
    assert outcome.stderr.startswith("lingos: error: internal error: ZeroDivisionError")


def test_no_kernel_is_exit_code_three(lingos: Any, kernel: Any) -> None:
    """`ps` starts no kernel."""
    kernel.running = False
    outcome = lingos("ps")
    assert outcome.exit_code == 3
    assert "lingos kernel start" in outcome.stderr


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (click.exceptions.Exit(5), 5),
        (OutputClosed(), 0),
    ],
)
def test_silent_endings(error: BaseException, exit_code: int) -> None:
    """Ctrl-C and a closed pipe print nothing."""
    ending = ending_of(error)
    assert (ending.exit_code, ending.error) == (exit_code, None)
