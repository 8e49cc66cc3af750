"""`lingos ctx`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

HEAD = {
    "name": "talk",
    "tokens": 42,
    "model": "tiny",
    "owner": "ada",
    "shared": True,
    "forked_from": "base",
    "created_s": 0.0,
    "updated_s": 0.0,
}
MESSAGES = [
    {"role": "user", "content": "Hello", "end": 9, "whole": True},
    {"role": "assistant", "content": "Hi th", "end": 42, "whole": False},
]


@pytest.fixture
def kernel(kernel: Any) -> Any:
    """The stand-in with a context."""
    kernel.answers |= {
        "ctx.list": lambda: [HEAD],
        "ctx.show": lambda **_: {**HEAD, "messages": MESSAGES},
        "ctx.save": lambda **given: {"name": "talk", "path": given["path"] or "/data/talk.ctx"},
        "ctx.remove": lambda **_: {},
        **dict.fromkeys(("ctx.create", "ctx.fork", "ctx.truncate", "ctx.open"), lambda **_: HEAD),
    }
    return kernel


@pytest.mark.parametrize(
    ("words", "name", "given"),
    [
        (["create", "talk", "-s", "Be brief"], "ctx.create", {"shared": False, "text": None}),
        (["create", "story", "--text", "Once", "-m", "tiny"], "ctx.create", {"text": "Once"}),
        (["fork", "base", "talk", "--at", "7"], "ctx.fork", {"at": 7, "to": "talk"}),
        (["fork", "base", "talk", "--shared"], "ctx.fork", {"at": None, "shared": True}),
        (["truncate", "talk", "3"], "ctx.truncate", {"at": 3}),
        (["open", "talk.ctx", "--name", "x"], "ctx.open", {"name": "x"}),
    ],
)
def test_what_makes_contexts(
    lingos: Any, kernel: Any, words: list[str], name: str, given: dict[str, Any]
) -> None:
    """Each says what the context is now."""
    assert lingos("ctx", *words).stdout == "talk has 42 tokens of tiny\n"
    called, arguments = kernel.calls[-1]
    assert called == name
    assert arguments.items() >= given.items()
    assert json.loads(lingos("ctx", *words, "--json").stdout) == HEAD


def test_contexts_are_listed_and_shown(lingos: Any) -> None:
    """One line each; messages with the token where they end."""
    _, row = lingos("ctx", "list").stdout.splitlines()
    assert row.split()[:5] == ["talk", "42", "tiny", "ada", "(shared)"]
    assert json.loads(lingos("ctx", "list", "--json").stdout) == [HEAD]
    lines = lingos("ctx", "show", "talk").stdout.splitlines()
    assert lines == ["[user, ends at 9]", "Hello", "[assistant, ends at 42 (cut)]", "Hi th"]
    assert json.loads(lingos("ctx", "show", "talk", "--json").stdout)["messages"] == MESSAGES


def test_paths_are_the_shells(lingos: Any, kernel: Any) -> None:
    """A relative path is meant in the shell's folder, not in the kernel's."""
    assert lingos("ctx", "save", "talk").stdout == "/data/talk.ctx\n"
    lingos("ctx", "save", "talk", "mine.ctx")
    assert kernel.calls[-1][1]["path"] == str(Path.cwd() / "mine.ctx")
    lingos("ctx", "open", "mine.ctx")
    assert kernel.calls[-1][1]["path"] == str(Path.cwd() / "mine.ctx")


def test_removing_asks(lingos: Any, kernel: Any) -> None:
    """Without a terminal a yes has to be given."""
    assert lingos("ctx", "remove", "talk").exit_code == 1
    assert kernel.calls == []
    assert lingos("ctx", "remove", "a", "b", "--yes").exit_code == 0
    assert [arguments["name"] for _, arguments in kernel.calls] == ["a", "b"]
    assert json.loads(lingos("ctx", "remove", "a", "-y", "--json").stdout) == {"removed": ["a"]}
