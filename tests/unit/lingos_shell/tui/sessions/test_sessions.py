"""Sessions as a person uses them: every key, on a whole kernel with a scripted engine."""

from __future__ import annotations

import json
from pathlib import Path

from lingos_kernel.client.local import LocalClient
from lingos_kernel.testing import Prompt
from lingos_shell.tui.sessions import state
from lingos_shell.tui.sessions.entries import HostText, UserMessage, Value
from lingos_shell.tui.sessions.reader import Reader


async def test_a_session_is_a_context_of_the_kernel(open_sessions) -> None:
    """What is said goes on in one context, named after its beginning; the tab says so."""
    async with open_sessions() as screen:
        await screen.send("Hello there")
        await screen.send("and more")
        assert "1 hello-there" in screen.text()
        shown = await LocalClient(screen.kernel).call("ctx.show", name="hello-there")
        roles = [m["role"] for m in shown["messages"] if m["role"] != "system"]
        assert roles == ["user", "assistant", "user", "assistant"]
        assert "tok/s" in screen.text()


async def test_tabs(open_sessions) -> None:
    """Ctrl+T begins one, keys go from one to the next, Ctrl+W closes; contexts stay."""
    async with open_sessions() as screen:
        await screen.send("one")
        await screen.press("ctrl+t")
        assert len(screen.tabs.views) == 2
        await screen.send("two")
        assert "two" in screen.said()
        assert "one" not in screen.said()
        await screen.press("ctrl+pagedown")
        assert screen.view.session.name == "one"
        await screen.press("ctrl+pageup")
        assert screen.view.session.name == "two"
        await screen.press("alt+1")
        assert screen.view.session.name == "one"
        await screen.press("x", "ctrl+w")  # a word of the message, no tab
        assert screen.prompt.text == ""
        assert len(screen.tabs.views) == 2
        await screen.press("ctrl+w")
        assert [view.session.name for view in screen.tabs.views] == ["two"]
        assert screen.prompt.has_focus
        await screen.press("ctrl+w")
        assert [view.session.name for view in screen.tabs.views] == [""]
        await screen.press(*"hi")
        assert screen.prompt.text == "hi"


async def test_what_was_open_comes_back(open_sessions, tmp_path: Path) -> None:
    """Tabs of last time are there again, with what was said; a session that is gone says so."""
    async with open_sessions() as screen:
        await screen.send("one")
        await screen.press("ctrl+t")
        await screen.send("two")
        await screen.until(lambda: state.read(tmp_path / "state").names == ("one", "two"))
    async with open_sessions() as screen:
        assert [view.session.name for view in screen.tabs.views] == ["one", "two"]
        await screen.until(lambda: screen.messages == ["two"])
        await screen.press("up")
        assert screen.prompt.text == "two"
        sure = LocalClient(screen.kernel).with_options(confirmed=True)
        await sure.call("ctx.remove", name="one")
        await screen.press("alt+1")
        await screen.until(lambda: "error" in screen.said())
        await screen.send("again")
        assert screen.view.session.name == "again"


async def test_opening_a_session_from_the_list(open_sessions) -> None:
    """Ctrl+R lists what the kernel keeps; typing searches; one that is open is gone to."""
    async with open_sessions() as screen:
        await screen.send("one")
        client = LocalClient(screen.kernel)
        said = [{"role": "user", "content": "old?"}, {"role": "assistant", "content": "old!"}]
        await client.call("ctx.create", name="archive", messages=said)
        await screen.press("ctrl+r")
        await screen.until(lambda: "Open a session" in screen.text())
        await screen.press(*"arch", "enter")
        await screen.until(lambda: screen.messages == ["old?"])
        await screen.until(lambda: "old!" in screen.said())
        assert len(screen.tabs.views) == 2
        await screen.press("ctrl+r")
        await screen.until(lambda: "Open a session" in screen.text())
        await screen.press(*"one", "enter")
        await screen.until(lambda: screen.view.session.name == "one")
        assert len(screen.tabs.views) == 2


