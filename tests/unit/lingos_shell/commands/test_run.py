"""`lingos run`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel.errors import EmptyPrompt
from lingos_kernel.syscalls.events import Item, Progress, Result
from lingos_shell.commands.run import join_prompt, process_title


def messages(kernel: Any) -> list[dict[str, Any]]:
    """The conversation of the one call that was made."""
    ((name, arguments),) = kernel.calls
    assert name == "llm.chat"
    found: list[dict[str, Any]] = arguments["messages"]
    return found


def test_the_answer_is_the_only_thing_on_stdout(lingos: Any, kernel: Any) -> None:
    """Text streams to stdout and ends with a line end."""
    outcome = lingos("run", "What is the capital of France?")
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (0, "Paris.\n", "")
    assert messages(kernel) == [{"role": "user", "content": "What is the capital of France?"}]
    assert kernel.opened == [("run What is the capital of France?", "job", 0)]
    assert {"caller": "human"} in kernel.options


def test_piped_text_comes_before_the_prompt(lingos: Any, kernel: Any) -> None:
    """`cat file | lingos run "..."`."""
    lingos("run", "Summarize.", stdin="A report.\n")
    assert messages(kernel)[0]["content"] == "A report.\n\nSummarize."


def test_piped_text_alone_is_a_prompt(lingos: Any, kernel: Any) -> None:
    """`echo hello | lingos run`."""
    lingos("run", stdin="hello\n")
    assert messages(kernel)[0]["content"] == "hello"


def test_json_is_one_document(lingos: Any) -> None:
    """`--json` gives text, model, usage and the reason why it ended."""
    result = json.loads(lingos("run", "--json", "x").stdout)
    assert result["text"] == "Paris."
    assert result["model"] == "tiny"
    assert result["finish_reason"] == "stop"
    assert set(result["usage"]) >= {"prompt_tokens", "output_tokens", "cached_tokens", "queue_s"}


def test_options_reach_the_model(lingos: Any, kernel: Any, tmp_path: Path) -> None:
    """Every option has its argument, typed by the kernel's schema."""
    schema = tmp_path / "s.json"
    schema.write_text('{"type": "object"}')
    words = ["-m", "big", "-s", "Be brief.", "-t", "0.7", "--max-tokens", "9", "--seed", "3"]
    words += ["-o", "top-k", "5", "-o", "stop", "a", "-o", "stop", "b", "-o", "logit_bias", "7=1"]
    words += ["-o", "logit_bias", "8=2", "--schema", str(schema), "--tools", "text.*,mem.get"]
    assert lingos("run", *words, "--nice", "5", "x").exit_code == 0
    ((_, arguments),) = kernel.calls
    assert arguments == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "x"},
        ],
        "model": "big",
        "tools": ["text.*", "mem.get"],
        "temperature": 0.7,
        "max_tokens": 9,
        "seed": 3,
        "schema": {"type": "object"},
        "top_k": 5,
        "stop": ["a", "b"],
        "logit_bias": {"7": 1.0, "8": 2.0},
    }
    assert kernel.opened[0][2] == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "top_q", "1"], "did you mean top_k"),
        (["-o", "top_k", "x"], "--top-k must be an integer"),
        (["-o", "messages", "x"], "no sampling option"),
        (["--schema", "{"], "the schema is not valid JSON"),
        (["--schema", "nowhere.json"], "cannot read nowhere.json"),
        (["-t", "hot"], "'hot' is not a valid float"),
    ],
)
def test_wrong_options_are_usage_errors(lingos: Any, words: list[str], message: str) -> None:
    """Exit code 2, and nothing is asked of the model."""
    outcome = lingos("run", *words, "x")
    assert outcome.exit_code == 2
    assert message in outcome.stderr


@pytest.mark.parametrize("words", [[], [""], ["  "]])
def test_an_empty_prompt_is_refused(lingos: Any, kernel: Any, words: list[str]) -> None:
    """Before any kernel is asked."""
    outcome = lingos("run", *words)
    assert outcome.exit_code == 2
    assert outcome.stderr.startswith("lingos: error: the prompt is empty\nhint: ")
    assert kernel.calls == []


def test_invalid_utf8_on_stdin_names_the_offset(lingos: Any) -> None:
    """Exit code 2, and the place."""
    outcome = lingos("run", "x", stdin=b"abc\xff")
    assert outcome.exit_code == 2
    assert "byte 0xff at offset 3" in outcome.stderr


def test_several_choices_are_told_apart(lingos: Any, kernel: Any) -> None:
    """With n above 1 nothing streams; choices are divided by lines."""
    choices = [{"text": "one"}, {"text": "two"}]
    result = {"text": "one", "finish_reason": "stop", "choices": choices}
    kernel.answers["llm.chat"] = lambda **_: [Item({"text": "on"}), Result(result)]
    assert lingos("run", "-o", "n", "2", "x").stdout == "one\n---\ntwo\n"


def test_a_cut_answer_is_told_on_stderr(lingos: Any, kernel: Any) -> None:
    """An answer that ends at the token limit looks finished, but is not."""
    result = {"text": "a", "finish_reason": "length", "usage": {"output_tokens": 4}, "choices": []}
    kernel.answers["llm.chat"] = lambda **_: [Item({"text": "a"}), Result(result)]
    outcome = lingos("run", "x")
    assert outcome.stdout == "a\n"
    assert "cut after 4 tokens" in outcome.stderr


def test_tool_calls_are_narrated(lingos: Any, kernel: Any) -> None:
    """What the model does on the way goes to stderr."""
    call = {"tool_call": {"name": "mem.get", "arguments": {"key": "a"}}}
    result = {"tool_result": {"name": "mem.get", "value": 1}}
    failed = {"tool_result": {"name": "mem.get", "error": {"message": "no"}}}
    end = Result({"text": "done", "finish_reason": "stop", "choices": []})
    items = [Item(data) for data in (call, result, failed, {"text": "done"})]
    kernel.answers["llm.chat"] = lambda **_: [*items, end]
    outcome = lingos("run", "x")
    assert outcome.stdout == "done\n"
    assert outcome.stderr == '[mem.get("key": "a")]\n[mem.get is done]\n[mem.get failed: no]\n'


def test_progress_is_silent_without_a_terminal(lingos: Any, kernel: Any) -> None:
    """A pull in a script draws no bar."""
    end = Result({"text": "x", "finish_reason": "stop", "choices": []})
    kernel.answers["llm.chat"] = lambda **_: [Progress(1, 2, "B", "pulling"), end]
    assert lingos("run", "--no-stream", "x").stderr == ""


def test_a_time_limit_cancels_the_call(lingos: Any, kernel: Any) -> None:
    """Exit code 4, and the kernel is told."""
    kernel.answers["llm.chat"] = lambda **_: asyncio.Event().wait()
    outcome = lingos("run", "--timeout", "0.01", "x")
    assert outcome.exit_code == 4
    assert "was ended after 0.01 s" in outcome.stderr
    assert kernel.cancelled == ["llm.chat"]


def test_prompt_parts_are_joined_by_an_empty_line() -> None:
    """Blank parts count for nothing."""
    assert join_prompt("a\n", "b") == "a\n\nb"
    assert join_prompt(None, "b") == "b"
    with pytest.raises(EmptyPrompt):
        join_prompt("\n", " ")


def test_the_process_is_named_after_the_prompt() -> None:
    """`lingos ps` shows one short line."""
    assert process_title("a\nb") == "run a b"
    assert len(process_title("word " * 50)) == 44
