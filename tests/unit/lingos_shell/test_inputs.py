"""What a command reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from lingos_kernel.errors import InvalidArguments
from lingos_shell.inputs import decode, json_object, read_text, require_unicode


def test_a_byte_order_mark_is_dropped() -> None:
    """Files of some editors begin with one."""
    assert decode(b"\xef\xbb\xbftext", "x") == "text"


def test_invalid_utf8_names_the_byte_and_its_offset() -> None:
    """The person can find the place."""
    with pytest.raises(InvalidArguments, match="byte 0xff at offset 3") as caught:
        decode(b"abc\xffdef", "standard input")
    assert "iconv" in caught.value.hint


def test_words_that_were_no_utf8_are_refused() -> None:
    """Python smuggles wrong bytes of the command line through as surrogates."""
    with pytest.raises(InvalidArguments, match="the prompt is not valid UTF-8 at character 1"):
        require_unicode("a\udcff", "the prompt")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """No traceback, the reason in words."""
    with pytest.raises(InvalidArguments, match="no such file"):
        read_text(str(tmp_path / "missing"))
    with pytest.raises(InvalidArguments, match="is a directory"):
        read_text(str(tmp_path))


def test_json_is_taken_inline_or_from_a_file(tmp_path: Path) -> None:
    """A schema on the command line or in a file means the same."""
    path = tmp_path / "s.json"
    path.write_text('{"type": "string"}')
    assert json_object(str(path), "s") == json_object('{"type": "string"}', "s")
    assert json_object(f"@{path}", "s") == {"type": "string"}


@pytest.mark.parametrize(("text", "message"), [("{oops", "not valid JSON"), ("[1]", "not list")])
def test_json_that_is_no_object_is_refused(text: str, message: str) -> None:
    """The error says what is wrong with it."""
    with pytest.raises(InvalidArguments, match=message):
        json_object(text, "the schema")
