"""Typed functions as syscalls: schemas, checks without guessing, and errors in one line."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, Unpack

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from lingos_kernel import syscall
from lingos_kernel.errors import InvalidArguments, PluginError
from lingos_kernel.syscalls.events import Item, Result
from lingos_kernel.syscalls.schema import Syscall, describe
from lingos_kernel.syscalls.spec import ATTRIBUTE

if TYPE_CHECKING:
    from lingos_kernel import Context


class Colour(enum.Enum):
    """Two of them."""

    RED = "red"
    BLUE = "blue"


class Point(BaseModel):
    """A nested model."""

    x: int
    y: float = 0


@dataclasses.dataclass
class Box:
    """A nested dataclass."""

    width: int


class Options(TypedDict, total=False):
    """Options taken as keyword arguments."""

    top: Annotated[int, Field(ge=0, description="how many")]


class Row(msgspec.Struct):
    """A result that pydantic does not know."""

    n: int


def made(function: Any, name: str = "t.go") -> Syscall:
    """The syscall of a marked function."""
    return describe(function, getattr(function, ATTRIBUTE), name=name, owner="t")


@syscall()
async def everything(
    context: Context,
    text: str,
    schema: dict[str, Any],
    _x: bool = False,
    *,
    copy: tuple[int, ...] = (),
    path: Path | None = None,
    kind: Literal["u", "v"] = "u",
    colour: Colour = Colour.RED,
    point: Point | None = None,
    box: Box | None = None,
    share: Annotated[float, Field(ge=0, le=1, description="0 to 1")] = 0.5,
    **options: Unpack[Options],
) -> list[Point]:
    """Do everything
    at once.

    In more words.

    Args:
        text: what to read:
            all of it
        copy (tuple): which ones

    Returns:
        points
    """
    return []


def test_info() -> None:
    """Name, help and JSON schemas come from the signature and the docstring."""
    info = made(everything).info
    assert info.summary == "Do everything at once."
    assert info.help == "In more words.\n\nReturns:\n    points"
    assert (info.capability, info.streams, info.confirm) == ("t.go", False, False)
    schema = info.arguments
    assert schema["required"] == ["text", "schema"]
    assert schema["additionalProperties"] is False
    properties = schema["properties"]
    assert "context" not in properties
    assert properties["text"] == {"type": "string", "description": "what to read: all of it"}
    assert properties["copy"]["description"] == "which ones"
    assert properties["kind"]["enum"] == ["u", "v"]
    assert properties["share"] == {
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "default": 0.5,
        "description": "0 to 1",
    }
    assert properties["top"]["description"] == "how many"
    assert "default" in properties["path"]
    assert info.returns["items"] == {"$ref": "#/$defs/Point"}


def test_json_values_become_the_declared_types() -> None:
    """What JSON cannot say is taken from what it can: lists, texts and objects."""
    given_json = {
        "text": "t",
        "schema": {"a": 1},
        "_x": True,
        "copy": [1, 2],
        "path": "/x",
        "colour": "blue",
        "point": {"x": 1},
        "box": {"width": 2},
        "share": 1,
        "top": 3,
    }
    wanted = {
        "text": "t",
        "schema": {"a": 1},
        "_x": True,
        "copy": (1, 2),
        "path": Path("/x"),
        "colour": Colour.BLUE,
        "point": Point(x=1),
        "box": Box(2),
        "share": 1.0,
        "top": 3,
    }
    assert made(everything).validate(given_json) == wanted
    assert made(everything).validate(wanted) == wanted
    assert made(everything).validate({**given_json, "path": Path("/x")}) == wanted


def test_only_what_was_given_is_passed() -> None:
    """Defaults stay Python's own."""
    assert made(everything).validate({"text": "", "schema": {}}) == {"text": "", "schema": {}}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"text": 1}, "text is 1: input should be a valid string"),
        ({"_x": 1}, "_x is 1"),
        ({"_x": "true"}, "_x is 'true'"),
        ({"copy": ["1"]}, "copy.0 is '1': input should be a valid integer"),
        ({"copy": [True]}, "copy.0 is True"),
        ({"share": "0.5"}, "share is '0.5'"),
        ({"share": 2}, "share is 2: input should be less than or equal to 1"),
        ({"colour": "green"}, "input should be 'red' or 'blue'"),
        ({"kind": "w"}, "input should be 'u' or 'v'"),
        ({"point": {"x": 1.5}}, "point.x is 1.5"),
        ({"point": {"z": 1}}, "point.x is {'z': 1}: field required"),
        ({"box": {"depth": 1}}, "box.width"),
        ({"top": -1}, "top is -1"),
        ({"txet": 1}, "txet is not an argument"),
        ({"context": None}, "context is not an argument"),
        ({"path": object()}, "path is <object"),
        ({"text": "a\ud800"}, "text is not Unicode text: '\\ud800' at character 1"),
    ],
)
def test_wrong_arguments(wrong: dict[str, Any], said: str) -> None:
    """Each wrong argument is named with what was given and what is wanted, on one line."""
    with pytest.raises(InvalidArguments) as caught:
        made(everything).validate({"text": "", "schema": {}, **wrong})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.details["arguments"] == [next(iter(wrong))]


