"""The language carried out on a kernel whose model echoes."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import psutil
import pytest

from lingos_kernel.client.local import LocalClient
from lingos_kernel.kernel import Kernel
from lingos_kernel.testing.scripted_engine import ScriptedEngine
from lingos_kernel.testing.scripted_kernel import scripted_kernel
from lingos_shell.language.conversation import PassingConversation
from lingos_shell.language.interpreter import Interpreter
from lingos_shell.language.loaders import MAX_BYTES


async def test_text_goes_to_the_session_that_the_kernel_keeps(shell: Any, sink: Any) -> None:
    """The first message makes a context of its name; the next ones go on with it."""
    await shell.run("Hello there, you", sink)
    await shell.run("and again", sink)
    assert sink.text == "Hello there, youand again"
    assert shell.conversation.name == "hello-there-you"
    shown = await shell.client.call("ctx.show", name="hello-there-you")
    assert [m["role"] for m in shown["messages"] if m["role"] != "system"] == [
        "user", "assistant", "user", "assistant",
    ]  # fmt: skip


async def test_another_front_end_opens_the_same_session(
    shell: Any, sink: Any, kernel: Kernel
) -> None:
    """A session is opened by its name, and a new one begins under a new name."""
    await shell.run("Hello", sink)
    other = Interpreter(LocalClient(kernel))
    await other.run("/session hello", sink)
    await other.run("more", sink)
    assert other.conversation.name == "hello"
    await other.run("/clear", sink)
    await other.run("Hello", sink)
    assert other.conversation.name == "hello-2"


async def test_a_session_changes_its_model(shell: Any, sink: Any, tmp_path: Path) -> None:
    """What was said goes along; no other context is left over."""
    await shell.run("Hello", sink)
    await shell.client.call("model.tag", name="scripted", alias="other")
    shell.settings.model = "other"
    await shell.run("more", sink)
    assert sink.error is None
    assert [row["name"] for row in await shell.client.call("ctx.list")] == ["hello"]


async def test_settings_reach_the_model(shell: Any, sink: Any) -> None:
    """`/set` types its values by the schema, `/unset` gives them up."""
    await shell.run("/set max-tokens 3", sink)
    await shell.run("abcdef", sink)
    assert sink.text == "abc"
    await shell.run("/unset max_tokens\nabcdef", sink)
    assert sink.text == "abcabcdef"
    await shell.run("/set temperature hot", sink)
    assert "number" in sink.error.message


async def test_results_flow_through_pipes(shell: Any, sink: Any) -> None:
    """A syscall's parameter, a message and a host command each take what comes."""
    await shell.run("Good text | /llm.tokenize | !cat", sink)
    assert json.loads(sink.text)["count"] == len("Good text")
    sink.events.clear()
    await shell.run("!printf 'some words' | /ask what is this?", sink)
    assert sink.text == "some words\n\nwhat is this?"
    sink.events.clear()
    await shell.run('/print "the text" | /text.similarity "the text"', sink)
    assert sink.values[0] == pytest.approx(1.0)


async def test_a_host_command_reads_while_the_model_writes(tmp_path: Path, sink: Any) -> None:
    """The pipe streams: `head` has its first line before the answer ends, which then is ended."""
    engine = ScriptedEngine(lambda _: "line\n" * 100_000)
    async with scripted_kernel(tmp_path, engine=engine) as kernel:
        shell = Interpreter(LocalClient(kernel), conversation=PassingConversation())
        shell.settings.options["max_tokens"] = 400_000
        outcome = await shell.run("Tell me | !head -n 2", sink)
        assert (outcome.exit_code, sink.text) == (0, "line\nline\n")
        calls = (await shell.client.call("sys.snapshot"))["calls"]
        assert [call["syscall"] for call in calls] == ["sys.snapshot"]


