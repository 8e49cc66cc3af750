"""Whatever is printed is read again as the same, and nothing that is typed breaks the parser."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from lingos_kernel.errors import InvalidScript
from lingos_shell.language.parser import needs_more, parse_message, parse_script
from lingos_shell.language.printer import print_script
from lingos_shell.language.running_text import OPENERS, stripped
from lingos_shell.language.syntax import (
    Call,
    HostCommand,
    Keyed,
    Load,
    Option,
    Part,
    Pipeline,
    Save,
    Script,
    Talk,
    Text,
    Value,
    Variable,
    Word,
)

TRICKY = "ab1 \\\n\r\t|&$@\"'/!#<>={}[].,-_:;()?*~é中\u2028\u3000\ufeff\x00"
characters = st.one_of(st.sampled_from(TRICKY), st.characters())
texts = (
    st.text(characters, min_size=1, max_size=12).map(lambda t: t.replace("\r\n", "\r")).filter(bool)
)
snippets = st.sampled_from(
    ["| /name", "| !x", "| > f", "&", " &", "$name", "${a.b}", "@file", "@x:y", "\\", "\\\n", '"""',
     "/ask", "x = 5", "| /name\n", "--", "#"]
)  # fmt: skip
pieces = st.lists(st.one_of(texts, snippets), min_size=1, max_size=4).map("".join)
plain = pieces.map(lambda t: t.replace("\r\n", "\r"))
names = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,4}\Z").filter(lambda n: n != "_")
fields = st.from_regex(r"\A[\w-]{0,3}\w\Z")
call_names = st.from_regex(r"\A[a-z]{1,3}(\.[a-z-]{1,3})?\Z").filter(lambda n: n != "ask")
option_names = st.from_regex(r"\A[A-Za-z][A-Za-z0-9_-]{0,4}\Z")
variables = st.builds(
    Variable, st.one_of(names, st.just("_")), st.lists(fields, max_size=2).map(tuple)
)
loads = st.builds(Load, plain, st.sampled_from(["", "file", "x-1"]))


def joined(parts: list[Part]) -> Word:
    """A word of the parts, texts side by side put together."""
    found: list[Part] = []
    for part in parts:
        if found and isinstance(part, Text) and isinstance(last := found[-1], Text):
            found[-1] = Text((last.text + part.text).replace("\r\n", "\r"))
        else:
            found.append(part)
    return Word(tuple(found))


plain_words = st.lists(st.one_of(plain.map(Text), variables), max_size=3).map(joined)
words = st.one_of(plain_words, loads.map(lambda load: Word((load,))))


def can_be_said(word: Word) -> bool:
    """Whether running text can hold the word: a load begins a word there."""
    before = " "
    for part in word.parts:
        if isinstance(part, Load) and not (before.isspace() or before in OPENERS):
            return False
        before = (part.text.rstrip("\\")[-1:] or before) if isinstance(part, Text) else "x"
    return True


messages = (
    st.lists(st.one_of(plain.map(Text), variables, loads), max_size=4)
    .map(joined)
    .map(stripped)
    .filter(can_be_said)
)
arguments = st.one_of(
    words,
    st.builds(Option, option_names, st.one_of(st.none(), words)),
    st.builds(Keyed, option_names, words),
)
calls = st.builds(Call, call_names, st.lists(arguments, max_size=4).map(tuple))
hosts = st.builds(HostCommand, plain.map(str.strip).filter(bool))
talks = st.builds(Talk, messages)
values = st.builds(Value, words)


@st.composite
def pipelines(draw: st.DrawFn) -> Pipeline:
    """A pipeline as the parser could have made it."""
    target = draw(st.one_of(st.just(""), names))
    first = draw(st.one_of(calls, hosts, talks, values))
    later = draw(st.lists(st.one_of(calls, hosts, talks), max_size=2))
    save = draw(st.one_of(st.none(), st.builds(Save, words, st.booleans())))
    source = draw(st.one_of(st.none(), words)) if isinstance(first, Call) else None
    is_background = draw(st.booleans())
    if isinstance(first, Value) and not target and is_quoted(first.word) and not later:
        later = [draw(calls)]  # a quoted text alone would be a message
    return Pipeline((first, *later), source, save, is_background, target)


def is_quoted(word: Word) -> bool:
    """Whether quotes are needed for the word to be a value."""
    return len(word.parts) != 1 or isinstance(word.parts[0], Text)


scripts = st.builds(Script, st.lists(pipelines(), max_size=3).map(tuple))


@given(scripts)
@example(
    Script((Pipeline((Talk(Word((Text("\\"), Load("a"), Text(" \\\\"), Load("b")))),)),)),
)
@settings(max_examples=200, deadline=None)
def test_a_printed_tree_is_read_as_itself(script: Script) -> None:
    """`parse(print(tree)) == tree` for every tree."""
    source = print_script(script)
    assert parse_script(source) == script, source


@given(st.one_of(st.text(characters, max_size=40), pieces, st.binary(max_size=60)))
@settings(max_examples=500, deadline=None)
def test_no_input_breaks_the_parser(source: str | bytes) -> None:
    """Anything is read, or refused with a place in it; what was read can be printed."""
    text = source if isinstance(source, str) else source.decode(errors="surrogateescape")
    for parse in (parse_script, parse_message):
        try:
            tree = parse(text)
        except InvalidScript as error:
            refused = error
        else:
            assert parse_script(print_script(tree)) == tree
            continue
        lines = text.replace("\r\n", "\n").split("\n")
        line, column = refused.details["line"], refused.details["column"]
        assert 1 <= line <= len(lines)
        assert 1 <= column <= len(lines[line - 1]) + 2
    needs_more(text)
