"""`lingos call` and `lingos syscalls`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel.syscalls.events import Item, Result


@pytest.fixture
def kernel(kernel: Any, syscall_info: Any) -> Any:
    """The stand-in with a few syscalls more."""
    count = {
        "type": "object",
        "properties": {
            "text": {"type": "string", "description": "what to count"},
            "limit": {"type": "integer", "default": 10},
            "file": {"type": "string", "format": "path"},
        },
        "required": ["text"],
    }
    kernel.infos += [
        syscall_info("text.count", count, help="Counts words."),
        syscall_info("text.pieces", streams=True),
        syscall_info("mem.drop", confirm=True),
    ]
    kernel.answers |= {
        "text.count": lambda **arguments: {"words": len(arguments["text"].split())},
        "text.pieces": lambda **_: [Item({"n": 1}), Item({"n": 2}), Result([1, 2])],
        "mem.drop": lambda **_: "dropped",
    }
    return kernel


def test_a_result_is_json_on_stdout(lingos: Any, kernel: Any) -> None:
    """Words become typed arguments, the result data."""
    outcome = lingos("call", "text.count", "--text", "a b c", "--limit", "3")
    assert (outcome.exit_code, json.loads(outcome.stdout)) == (0, {"words": 3})
    assert kernel.calls == [("text.count", {"text": "a b c", "limit": 3})]


def test_a_text_result_is_written_as_it_is(lingos: Any) -> None:
    """No quotes around text, unless JSON is asked for."""
    assert lingos("call", "mem.drop", "--yes").stdout == "dropped\n"
    assert lingos("call", "mem.drop", "--yes", "--json").stdout == '"dropped"\n'


def test_arguments_come_from_files_and_json(lingos: Any, kernel: Any, tmp_path: Path) -> None:
    """`@file` is its contents, `--args-json` everything at once, paths become absolute."""
    (tmp_path / "t.txt").write_text("x y")
    assert lingos("call", "text.count", "@t.txt", "--file", "t.txt").exit_code == 0
    assert kernel.calls[-1][1] == {"text": "x y", "file": str(tmp_path / "t.txt")}
    assert lingos("call", "text.count", "--args-json", '{"text": "q", "limit": 2}').exit_code == 0
    assert kernel.calls[-1][1] == {"text": "q", "limit": 2}
    assert lingos("call", "text.count", "@-", stdin="from stdin").exit_code == 0
    assert kernel.calls[-1][1] == {"text": "from stdin"}


def test_items_stream_as_lines(lingos: Any) -> None:
    """Each streamed item is a line, and the result is not repeated."""
    assert lingos("call", "text.pieces").stdout == '{"n":1}\n{"n":2}\n'
    assert json.loads(lingos("call", "text.pieces", "--no-stream").stdout) == [1, 2]


def test_json_of_a_stream_is_its_events(lingos: Any) -> None:
    """Newline-delimited JSON, the result last."""
    lines = [json.loads(x) for x in lingos("call", "text.pieces", "--json").stdout.splitlines()]
    assert lines == [
        {"event": "item", "data": {"n": 1}},
        {"event": "item", "data": {"n": 2}},
        {"event": "result", "data": [1, 2]},
    ]


def test_text_items_are_written_as_text(lingos: Any) -> None:
    """A chat called as a syscall reads like `lingos run`."""
    assert lingos("call", "llm.chat", "--messages", "[]").stdout == "Paris.\n"


def test_what_destroys_asks_first(lingos: Any, kernel: Any) -> None:
    """Without a person to ask, --yes is needed; it is passed on to the kernel."""
    outcome = lingos("call", "mem.drop")
    assert outcome.exit_code == 1
    assert outcome.stderr == (
        "lingos: error: mem.drop wants a person's yes\nhint: add --yes to give it\n"
    )
    assert kernel.calls == []
    assert lingos("call", "mem.drop", "--confirm").exit_code == 0
    assert {"confirmed": True} in kernel.options


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["txt.count"], "unknown syscall 'txt.count'\nhint: did you mean text.count?"),
        (["text.count", "--text", "a", "--limit", "x"], "--limit must be an integer, not 'x'"),
        (["text.count"], "missing argument --text"),
        (["text.count", "--txt", "a"], "no argument is called --txt\nhint: did you mean --text?"),
        (["text.count", "@nowhere"], "cannot read nowhere: no such file or directory"),
        (["text.count", "--args-json", "[1]"], "--args-json must be a JSON object, not list"),
        ([], "which syscall?"),
    ],
)
def test_wrong_calls_are_usage_errors(lingos: Any, words: list[str], message: str) -> None:
    """Exit code 2, one line and a hint, before anything is called."""
    outcome = lingos("call", *words)
    assert outcome.exit_code == 2
    assert message in outcome.stderr


@pytest.mark.parametrize("words", [["call", "text.count", "--help"], ["syscalls", "text.count"]])
def test_a_syscall_explains_itself(lingos: Any, words: list[str]) -> None:
    """Usage, summary, help and each argument with type and default."""
    text = lingos(*words).stdout
    assert text.startswith("lingos call text.count --text STRING [ARGUMENTS]\n")
    for part in ["Does text.count.", "Counts words.", "what to count (required)", "(default: 10)"]:
        assert part in text
    assert "--file PATH" in text


def test_syscalls_are_listed(lingos: Any) -> None:
    """A table for people, the whole table of facts for programs."""
    assert "text.count" in lingos("syscalls").stdout
    infos = json.loads(lingos("syscalls", "--json").stdout)
    assert {info["name"] for info in infos} >= {"llm.chat", "text.count"}
    assert json.loads(lingos("syscalls", "mem.drop", "--json").stdout)["confirm"] is True
