"""Words of a command line become typed arguments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.errors import InvalidArguments
from lingos_shell.arguments import option, parse_arguments, type_text

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "count": {"type": "integer"},
        "share": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "exact": {"type": "boolean"},
        "labels": {"type": "array", "items": {"type": "string"}},
        "sizes": {"type": "array", "items": {"type": "integer"}},
        "bias": {"type": "object", "additionalProperties": {"type": "number"}},
        "file": {"anyOf": [{"type": "string", "format": "path"}, {"type": "null"}]},
        "mode": {"enum": ["fast", "slow"]},
        "point": {"$ref": "#/$defs/Point"},
        "anything": {},
    },
    "required": ["text", "count"],
    "$defs": {
        "Point": {"type": "object", "properties": {"x": {"type": "integer"}}},
    },
}
OPTIONAL = {**SCHEMA, "required": []}


def parse(*words: str, schema: dict[str, Any] = OPTIONAL, **files: str) -> dict[str, Any]:
    """The arguments of the words; files are read from the keywords."""
    return parse_arguments(words, schema, read_file=lambda name: files[name])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--text", "a b"], {"text": "a b"}),
        (["--text=--dashes"], {"text": "--dashes"}),
        (["--count", "-3"], {"count": -3}),
        (["--share", "0.5"], {"share": 0.5}),
        (["--share", "null"], {"share": None}),
        (["--exact"], {"exact": True}),
        (["--exact", "false"], {"exact": False}),
        (["--exact=off"], {"exact": False}),
        (["--no-exact"], {"exact": False}),
        (["--labels", "a", "--labels", "b"], {"labels": ["a", "b"]}),
        (["--labels", '["a", "b"]'], {"labels": ["a", "b"]}),
        (["--sizes", "1", "--sizes", "2"], {"sizes": [1, 2]}),
        (["--bias", "7=-1.5", "--bias", "8=2"], {"bias": {"7": -1.5, "8": 2.0}}),
        (["--bias", '{"7": 1}'], {"bias": {"7": 1}}),
        (["--mode", "slow"], {"mode": "slow"}),
        (["--point", "x=3"], {"point": {"x": 3}}),
        (["--anything", "[1, 2]"], {"anything": [1, 2]}),
        (["--anything", "word"], {"anything": "word"}),
    ],
)
def test_each_type_has_its_spelling(words: list[str], expected: dict[str, Any]) -> None:
    """Values are typed by the schema, never guessed from their look."""
    assert parse(*words) == expected


def test_bare_words_fill_required_arguments_in_order() -> None:
    """`call NAME hello 3` needs no option names."""
    assert parse("hello", "3", schema=SCHEMA) == {"text": "hello", "count": 3}


def test_everything_after_two_dashes_is_a_bare_word() -> None:
    """`--` lets a text begin with dashes."""
    assert parse("--count", "1", "--", "--text", schema=SCHEMA) == {"count": 1, "text": "--text"}


def test_at_sign_stands_for_a_files_contents() -> None:
    """`@file` is replaced by its contents; `@@` is a literal at sign."""
    assert parse("--text", "@f", f="inside") == {"text": "inside"}
    assert parse("--labels", "@f", f='["a"]') == {"labels": ["a"]}
    assert parse("--text", "@@home") == {"text": "@home"}


def test_paths_are_made_absolute_for_the_kernel() -> None:
    """The kernel works in another folder than the caller."""
    assert parse("--file", "x.txt") == {"file": str(Path.cwd() / "x.txt")}


def test_given_arguments_are_replaced_by_words() -> None:
    """`--args-json` comes first; what is typed wins."""
    arguments = parse_arguments(
        ["--count", "2"], SCHEMA, read_file=str, given={"text": "a", "count": 1}
    )
    assert arguments == {"text": "a", "count": 2}


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["--count", "many"], "--count must be an integer, not 'many'", "an integer"),
        (["--share", "x"], "--share must be a number", "a number"),
        (["--exact=perhaps"], "--exact must be true or false", "true or false"),
        (["--mode", "quick"], "'quick' is not allowed", "one of fast, slow"),
        (["--bias", "3"], "--bias must be a JSON object", "key=value"),
        (["--bias", "{"], "--bias is not valid JSON", "quote it"),
        (["--cuont", "1"], "no argument is called --cuont", "did you mean --count"),
        (["--no-text"], "no argument is called --no-text", "--text"),
        (["--text"], "--text needs a value", "string"),
        (["--bias", "a=b"], "--bias.a must be a number", "a number"),
    ],
)
def test_wrong_words_are_refused_in_one_line(words: list[str], message: str, hint: str) -> None:
    """Each mistake names the argument and says what to do."""
    with pytest.raises(InvalidArguments) as caught:
        parse(*words)
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert hint in caught.value.hint


def test_missing_arguments_are_named() -> None:
    """All that is missing is named at once."""
    with pytest.raises(InvalidArguments, match="missing arguments --text, --count"):
        parse(schema=SCHEMA)


@pytest.mark.parametrize(
    ("name", "text"),
    [("share", "number"), ("labels", "list of string"), ("mode", "fast|slow"), ("file", "path")],
)
def test_types_are_said_in_a_few_words(name: str, text: str) -> None:
    """Help shows the type as people say it."""
    assert type_text(SCHEMA["properties"][name], SCHEMA) == text


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "text": st.text(st.characters(exclude_categories=["Cs"])),
            "count": st.integers(),
            "exact": st.booleans(),
            "sizes": st.lists(st.integers(), max_size=4),
            "point": st.fixed_dictionaries({"x": st.integers()}),
            "mode": st.sampled_from(["fast", "slow"]),
        },
    )
)
def test_any_arguments_survive_the_command_line(arguments: dict[str, Any]) -> None:
    """What is written as words is read back as the same values."""
    words = [f"{option(name)}={_word(value)}" for name, value in arguments.items()]
    assert parse(*words) == arguments


def _word(value: Any) -> str:
    if isinstance(value, str):
        return f"@{value}" if value.startswith("@") else value
    return json.dumps(value)


def test_bare_words_fill_optional_arguments_too() -> None:
    """In the schema's order behind the required ones; the last list takes what follows."""
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "text": {"type": "string"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["text"],
    }

    def words(*given: str) -> dict[str, Any]:
        return parse_arguments(given, schema, read_file=str)

    assert words("a") == {"text": "a"}
    assert words("a", "b") == {"text": "a", "name": "b"}
    assert words("a", "b", "c", "d") == {"text": "a", "name": "b", "tags": ["c", "d"]}
    assert words("a", "--name", "n", "c") == {"text": "a", "name": "n", "tags": ["c"]}
    with pytest.raises(InvalidArguments, match="unexpected word 'x'"):
        parse_arguments(["x"], {"type": "object", "properties": {}}, read_file=str)