def test_all_wrong_arguments_at_once() -> None:
    """Missing, unknown (with the near name) and wrong ones are told together, long values cut."""
    with pytest.raises(InvalidArguments) as caught:
        made(everything).validate({"txt": 1, "schema": "x" * 1000})
    told = str(caught.value)
    assert "text is missing" in told
    assert "txt is not an argument" in told
    assert "did you mean text" in told
    assert len(told) < 250


def test_no_arguments() -> None:
    """A syscall without arguments says so."""

    @syscall()
    def nothing() -> None:
        """Nothing."""

    with pytest.raises(InvalidArguments, match="it takes no arguments"):
        made(nothing).validate({"x": 1})


def test_methods_and_local_types() -> None:
    """Bound methods lose their self; types local to a function are found."""

    class Local(BaseModel):
        n: int

    class Room:
        @syscall()
        def go(self, context: Context, it: Local, more: list[Local]) -> Local:
            """Go."""
            return it

    found = made(Room().go)
    assert found.takes_context
    assert found.validate({"it": {"n": 1}, "more": []}) == {"it": Local(n=1), "more": []}
    assert found.info.returns["title"] == "Local"


def test_flows_and_what_they_stream() -> None:
    """Each kind of function is told apart; a typed stream tells the type of its pieces."""

    @syscall()
    def function() -> Row:
        return Row(1)

    @syscall()
    async def coroutine() -> None:
        """Nothing."""

    @syscall()
    def generator() -> Iterator[int]:
        yield 1

    @syscall()
    async def async_generator() -> AsyncIterator[Item | Result]:
        yield Item(1)

    found = {f.__name__: made(f) for f in (function, coroutine, generator, async_generator)}
    assert {name: s.flow for name, s in found.items()} == {name: name for name in found}
    assert [s.info.streams for s in found.values()] == [False, False, True, True]
    assert found["function"].info.returns["$defs"]["Row"]["required"] == ["n"]
    assert found["coroutine"].info.returns == {"type": "null"}
    assert found["generator"].info.returns == {"type": "array", "items": {"type": "integer"}}
    assert found["async_generator"].info.returns == {}


def test_functions_that_cannot_be_syscalls() -> None:
    """Untyped, positional-only, starred, unknown and uncheckable parameters are refused by name."""

    @syscall()
    def untyped(a) -> None:  # type: ignore[no-untyped-def]
        """No type."""

    @syscall()
    def positional(a: int, /) -> None:
        """No name."""

    @syscall()
    def starred(*a: int) -> None:
        """Many."""

    @syscall()
    def unknown(a: Missing) -> None:  # type: ignore[name-defined]  # noqa: F821
        """No such type."""

    @syscall()
    def uncheckable(a: Room) -> None:
        """No idea."""

    @syscall()
    def hidden(a: Annotated[int, Field(default=1)]) -> None:
        """A default that Python does not see."""

    class Room:
        pass

    for function, said in (
        (untyped, "the parameter a has no type"),
        (positional, "cannot be given by name"),
        (starred, "cannot be given by name"),
        (unknown, "the type Missing of a is not known"),
        (uncheckable, "is not known|cannot be checked"),
        (hidden, "has its default in Field"),
    ):
        with pytest.raises(PluginError, match=said):
            made(function)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["text", "schema", "copy", "path", "colour", "point", "share", "other"])


@settings(deadline=None)
@given(st.dictionaries(NAMES, JSON, max_size=5))
def test_any_json_is_taken_or_refused_in_one_line(arguments: dict[str, Any]) -> None:
    """No JSON makes validation fail otherwise, and scalars come through as they were given."""
    found, told = outcome(arguments)
    assert "\n" not in told
    if not told:
        assert found["text"] == arguments["text"]
        assert set(found) == set(arguments)


def outcome(arguments: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The checked arguments, or the error in words."""
    try:
        return made(everything).validate(arguments), ""
    except InvalidArguments as error:
        return {}, str(error)