async def test_renaming(open_sessions) -> None:
    """The context gets the name; the conversation goes on; a taken name is refused."""
    async with open_sessions() as screen:
        await screen.send("one")
        await LocalClient(screen.kernel).call("ctx.create", name="taken")
        await screen.press("alt+r")
        await screen.until(lambda: "Rename the session" in screen.text())
        await screen.press("ctrl+a", "ctrl+k", *"my work", "enter")
        await screen.until(lambda: screen.view.session.name == "my-work")
        await screen.send("more")
        assert screen.messages == ["one", "more"]
        names = {head["name"] for head in await LocalClient(screen.kernel).call("ctx.list")}
        assert names == {"my-work", "taken"}
        await screen.send("/rename taken")
        assert screen.view.session.name == "my-work"
        assert "error" in screen.said()


async def test_the_language_works(open_sessions) -> None:
    """Syscalls, pipes, files, host commands, jobs and words."""
    async with open_sessions() as screen:
        Path("note.md").write_text("from the file", encoding="utf-8")
        await screen.send("say @note.md")
        assert "from the file" in screen.said()
        name = screen.view.session.name
        await screen.send("/ctx")
        assert isinstance(screen.view.transcript.entries[-1], Value)
        assert "OWNER" in screen.text()
        await screen.send("!printf 'a\\nb\\n' | wc -l")
        host = screen.view.transcript.entries[-1]
        assert isinstance(host, HostText)
        assert host.plain.strip() == "2"
        await screen.send("hello | > out.txt")
        assert Path("out.txt").read_text(encoding="utf-8").strip() == "hello"
        await screen.send("later &")
        await screen.until(lambda: "done  later" in screen.said())
        await screen.send("/nonsense")
        assert "there is no /nonsense" in screen.said()
        await screen.send("/clear")
        assert screen.messages == []
        await screen.send("/session brand-new")
        assert "error" not in screen.said()
        await screen.send(f"/session {name}")
        await screen.until(lambda: len(screen.messages) == 2)
        await screen.send("/tab")
        assert len(screen.tabs.views) == 2


async def test_editing_a_message_makes_a_branch(open_sessions) -> None:
    """e sends it again from where it stood; arrows go between the branches; nothing is lost."""
    async with open_sessions() as screen:
        await screen.send("first")
        await screen.send("second")
        await screen.send("third")
        await screen.press("shift+tab")
        assert screen.view.transcript.has_focus
        await screen.press("up", "up", "up", "e")
        assert screen.prompt.text == "second"
        assert "another branch" in str(screen.prompt.border_title)
        screen.prompt.text = "other"
        await screen.press("enter")
        await screen.until(lambda: screen.messages == ["first", "other"])
        await screen.idle()
        await screen.until(lambda: "branch 2/2" in screen.text())
        assert screen.view.session.name == "first:2"
        message = next(e for e in screen.view.transcript.query(UserMessage) if e.text == "other")
        assert message.branches == ["first", "first:2"]
        await screen.press("shift+tab")
        screen.view.transcript.select(message)
        await screen.press("left")
        await screen.until(lambda: screen.messages == ["first", "second", "third"])
        await screen.until(lambda: "branch 1/2" in screen.text())
        screen.view.transcript.select(screen.view.transcript.entries[0])
        await screen.press("r")
        await screen.until(lambda: screen.messages == ["first"])
        await screen.idle()
        assert screen.view.session.name == "first:3"


async def test_messages_wait_for_their_turn(open_sessions) -> None:
    """What is sent during an answer is queued, and can be taken back."""
    async with open_sessions() as screen:
        await screen.send("!sleep 60", waits=False)
        await screen.until(lambda: screen.view.is_running)
        await screen.send("second", waits=False)
        await screen.send("third", waits=False)
        assert screen.text().count("queued") == 2
        assert "runs" in screen.text().splitlines()[1]
        await screen.press("shift+tab", "delete")
        assert screen.messages == ["!sleep 60", "second"]
        await screen.press("escape")
        await screen.idle()
        assert "second" in screen.said()
        assert "queued" not in screen.text()