async def test_variables_and_parts_of_them(shell: Any, sink: Any) -> None:
    """An assignment shows nothing; `$_` is the last result; parts are had by dots."""
    await shell.run("x = /llm.tokenize abc", sink)
    assert sink.events == []
    await shell.run("$x.count", sink)
    await shell.run('/print "$x.count of ${x.model}"', sink)
    await shell.run("$_ | !tr a-z A-Z", sink)
    assert sink.values == [3, "3 of scripted"]
    assert sink.text == "3 OF SCRIPTED"
    await shell.run("y = [1, 2]", sink)
    await shell.run("$y.1", sink)
    assert sink.values[-1] == 2


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("/print $nothing", "there is no variable $nothing", "/vars"),
        ("$x.b", "$x has no field 'b'", "it has a"),
        ("/proc.lst", "there is no /proc.lst", "did you mean proc.list"),
        ("/llm.tokenize abc --modle x", "no argument is called --modle", "--model"),
        ("/proc.kill 1 TERM c", "unexpected word", "quotes"),
        ("/llm.tokenize", "missing argument --text", "/help"),
        ("/llm.tokenize @nowhere.txt", "@nowhere.txt names no file", "Tab"),
        ("/llm.tokenize @nowhere:x", "no loader is called nowhere", "file"),
        ("/ps > no/where", "cannot write no/where: there is no folder no", "may write"),
        ("/ps < nowhere", "cannot read nowhere: no such file or directory", "read"),
        ("/ps a=b", "no argument is called a", "quotes"),
        ("/fg", "there is no job", "&"),
        ("/ask", "there is nothing to answer", "text"),
        ("!exit 7", "!exit 7 ended with exit code 7", ""),
        ("/ps | /sys.version", "no argument is left", "no arguments"),
    ],
)
async def test_errors_say_what_and_what_to_do(
    shell: Any, sink: Any, line: str, message: str, hint: str
) -> None:
    """Each error ends its run, with the exit code of its class."""
    shell.variables["x"] = {"a": 1}
    outcome = await shell.run(line, sink)
    assert message in sink.error.message
    assert hint in sink.error.hint
    assert outcome.exit_code == sink.error.exit_code != 0


async def test_a_script_ends_at_its_first_error(shell: Any, sink: Any) -> None:
    """What comes after it is not done."""
    outcome = await shell.run("/print a\n/nothing\n/print b", sink, is_script=True)
    assert (sink.values, outcome.exit_code) == (["a"], 2)


async def test_results_go_to_files_whole(shell: Any, sink: Any) -> None:
    """Text, JSON by the name of the file, appended or replaced, and never half."""
    await shell.run("Hello | > a.txt", sink)
    await shell.run("More | >> a.txt", sink)
    assert Path("a.txt").read_text() == "Hello\nMore\n"
    await shell.run("/llm.tokenize abc > b.json", sink)
    assert json.loads(Path("b.json").read_text())["count"] == 3
    await shell.run("/nothing > a.txt", sink)
    assert Path("a.txt").read_text() == "Hello\nMore\n"
    assert sorted(path.name for path in Path().iterdir()) == ["a.txt", "b.json"]
    await shell.run("/llm.tokenize < a.txt > c.json", sink)
    assert json.loads(Path("c.json").read_text())["count"] == len("Hello\nMore\n")


async def test_files_are_loaded_into_messages(shell: Any, sink: Any) -> None:
    """The contents stand before the message; what names no file is text, and that is told."""
    Path("a.md").write_text("Contents.")
    await shell.run("See @a.md, @b.md and @ana", sink)
    assert sink.text == "a.md:\nContents.\n\nSee a.md, @b.md and @ana"
    assert sink.told == ["@b.md names no file: it was sent as text"]


async def test_folders_patterns_and_limits(shell: Any, sink: Any) -> None:
    """Text files of a folder, in order; binary and endless ones are refused by name."""
    Path("d/e").mkdir(parents=True)
    Path("d/b.txt").write_text("B")
    Path("d/e/a.txt").write_text("A")
    Path("d/.hidden").write_text("H")
    Path("d/picture").write_bytes(b"\0\1")
    for line in ("/print @d", "/print @d/*.txt", "/print @d/picture", "/print @big"):
        Path("big").write_bytes(b"x" * (MAX_BYTES + 1))
        await shell.run(line, sink)
    assert sink.values == ["d/b.txt:\nB\n\nd/e/a.txt:\nA", "d/b.txt:\nB"]
    messages = [e.error.message for e in sink.events if hasattr(e, "error")]
    assert messages == ["@d/picture is no text: it is binary", "@big is more than 4 MiB"]


async def test_destructive_syscalls_ask(shell: Any, sink: Any) -> None:
    """A no ends the line, a yes is passed on."""
    await shell.run("Hello", sink)
    sink.says_yes = False
    outcome = await shell.run("/ctx.remove hello", sink)
    assert (outcome.exit_code, sink.asked) == (130, [("ctx.remove", {"name": "hello"})])
    sink.says_yes = True
    assert (await shell.run("/ctx.remove hello", sink)).exit_code == 0


