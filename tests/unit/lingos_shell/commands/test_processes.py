"""`lingos ps`, `kill` and `nice`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lingos_shell.process_table import in_tree_order


def process(pid: int, parent: int = 0, **facts: Any) -> dict[str, Any]:
    """A row of `proc.list`."""
    plain = {
        "principal": "ada",
        "state": "running",
        "priority": 0,
        "queue_position": None,
        "model": "tiny",
        "prompt_tokens": 7,
        "output_tokens": 3,
        "tokens_per_s": 12.34,
        "kv_bytes": 2048,
        "age_s": 61.0,
        "command": f"job {pid}",
    }
    return {"pid": pid, "parent": parent, **plain, **facts}


@pytest.fixture
def kernel(kernel: Any) -> Any:
    """The stand-in with a few processes."""
    rows = [
        process(1, command="kernel"),
        process(2, 1, state="waiting", queue_position=0),
        process(3, 2),
        process(4, 1, state="ended"),
    ]
    kernel.answers |= {
        "proc.list": lambda: rows,
        "proc.kill": lambda **arguments: arguments,
        "proc.nice": lambda **arguments: arguments,
        "proc.limit": lambda pid, **limits: {"pid": pid, "limits": limits},
    }
    return kernel


def test_processes_are_listed(lingos: Any) -> None:
    """Ended ones only on demand; the place in the queue is shown."""
    lines = lingos("ps").stdout.splitlines()
    assert lines[0].split()[:3] == ["PID", "NI", "STATE"]
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "3"]
    assert "waiting #1" in lines[2]
    assert "2.0 KiB" in lines[2]
    assert len(json.loads(lingos("ps", "--json", "--all").stdout)) == 4


def test_the_tree_indents_children(lingos: Any) -> None:
    """`--tree` shows who started whom."""
    header, *lines = lingos("ps", "--tree").stdout.splitlines()
    start = header.index("COMMAND")
    assert [line[start:] for line in lines] == ["kernel", "  job 2", "    job 3"]


def test_orphans_stand_at_the_root() -> None:
    """A process whose parent has gone is still shown."""
    assert [(d, r["pid"]) for d, r in in_tree_order([process(5, 4), process(6, 5)])] == [
        (0, 5),
        (1, 6),
    ]


@pytest.mark.parametrize(
    ("words", "signal"),
    [
        (["7"], "TERM"),
        (["-KILL", "7"], "KILL"),
        (["-SIGSTOP", "7"], "STOP"),
        (["-s", "cont", "7"], "CONT"),
        (["--signal", "TERM", "7"], "TERM"),
    ],
)
def test_signals_are_written_as_for_kill(
    lingos: Any, kernel: Any, words: list[str], signal: str
) -> None:
    """`-KILL` and `-s KILL` mean the same."""
    outcome = lingos("kill", *words)
    assert (outcome.exit_code, outcome.stdout) == (0, "")
    assert kernel.calls == [("proc.kill", {"pid": 7, "signal": signal})]


def test_unknown_signals_are_refused(lingos: Any) -> None:
    """The message names the known ones."""
    outcome = lingos("kill", "-s", "HUP", "7")
    assert outcome.exit_code == 2
    assert "'term', 'kill', 'stop', 'cont'" in outcome.stderr


def test_nice_takes_negative_priorities(lingos: Any, kernel: Any) -> None:
    """-5 is a priority, not an option."""
    assert lingos("nice", "7", "-5").stdout == "process 7 has priority -5\n"
    assert kernel.calls == [("proc.nice", {"pid": 7, "priority": -5})]
    assert json.loads(lingos("nice", "7", "3", "--json").stdout) == {"pid": 7, "priority": 3}
    outcome = lingos("nice", "7", "20")
    assert outcome.exit_code == 2
    assert "priority 20 is out of range" in outcome.stderr


def test_limit_sets_what_is_given_and_lifts_the_rest(lingos: Any, kernel: Any) -> None:
    """Each limit has its option; what is set is said."""
    none = {"tokens": None, "seconds": None, "tool_calls": None, "pages": None}
    said = lingos("limit", "7", "--tokens", "20000", "--tool-calls", "3").stdout
    assert said == "process 7 may use 20000 tokens, 3 tool calls\n"
    assert lingos("limit", "7").stdout == "process 7 may use what it wants\n"
    assert kernel.calls == [
        ("proc.limit", {"pid": 7} | none | {"tokens": 20000, "tool_calls": 3}),
        ("proc.limit", {"pid": 7} | none),
    ]
    assert json.loads(lingos("limit", "7", "--pages", "4", "--json").stdout)["pid"] == 7
    assert lingos("limit", "7", "--tokens", "-1").exit_code == 2