async def test_completion(open_sessions) -> None:
    """Tab completes names, arguments and files; Escape closes; in an empty prompt it leaves."""
    async with open_sessions() as screen:
        await screen.press(*"/ctx.", "tab")
        await screen.until(lambda: "/ctx.append" in screen.text())
        await screen.press("down", "enter")
        assert screen.prompt.text.startswith("/ctx.")
        assert screen.messages == []
        screen.prompt.text = ""
        await screen.press(*"/ctx.", "tab")
        await screen.until(lambda: screen.view.query_one("#completions").is_open)
        await screen.press("escape")
        assert not screen.view.query_one("#completions").is_open
        assert screen.prompt.text == "/ctx."
        screen.prompt.text = ""
        Path("unique-name.txt").write_text("x", encoding="utf-8")
        await screen.press(*"read @uniq", "tab")
        await screen.until(lambda: "@unique-name.txt" in screen.prompt.text)
        screen.prompt.text = ""
        await screen.press("tab")
        assert not screen.prompt.has_focus


async def test_long_output(open_sessions) -> None:
    """Of 10,000 lines the beginning is shown; Enter shows all; keys go on meanwhile."""
    async with open_sessions() as screen:
        await screen.send("!seq 10000")
        assert "9,800 lines more" in screen.text()
        await screen.press(*"abc")
        assert screen.prompt.text == "abc"
        await screen.press("shift+tab", "enter")
        await screen.until(lambda: isinstance(screen.app.screen, Reader))
        await screen.until(lambda: "10,000 lines" in screen.text())
        await screen.press("c", "escape")
        assert screen.app.clipboard.endswith("10000")


async def test_text_of_any_kind_keeps_the_layout(open_sessions) -> None:
    """Very long lines, wide characters, right-to-left text and control characters stay inside."""
    texts = ["x" * 30_000, "汉字" * 2000, "שלום " * 500, "a\x1b[31mred\x07\u202eb", "| a |\n" * 30]
    async with open_sessions(size=(80, 24)) as screen:
        for text in texts:
            await screen.send(text)
        lines = screen.app.screen._compositor.render_strips()
        assert {strip.cell_length for strip in lines} == {80}
        assert "\x1b" not in screen.text()
        assert "F1 help" in screen.text()


async def test_reasoning_is_folded(open_sessions) -> None:
    """What stands between the think tags is folded; Enter unfolds it."""
    async with open_sessions(lambda _: "<think>let me see</think>The answer.") as screen:
        await screen.send("why")
        assert "The answer." in screen.text()
        assert "let me see" not in screen.text()
        assert "reasoning, 3 words" in screen.text()
        await screen.press("shift+tab", "enter")
        await screen.until(lambda: "let me see" in screen.text())


async def test_asking_for_a_yes(open_sessions) -> None:
    """A call that needs it asks in place, without taking the keyboard; always holds on."""
    async with open_sessions() as screen:
        client = LocalClient(screen.kernel)
        for name in ("a", "b", "c", "d"):
            await client.call("ctx.create", name=name)
        await screen.send("/ctx.remove a", waits=False)
        await screen.until(lambda: "May it be called?" in screen.text())
        assert "asks" in screen.text().splitlines()[1]
        await screen.press("a")
        assert screen.prompt.text == "a"
        await screen.press("backspace", "ctrl+g", "r")
        await screen.idle()
        assert "was not called" in screen.said()
        await screen.send("/ctx.remove a", waits=False)
        await screen.until(lambda: screen.view.questions)
        await screen.press("ctrl+g", "a")
        await screen.idle()
        await screen.send("/ctx.remove b", waits=False)
        await screen.until(lambda: screen.view.questions)
        await screen.press("ctrl+g", "A")
        await screen.idle()
        await screen.send("/ctx.remove c")
        assert {head["name"] for head in await client.call("ctx.list")} == {"d"}


