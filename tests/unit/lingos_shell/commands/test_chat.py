"""`lingos sh`, alias `lingos chat`, fed by a pipe."""

from __future__ import annotations

import json
from typing import Any

from lingos_kernel.errors import PromptTooLong


def test_each_line_is_a_turn_with_all_that_was_said(lingos: Any, kernel: Any) -> None:
    """The conversation grows; empty lines say nothing."""
    outcome = lingos("chat", "-s", "Be brief.", stdin="one\n\ntwo\n")
    assert (outcome.exit_code, outcome.stdout) == (0, "Paris.\nParis.\n")
    assert [m["content"] for m in kernel.calls[1][1]["messages"]] == [
        "Be brief.",
        "one",
        "Paris.",
        "two",
    ]
    assert kernel.opened == [("sh", "session", 0)]


def test_clear_forgets_and_exit_leaves(lingos: Any, kernel: Any) -> None:
    """What begins with these words is not sent."""
    lingos("chat", stdin="one\n/clear\ntwo\n/exit\nthree\n")
    sent = [[m["content"] for m in arguments["messages"]] for _, arguments in kernel.calls]
    assert sent == [["one"], ["two"]]


def test_an_error_ends_its_turn_only(lingos: Any, kernel: Any) -> None:
    """The unanswered message is taken back, and the conversation goes on."""
    answer = kernel.answers["llm.chat"]

    def refuse_long(messages: list[dict[str, Any]], **_: Any) -> Any:
        if messages[-1]["content"] == "long":
            raise PromptTooLong("too long", hint="say less")
        return answer()

    kernel.answers["llm.chat"] = refuse_long
    outcome = lingos("chat", stdin="long\nshort\n")
    assert (outcome.exit_code, outcome.stdout) == (0, "Paris.\n")
    assert outcome.stderr == "lingos: error: too long\nhint: say less\n"
    assert [m["content"] for m in kernel.calls[1][1]["messages"]] == ["short"]


def test_json_is_one_result_per_line(lingos: Any) -> None:
    """Programs can hold a conversation."""
    lines = lingos("chat", "--json", stdin="one\ntwo\n").stdout.splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["Paris.", "Paris."]


def test_without_a_command_the_chat_begins(lingos: Any, kernel: Any) -> None:
    """`lingos` alone talks with the default model."""
    assert lingos(stdin="hello\n").stdout == "Paris.\n"
    assert kernel.calls[0][0] == "llm.chat"


def test_invalid_utf8_names_its_line(lingos: Any) -> None:
    """The offset of the line and of the byte in it."""
    outcome = lingos("chat", stdin=b"one\na\xff\n")
    assert outcome.exit_code == 2
    assert "line at byte 4" in outcome.stderr
    assert "byte 0xff at offset 1" in outcome.stderr