async def test_jobs(shell: Any, sink: Any) -> None:
    """A line in the background has its own process, keeps its output, and is waited for."""
    await shell.run("x = /llm.tokenize abc &", sink)
    await shell.run("!printf done &", sink)
    assert [row["job"] for row in (await shell.run("/jobs", sink)).value] == [1, 2]
    await shell.run("/wait", sink)
    assert shell.variables["x"]["count"] == 3
    assert sink.text == ""
    await shell.run("/fg 2", sink)
    assert sink.text == "done"
    assert [row["state"] for row in (await shell.run("/jobs", sink)).value] == ["done"]
    commands = [row["command"] for row in await shell.client.call("proc.list")]
    assert "!printf done" not in commands


async def test_jobs_stop_and_go_on(shell: Any, sink: Any) -> None:
    """A stopped job holds; `/fg` lets it go on and follows it; an error comes out there."""
    await shell.run("!read line; echo $line &", sink)  # its input is empty: `read` fails
    await shell.run("/wait 1", sink)
    await shell.run("!sleep 60 &", sink)
    await shell.run("/stop 2", sink)
    assert shell.jobs.find(2).state == "stopped"
    await shell.run("/bg 2", sink)
    assert shell.jobs.find(2).state == "running"
    following = asyncio.ensure_future(shell.run("/fg 2", sink))
    await asyncio.sleep(0)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    await shell.close()


async def test_cancelling_ends_this_run_in_the_kernel_too(tmp_path: Path, sink: Any) -> None:
    """Nothing of the answer goes on; the session can be used at once."""
    engine = ScriptedEngine(lambda prompt: "word " * 100_000 if "long" in prompt.user else "Yes.")
    async with scripted_kernel(tmp_path, engine=engine) as kernel:
        client = LocalClient(kernel)
        shell = Interpreter(client)
        shell.settings.options["max_tokens"] = 400_000
        running = asyncio.ensure_future(shell.run("a long story", sink))
        await sink.has_text.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        sink.events.clear()
        del shell.settings.options["max_tokens"]
        outcome = await shell.run("short?", sink)
        assert (outcome.exit_code, sink.text) == (0, "Yes.")
        running_calls = (await client.call("sys.snapshot"))["calls"]
        assert [call["syscall"] for call in running_calls] == ["sys.snapshot"]


async def test_cancelling_ends_a_host_command(shell: Any, sink: Any) -> None:
    """With all that it started."""
    running = asyncio.ensure_future(shell.run("!echo $$; sleep 60 | cat", sink))
    await sink.has_text.wait()
    group = int(sink.text)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [p for p in psutil.process_iter() if is_alive_in(group, p)] == []


def is_alive_in(group: int, process: psutil.Process) -> bool:
    """Whether a process of the group is there and no zombie."""
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False


async def test_host_commands_see_the_variables(shell: Any, sink: Any) -> None:
    """As environment variables, which do not hide those of the system."""
    shell.variables |= {"answer": {"text": "forty-two"}, "PATH": "nowhere"}
    await shell.run('!printf %s "$answer"', sink)
    assert sink.text == "forty-two"


async def test_help_and_leaving(shell: Any, sink: Any) -> None:
    """Help is a value like others; leaving is no error."""
    await shell.run("/help", sink)
    await shell.run("/help text.chunk", sink)
    await shell.run("/help wait", sink)
    overview, chunk, wait = sink.values
    assert "/jobs" in overview
    assert chunk.startswith("/text.chunk [TEXT]")
    assert "Wait" in wait
    outcome = await shell.run("/exit 3", sink)
    assert (outcome.is_leaving, outcome.exit_code) == (True, 3)


async def test_long_output_is_streamed_through(tmp_path: Path, sink: Any) -> None:
    """Ten thousand lines arrive whole and in order."""
    lines = "".join(f"line {n} 中文 é\n" for n in range(10_000))
    Path(tmp_path / "long.txt").write_text(lines)
    async with scripted_kernel(tmp_path / "home") as kernel:
        shell = Interpreter(LocalClient(kernel))
        await shell.run(f"!cat {tmp_path / 'long.txt'} | !cat", sink)
    assert sink.text == lines