async def test_a_call_that_the_model_wants(open_sessions) -> None:
    """Only a person allows it; what comes of it, or that it was refused, is told to the model."""
    seen: list[str] = []

    def script(prompt: Prompt) -> str:
        seen.append(prompt.text)
        said = prompt.text.rpartition("drop ")[2][:1]
        call = {"name": "ctx.remove", "arguments": {"name": said}}
        return f"<tool_call>{json.dumps(call)}</tool_call>" if len(seen) % 2 else "I tried."

    async with open_sessions(script) as screen:
        client = LocalClient(screen.kernel)
        await client.call("ctx.create", name="a")
        await screen.send('/set tools ["ctx.remove"]')
        for key, told in (("r", "refused this call"), ("a", "removed"), ("a", "error: ")):
            await screen.send("drop a", waits=False)
            await screen.until(lambda: screen.view.questions)
            await screen.press("ctrl+g", key)
            for _ in range(100):
                kept = await client.call("ctx.show", name=screen.view.session.name)
                if told in kept["messages"][-1]["content"]:
                    break
                await screen.pilot.pause(0.02)
            assert told in kept["messages"][-1]["content"]
            assert kept["messages"][-1]["role"] == "tool"
            names = {head["name"] for head in await client.call("ctx.list")}
            assert ("a" in names) == (key == "r")
        assert "refused this call" in seen[2]
        assert "failed: refused" in screen.text()


async def test_searching(open_sessions) -> None:
    """Ctrl+F finds text in the transcript, one place after the other, and marks it."""
    async with open_sessions() as screen:
        for text in ("apple pie", "banana", "apple juice"):
            await screen.send(text)
        await screen.press("ctrl+f", *"apple")
        await screen.until(lambda: "4 of 4" in screen.text())
        await screen.press("enter")
        assert "3 of 4" in screen.text()
        await screen.press("down")
        assert "4 of 4" in screen.text()
        await screen.press(*"zzz")
        await screen.until(lambda: "not found" in screen.text())
        await screen.press("escape")
        assert screen.prompt.has_focus
        assert not screen.view.query(".found")


async def test_settings(open_sessions) -> None:
    """Ctrl+L changes model and sampling in place; what is wrong is told."""
    async with open_sessions() as screen:
        await screen.press("ctrl+l")
        await screen.until(lambda: "How the model answers" in screen.text())
        screen.app.screen.query_one("#temperature").focus()
        await screen.press(*"0.5", "enter")
        await screen.until(lambda: screen.view.session.shell.settings.options)
        screen.app.screen.query_one("#max_tokens").focus()
        await screen.press(*"many", "enter")
        await screen.until(lambda: "integer" in screen.text())
        await screen.press("escape")
        assert screen.view.session.shell.settings.options == {"temperature": 0.5}
        await screen.until(lambda: "temperature 0.5" in screen.text())


async def test_exporting(open_sessions) -> None:
    """Ctrl+S asks for a file and writes the session there."""
    async with open_sessions() as screen:
        await screen.send("Hello")
        await screen.press("ctrl+s")
        await screen.until(lambda: "Write to file" in screen.text())
        await screen.press("ctrl+a", "ctrl+k", *"talk.json", "enter")
        await screen.until(lambda: Path("talk.json").exists())
        await screen.idle()
        kept = json.loads(Path("talk.json").read_text(encoding="utf-8"))
        assert kept["messages"][-1]["content"] == "Hello"


async def test_leaving(open_sessions) -> None:
    """/exit leaves the program; nothing is sent where nothing may be changed."""
    async with open_sessions(is_readonly=True) as screen:
        await screen.send("Hello")
        assert "read-only" in screen.told()
        assert screen.messages == []
    async with open_sessions() as screen:
        await screen.send("/exit", waits=False)
        await screen.until(lambda: screen.app._exit)
