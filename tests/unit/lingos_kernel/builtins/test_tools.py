"""Tool calls as text: offered, forced, hidden from the stream, parsed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.builtins.tools import CLOSE, OPEN, ToolBox
from lingos_kernel.errors import UnknownSyscall
from lingos_kernel.syscalls.spec import SyscallInfo

POINT = {
    "type": "object",
    "properties": {"x": {"$ref": "#/$defs/Number"}},
    "$defs": {"Number": {"type": "integer"}},
}


def info(name: str, arguments: dict[str, object] | None = None) -> SyscallInfo:
    """A syscall with nothing but a name and arguments."""
    return SyscallInfo(
        name, "test", f"Does {name}.", "", name, "io", None, False, False, arguments or {}, {}
    )


def test_patterns_choose_among_what_the_caller_may_call() -> None:
    """A pattern takes all that match; one that matches nothing is an error."""
    infos = [info("text.a"), info("text.b"), info("sys.c")]
    assert [tool.name for tool in ToolBox.choose(infos, ["text.*"]).tools] == ["text.a", "text.b"]
    with pytest.raises(UnknownSyscall, match="'mq"):
        ToolBox.choose(infos, ["text.a", "mq.*"])


def test_the_grammar_holds_each_tools_schema_without_references() -> None:
    """References into $defs are resolved, since the schema is embedded."""
    grammar = ToolBox((info("a.b", POINT),)).grammar(required=True)
    schema = json.loads(grammar.split("%json ")[1])
    arguments = schema["anyOf"][0]["properties"]["arguments"]
    assert arguments["properties"]["x"] == {"type": "integer"}
    assert grammar.startswith("start: call+")


def test_several_calls_are_parsed_and_a_cut_one_is_not() -> None:
    """Whole calls count; one that a token limit cut does not."""
    text = (
        f'Let me see. {OPEN}{{"name": "a.b", "arguments": {{"x": 1}}}}{CLOSE}\n'
        f'{OPEN}{{"name": "c.d", "arguments": {{}}}}{CLOSE}{OPEN}{{"name": "e'
    )
    assert [(call.name, call.arguments) for call in ToolBox.parse(text)] == [
        ("a.b", {"x": 1}),
        ("c.d", {}),
    ]
    assert ToolBox.strip_calls(text) == "Let me see. "


@given(st.text(alphabet="<tool_cal>x\n", max_size=60), st.data())
def test_streamed_text_is_the_text_before_the_first_call(text: str, data: st.DataObject) -> None:
    """However the text is cut into pieces, what is shown is all that stands before a call."""
    visible, shown, rest = ToolBox.visible_text(), "", text
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        shown += visible.push(rest[:size])
        rest = rest[size:]
    assert shown + visible.finish() == text.split(OPEN, 1)[0]


def test_tools_are_described_in_the_system_message() -> None:
    """A template without tools gets them in words, added to the system message there is."""
    box = ToolBox((info("a.b", POINT),))
    told = box.instruct(
        [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    )
    assert told[0]["content"].startswith("Be kind.\n\n")
    assert '"a.b"' in told[0]["content"]
    assert [message["role"] for message in told] == ["system", "user"]
    alone = box.instruct([{"role": "tool", "name": "a.b", "content": "1"}])
    assert [message["role"] for message in alone] == ["system", "user"]
    assert alone[1]["content"] == "Result of a.b: 1"


def test_an_argument_may_hold_the_closing_mark() -> None:
    """What stands inside of a JSON text ends no call."""
    call = {"name": "a.b", "arguments": {"x": f"a {CLOSE} b {OPEN}"}}
    text = f"{OPEN}{json.dumps(call)}{CLOSE}"
    assert [found.arguments for found in ToolBox.parse(text)] == [call["arguments"]]


def test_a_recursive_type_is_left_open_where_it_recurs() -> None:
    """A tree's children are trees; the grammar ends all the same."""
    node = {"type": "object", "properties": {"child": {"$ref": "#/$defs/Node"}}}
    tree = {"properties": {"root": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": node}}
    grammar = ToolBox((info("a.b", tree),)).grammar(required=True)
    schema = json.loads(grammar.split("%json ")[1])
    root = schema["anyOf"][0]["properties"]["arguments"]["properties"]["root"]
    assert root["properties"]["child"] == {}
