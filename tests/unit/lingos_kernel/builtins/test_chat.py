"""Conversations in which the model calls syscalls."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lingos_kernel.builtins import chat
from lingos_kernel.engine.messages import Generate
from lingos_kernel.errors import InvalidArguments, UnknownSyscall
from lingos_kernel.kernel import Kernel
from lingos_kernel.security.principal import Principal
from lingos_kernel.syscalls.events import Item
from lingos_kernel.testing import Prompt, ScriptedEngine

ASK = [{"role": "user", "content": "How many tokens has abc?"}]


def tool_call(name: str, /, **arguments: Any) -> str:
    """A call as a model writes it."""
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


class Talker:
    """Answers turn by turn, and keeps what it was shown."""

    def __init__(self, *turns: str) -> None:
        self._turns = list(turns)
        self.seen: list[str] = []

    def __call__(self, prompt: Prompt) -> str:
        """The next turn."""
        self.seen.append(prompt.text)
        return self._turns[len(self.seen) - 1]


async def items(kernel: Kernel, **arguments: Any) -> tuple[list[Any], dict[str, Any]]:
    """What a chat streams, and its result."""
    call = kernel.submit(kernel.processes.get(1).principal, "llm.chat", arguments)
    streamed = [event.data async for event in call.events() if isinstance(event, Item)]
    return streamed, call.unwrap()


async def test_the_model_calls_a_tool_reads_the_result_and_answers(make_kernel: Any) -> None:
    """The call is run, its result is shown to the model, and the caller sees both."""
    talker = Talker("I count. " + tool_call("llm.tokenize", text="abc"), "It has 3.")
    async with make_kernel(talker) as kernel:
        streamed, result = await items(kernel, messages=ASK, tools=["llm.tokenize"])
    assert {"tool_call": {"name": "llm.tokenize", "arguments": {"text": "abc"}}} in streamed
    values = [item["tool_result"]["value"] for item in streamed if "tool_result" in item]
    assert values[0]["count"] == 3
    assert "".join(item.get("text", "") for item in streamed) == "I count. It has 3."
    assert result["text"] == "It has 3."
    assert result["steps"] == 2
    assert '"count": 3' in talker.seen[1]


async def test_several_calls_of_one_turn_are_all_answered_in_order(make_kernel: Any) -> None:
    """Two calls in a turn give two results before the model goes on."""
    talker = Talker(
        tool_call("llm.tokenize", text="a") + tool_call("llm.tokenize", text="bb"), "Done."
    )
    async with make_kernel(talker) as kernel:
        _, result = await items(kernel, messages=ASK, tools=["llm.tok*"])
    assert [call["result"]["value"]["count"] for call in result["tool_calls"]] == [1, 2]


async def test_a_failing_tool_is_told_to_the_model(make_kernel: Any) -> None:
    """An error is a result that the model reads; the chat goes on."""
    talker = Talker(tool_call("llm.detokenize", ids=[999_999]), "Sorry.")
    async with make_kernel(talker) as kernel:
        _, result = await items(kernel, messages=ASK, tools=["llm.detokenize"])
    assert result["tool_calls"][0]["result"]["error"]["code"] == "invalid_arguments"
    assert "outside the vocabulary" in talker.seen[1]
    assert result["text"] == "Sorry."


async def test_a_model_cannot_confirm_for_a_person(make_kernel: Any) -> None:
    """A syscall that wants a yes is refused to the model, even in a confirmed call."""
    talker = Talker(tool_call("model.remove", name="scripted"), "It did not let me.")
    async with make_kernel(talker) as kernel:
        call = kernel.submit(
            kernel.processes.get(1).principal,
            "llm.chat",
            {"messages": ASK, "tools": ["model.remove"]},
            confirmed=True,
        )
        result = await call.result()
        assert kernel.store.resolve("scripted").name == "scripted"
    assert result["tool_calls"][0]["result"]["error"]["code"] == "confirmation_required"


async def test_a_model_may_do_no_more_than_its_caller(make_kernel: Any) -> None:
    """Tools that the caller may not call are not offered."""
    guest = Principal("guest", capabilities=frozenset({"llm.chat"}))
    async with make_kernel() as kernel:
        call = kernel.submit(guest, "llm.chat", {"messages": ASK, "tools": ["proc.kill"]})
        with pytest.raises(UnknownSyscall):
            await call.result()


async def test_the_last_step_answers_without_tools(make_kernel: Any) -> None:
    """A model that never stops calling is given one turn in which it cannot."""
    call = tool_call("sys.version")
    talker = Talker(call, call, "Enough.")
    async with make_kernel(talker) as kernel:
        _, result = await items(kernel, messages=ASK, tools=["sys.version"], max_steps=3)
        assert isinstance(kernel.engine, ScriptedEngine)
        grammars = [c.params.grammar for c in kernel.engine.commands if isinstance(c, Generate)]
    assert result["steps"] == 3
    assert result["text"] == "Enough."
    assert [grammar is not None for grammar in grammars] == [True, True, False]


async def test_required_tools_are_forced_once(make_kernel: Any) -> None:
    """The first turn must call; later ones may answer."""
    talker = Talker(tool_call("sys.version"), "Here.")
    async with make_kernel(talker) as kernel:
        await items(kernel, messages=ASK, tools=["sys.version"], tool_choice="required")
        assert isinstance(kernel.engine, ScriptedEngine)
        grammars = [c.params.grammar for c in kernel.engine.commands if isinstance(c, Generate)]
    assert grammars[0].text.startswith("start: call+")
    assert grammars[1].text.startswith("start: TEXT")


async def test_a_long_result_is_cut_and_says_so(
    make_kernel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model does not read more of a result than fits."""
    monkeypatch.setattr(chat, "RESULT_CHARACTERS", 100)
    talker = Talker(tool_call("llm.tokenize", text="a" * 300), "Long.")
    async with make_kernel(talker) as kernel:
        _, result = await items(kernel, messages=ASK, tools=["llm.tokenize"])
    assert "characters cut)" in talker.seen[1]
    assert result["tool_calls"][0]["result"]["value"]["count"] == 300


async def test_tools_exclude_a_schema(make_kernel: Any) -> None:
    """Two grammars cannot both hold."""
    async with make_kernel() as kernel:
        with pytest.raises(InvalidArguments, match="cannot be combined"):
            await kernel.call("llm.chat", messages=ASK, tools=["sys.version"], schema={})
