"""Forms from schemas, and what is typed as arguments; results as tables."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.errors import InvalidArguments
from lingos_kernel.syscalls.spec import SyscallInfo
from lingos_shell.language.parser import parse_script
from lingos_shell.tui.screens.form import arguments_of, best_of, command_of, fields_of, tree_of
from lingos_shell.tui.screens.result_view import columns_that_fit, is_table

SCHEMA: dict[str, Any] = {
    "properties": {
        "depth": {"type": "integer", "default": 3, "description": "how deep"},
        "text": {"type": "string"},
        "ratio": {"anyOf": [{"type": "number"}, {"type": "null"}], "default": None},
        "mode": {"enum": ["fast", "slow"], "default": "fast"},
        "strict": {"type": "boolean", "default": False},
        "labels": {"type": "array", "items": {"type": "string"}},
        "where": {"$ref": "#/$defs/Where"},
        "file": {"type": "string", "format": "path"},
    },
    "required": ["text"],
    "$defs": {"Where": {"type": "object", "properties": {"x": {"type": "integer"}}}},
}


def info(name: str, summary: str = "Do.", schema: dict[str, Any] | None = None) -> SyscallInfo:
    """A syscall."""
    return SyscallInfo(
        name, "me", summary, "", name, "io", None, False, False, schema or SCHEMA, {}
    )


def read(path: str) -> str:
    """A file that is there, or not."""
    if path == "gone":
        raise InvalidArguments("cannot read gone", hint="none")
    return f"text of {path}"


def test_fields() -> None:
    """Kind, type, default and choices come from the schema; what is required comes first."""
    fields = {field.name: field for field in fields_of(info("a.b"))}
    assert next(iter(fields)) == "text"
    kinds = {name: field.kind for name, field in fields.items()}
    assert kinds == {
        "text": "text", "depth": "integer", "ratio": "number", "mode": "choice",
        "strict": "choice", "labels": "json", "where": "json", "file": "path",
    }  # fmt: skip
    assert fields["depth"].default == "3"
    assert fields["depth"].about == "how deep"
    assert fields["mode"].choices == ("fast", "slow")
    assert fields["strict"].choices == ("true", "false")
    assert fields["labels"].type == "list of string"


def test_typed_values() -> None:
    """Each becomes a value of its type; what is empty is left out."""
    typed = {
        "text": "@notes.md", "depth": "4", "ratio": "0.5", "mode": "slow", "strict": "true",
        "labels": '["a", "b"]', "where": '{"x": 1}', "file": "",
    }  # fmt: skip
    arguments, wrong = arguments_of(info("a.b"), typed, read_file=read)
    assert wrong == {}
    assert arguments == {
        "text": "text of notes.md", "depth": 4, "ratio": 0.5, "mode": "slow", "strict": True,
        "labels": ["a", "b"], "where": {"x": 1},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("text", "", "required"),
        ("text", "@gone", "cannot read gone"),
        ("depth", "much", "must be an integer"),
        ("ratio", "x", "must be a number"),
        ("labels", '["a"', "not valid JSON"),
        ("where", "{x", "not valid JSON"),
    ],
)
def test_what_is_wrong(name: str, text: str, said: str) -> None:
    """The message stands with its field."""
    _, wrong = arguments_of(info("a.b"), {"text": "t", name: text}, read_file=read)
    assert said in wrong[name]


def test_an_at_sign_of_its_own() -> None:
    """`@@` begins a text with `@`."""
    arguments, _ = arguments_of(info("a.b"), {"text": "@@me"}, read_file=read)
    assert arguments == {"text": "@me"}


@given(st.dictionaries(st.sampled_from(["text", "labels"]), st.text() | st.lists(st.text())))
def test_any_call_is_a_line_of_the_language(arguments: dict[str, Any]) -> None:
    """What is copied can be read by the shell, whatever the values hold."""
    script = parse_script(command_of("a.b", arguments) + "\n")
    assert len(script.pipelines) == 1


def test_finding() -> None:
    """All words have to occur; the name itself is meant first."""
    infos = [info("ctx.create", "for llm.chat"), info("llm.chat"), info("llm.complete")]
    assert [branch.prefix for branch in tree_of(infos)] == ["ctx", "llm"]
    best = best_of(infos, "llm.chat")
    assert best is not None
    assert best.name == "llm.chat"
    assert best_of(infos, "nothing like it") is None
    near = best_of([info("llm.detokenize"), info("llm.tokenize")], "tokenize")
    assert near is not None
    assert near.name == "llm.tokenize"


def test_tables() -> None:
    """Rows alike are a table whose columns fit; names come first, nested values last."""
    rows = [{"files": [1], "size": 1, "name": "a"}, {"files": [2], "size": 2, "name": "b"}]
    assert is_table(rows)
    assert not is_table([*rows, {"name": "c"}])
    assert not is_table([])
    assert list(columns_that_fit(rows, 80)) == ["name", "size", "files"]
    assert list(columns_that_fit(rows, 12)) == ["name", "size"]
