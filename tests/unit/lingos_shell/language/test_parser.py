"""What lines mean, and what is said about those that mean nothing."""

from __future__ import annotations

import pytest

from lingos_kernel.errors import InvalidScript
from lingos_shell.language.parser import needs_more, parse_message, parse_script
from lingos_shell.language.syntax import (
    Call,
    HostCommand,
    Keyed,
    Load,
    Option,
    Pipeline,
    Save,
    Stage,
    Talk,
    Text,
    Value,
    Variable,
    Word,
)


def words(*texts: str) -> tuple[Word, ...]:
    """Plain words."""
    return tuple(Word((Text(text),)) for text in texts)


def word(text: str) -> Word:
    """A plain word."""
    return Word((Text(text),))


def only(source: str) -> Pipeline:
    """The one pipeline of a message."""
    (pipeline,) = parse_message(source).pipelines
    return pipeline


@pytest.mark.parametrize(
    ("source", "stages"),
    [
        ("Is 3 > 2 & 1 < 2?", (Talk(word("Is 3 > 2 & 1 < 2?")),)),
        ("a | b | c", (Talk(word("a | b | c")),)),
        ("don't | use (quotes", (Talk(word("don't | use (quotes")),)),
        ("costs $5 or ana@x.org", (Talk(word("costs $5 or ana@x.org")),)),
        ("/etc/hosts is wrong", (Talk(word("/etc/hosts is wrong")),)),
        ("\\/ps is a word", (Talk(word("/ps is a word")),)),
        ("what is \\$_ and \\@home?", (Talk(word("what is $_ and @home?")),)),
        ("C:\\new \\alpha \\\\", (Talk(word("C:\\new \\alpha \\\\")),)),
        ("x = 5, what is 2x?", (Talk(word("x = 5, what is 2x?")),)),
        ('"To be"', (Talk(word("To be")),)),
        ('"To be" or not', (Talk(word('"To be" or not')),)),
        ("'tis so", (Talk(word("'tis so")),)),
        ('"""\none\ntwo\n"""', (Talk(word("one\ntwo")),)),
        ("one\ntwo\n\n/three", (Talk(word("one\ntwo\n\n/three")),)),
        ("say $x.y now", (Talk(Word((Text("say "), Variable("x", ("y",)), Text(" now")))),)),
        ("see @a.md, then", (Talk(Word((Text("see "), Load("a.md"), Text(", then")))),)),
        ("text | /a.b", (Talk(word("text")), Call("a.b"))),
        ("text \\| /a.b", (Talk(word("text | /a.b")),)),
        ("/ask /ps? | /x", (Talk(word("/ps?")), Call("x"))),
        ('/ask "a | /b" | /x', (Talk(word("a | /b")), Call("x"))),
        ("/a b --c d e=f", (
            Call("a", (word("b"), Option("c"), word("d"), Keyed("e", word("f")))),
        )),
        ("/a --b=c --no-d -- x", (
            Call("a", (Option("b", word("c")), Option("no-d"), *words("--", "x"))),
        )),
        ('/a "b c" \'$d\' "e $f"', (
            Call("a", (*words("b c", "$d"), Word((Text("e "), Variable("f"))))),
        )),
        ('/a {"b": [1, 2]} c', (Call("a", words('{"b": [1, 2]}', "c")),)),
        ("/a @b.md @url:https://c @@d", (
            Call("a", (Word((Load("b.md"),)), Word((Load("https://c", "url"),)), word("@d"))),
        )),
        ("/a b # c", (Call("a", words("b")),)),
        ("/a b\\\n  c", (Call("a", words("b", "c")),)),
        ("/a |\n/b", (Call("a"), Call("b"))),
        ("!ls | wc > x", (HostCommand("ls | wc > x"),)),
        ("!ls | /a | !wc", (HostCommand("ls"), Call("a"), HostCommand("wc"))),
        ("@a | what?", (Value(Word((Load("a"),))), Talk(word("what?")))),
        ("$x.0", (Value(Word((Variable("x", ("0",)),))),)),
        ("/中", None),
    ],
)  # fmt: skip
def test_a_line_means(source: str, stages: tuple[Stage, ...] | None) -> None:
    """Text is text unless it cannot be; calls, commands and values are told from it."""
    if stages is None:
        with pytest.raises(InvalidScript):
            parse_message(source)
    else:
        assert only(source).stages == stages


def test_what_follows_the_stages() -> None:
    """Files, the background and a target belong to the whole line."""
    assert only("x = /a < in > out &") == Pipeline(
        (Call("a"),), word("in"), Save(word("out")), is_background=True, target="x"
    )
    assert only("Tell me | >> 'my file'").save == Save(word("my file"), is_appending=True)
    assert only("Tell me &").is_background
    assert not only("AT &T").is_background
    assert only("$_ > a.txt").save == Save(word("a.txt"))


def test_scripts_are_read_line_by_line() -> None:
    """Each line is one message or call; comments and empty lines are nothing."""
    script = parse_script("#!/usr/bin/lingos\n\nOne\nTwo\n  /three # now\r\n!four\n")
    assert [p.stages[0] for p in script.pipelines] == [
        Talk(word("One")), Talk(word("Two")), Call("three"), HostCommand("four"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "source",
    ["x = 5\nprint(x)", '"""Doc."""\nimport os', "a\n# b"],
)
def test_pasted_code_is_one_message(source: str) -> None:
    """What only looks like a value at its beginning is text when text follows."""
    assert only(source).stages == (Talk(word(source)),)
    assert isinstance(only(f"@pytest.fixture\n{source}").stages[0], Talk)


@pytest.mark.parametrize(
    ("source", "line", "column", "problem"),
    [
        ("/a >", 1, 5, "a file's name is missing after >"),
        ("/a | ", 1, 6, "the pipe leads nowhere"),
        ("/a | /", 1, 7, "a name is missing after /"),
        ("/a b\n/c 'd", 2, 4, "the quotes ' are not closed"),
        ("/a & b", 1, 6, "nothing can stand behind &"),
        ("/a @", 1, 4, "what to load is missing after @"),
        ("/a > b c", 1, 8, "this cannot stand here"),
        ("!", 1, 1, "a command is missing after !"),
        ("/a | /b < c", 1, 6, "only the first stage reads from a file"),
    ],
)
def test_errors_point_at_the_column(source: str, line: int, column: int, problem: str) -> None:
    """The line is shown with a caret below the place."""
    with pytest.raises(InvalidScript) as caught:
        parse_script(source)
    details = caught.value.details
    assert (details["line"], details["column"], details["problem"]) == (line, column, problem)
    shown, caret = caught.value.message.splitlines()[1:]
    assert source.splitlines()[line - 1].strip() in shown
    assert caret.rstrip().endswith("^")
    assert caret.index("^") == 2 + column - 1


def test_the_caret_knows_wide_characters() -> None:
    """A Chinese character takes two columns."""
    with pytest.raises(InvalidScript) as caught:
        parse_script("/a 中文 >")
    assert caught.value.message.splitlines()[2] == "  " + " " * 9 + "^"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('"""a', True), ("/a \\", True), ("text \\", True), ("/a |", True), ('/a """x', True),
        ("text", False), ('/a "x', False), ("text \\\\", False), ("", False),
    ],
)  # fmt: skip
def test_needs_more(source: str, expected: bool) -> None:
    """Blocks, joined lines and open pipes want another line; a mistake does not."""
    assert needs_more(source) is expected
