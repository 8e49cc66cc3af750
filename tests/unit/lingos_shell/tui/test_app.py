"""The program around the panes: screens, keys, themes, conversations, losing the kernel."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from textual.widgets import Static

from lingos_kernel.errors import InvalidArguments, KernelUnavailable
from lingos_kernel.syscalls.events import Result
from lingos_shell.tui.app import LingOSApp
from lingos_shell.tui.key_bar import shown_keys
from lingos_shell.tui.markdown import MarkdownLines
from lingos_shell.tui.registry import SCREENS
from lingos_shell.tui.sessions.prompt import Prompt
from lingos_shell.tui.themes import ANSI_DARK, THEMES

USAGE = {"prompt_tokens": 5, "output_tokens": 8, "first_token_s": 0.1, "total_s": 0.4}


def answer(text: str) -> list[Any]:
    """What `llm.chat` says: the text in pieces, then its result."""
    pieces = [{"text": part + " "} for part in text.split()]
    return [*pieces, {"text": text, "model": "scripted", "usage": USAGE}]


async def test_a_message_is_answered(open_screen, kernel) -> None:
    """The answer streams in; the next message goes on with the same context."""

    def indeed(messages, **_):
        return answer(f"**{messages[-1]['content']}** indeed")

    kernel.answers["llm.chat"] = indeed
    async with open_screen("main") as screen:
        await screen.press(*"hello", "enter")
        await screen.until(lambda: "hello indeed" in screen.text())
        await screen.until(lambda: "8 tokens · 20.0 tok/s · first after 100ms" in screen.text())
        await screen.press(*"again", "enter")
        await screen.until(lambda: "again indeed" in screen.text())
    asked = [arguments for name, arguments in kernel.calls if name == "llm.chat"]
    assert [each["context"] for each in asked] == ["hello", "hello"]
    assert asked[1]["messages"] == [{"role": "user", "content": "again"}]


async def test_typing_works_before_there_is_a_kernel(open_screen, kernel) -> None:
    """What was sent meanwhile is answered once it is attached."""
    kernel.is_up = False
    kernel.answers["llm.chat"] = lambda messages, **_: answer("yes")
    async with open_screen("main", waits=False) as screen:
        await screen.press(*"early", "enter")
        assert "early" in screen.text()
        assert kernel.calls == []
        kernel.is_up = True
        await screen.until(lambda: screen.app.link.status.state == "attached")
        await screen.until(lambda: "yes" in screen.text())
    assert [name for name, _ in kernel.calls].count("llm.chat") == 1
    assert kernel.opened == ["lingos"]


async def test_a_kernel_that_dies_and_returns(open_screen, kernel) -> None:
    """A banner while it is gone, then attached again; the broken answer is asked for again."""
    pieces = asyncio.Event()

    async def broken(messages, **_):
        yield {"text": "The answer "}
        pieces.set()
        await died.wait()
        raise KernelUnavailable("it went away", reason="gone")

    died = asyncio.Event()
    kernel.answers["llm.chat"] = broken
    async with open_screen("main", period_s=0.01) as screen:
        await screen.press(*"why", "enter")
        await screen.until(pieces.is_set)
        kernel.is_up = False
        kernel.answers["llm.chat"] = lambda messages, **_: answer("because")
        await screen.until(lambda: "the kernel went away" in screen.text())
        died.set()
        await screen.press(*"more")  # typing goes on
        kernel.is_up = True
        await screen.until(lambda: "attached again" in screen.told())
        await screen.until(lambda: "because" in screen.text())
        assert screen.app.query_one(Prompt).text == "more"
        assert screen.app.link.status.restarts == 1
        asked = [arguments for name, arguments in kernel.calls if name == "llm.chat"]
    assert [each["messages"][-1]["content"] for each in asked] == ["why", "why"]
    assert kernel.starts[0] is True


async def test_stopping_an_answer(open_screen, kernel) -> None:
    """Escape ends the answer and nothing else."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def endless(messages, **_):
        try:
            yield {"text": "on and on"}
            begun.set()
            await asyncio.Event().wait()
            yield Result({})
        finally:
            ended.set()

    kernel.answers["llm.chat"] = endless
    async with open_screen("main") as screen:
        await screen.press("x", "enter")
        await screen.until(begun.is_set)
        await screen.press("escape")
        await screen.until(ended.is_set)
        await screen.until(lambda: "stopped" in screen.text())
        await screen.press("escape")
        await screen.until(lambda: "Ctrl+Q quits" in screen.told())


async def test_an_error_ends_its_turn_only(open_screen, kernel) -> None:
    """Message and hint stand where the answer would have."""

    def refuse(messages, **_):
        raise InvalidArguments("too long", hint="say less")

    kernel.answers["llm.chat"] = refuse
    async with open_screen("main") as screen:
        await screen.press("x", "enter")
        await screen.until(lambda: "say less" in screen.text())
        kernel.answers["llm.chat"] = lambda messages, **_: answer("fine")
        await screen.press("y", "enter")
        await screen.until(lambda: "fine" in screen.text())
        assert len(screen.app.query(MarkdownLines)) == 1


async def test_the_prompt(open_screen, kernel) -> None:
    """New lines, recalling what was sent, text in any script, very long lines."""
    kernel.answers["llm.chat"] = lambda messages, **_: answer("ok")
    async with open_screen("main") as screen:
        prompt = screen.app.query_one(Prompt)
        await screen.press("a", "ctrl+j", "b")
        assert prompt.text == "a\nb"
        await screen.press("enter")
        assert prompt.text == ""
        prompt.insert("你好 שלום " + "long " * 400)
        await screen.press("enter")
        await screen.until(lambda: [n for n, _ in kernel.calls].count("llm.chat") == 2)
        asked = [arguments for name, arguments in kernel.calls if name == "llm.chat"]
        assert asked[0]["messages"][-1]["content"] == "a\nb"
        assert asked[1]["messages"][-1]["content"].startswith("你好 שלום long")
        await screen.press("up", "ctrl+home", "up")
        assert prompt.text == "a\nb"
        await screen.press("ctrl+end", "down", "ctrl+end", "down")
        assert prompt.text == ""


async def test_function_keys_work_while_typing(open_screen, kernel) -> None:
    """The scheduler's function keys reach the pane, letters stay text."""
    async with open_screen("main") as screen:
        await screen.press("k", "f5")
        assert screen.app.query_one(Prompt).text == "k"
        assert screen.app.scheduler.state.is_tree
        await screen.press("f6")
        await screen.until(lambda: "Sort by" in screen.text())
        await screen.press("escape", "f7")
        await screen.until(lambda: kernel.calls)
        assert kernel.calls == [("proc.nice", {"pid": 12, "priority": -1})]


async def test_screens(open_screen) -> None:
    """F2 goes to the scheduler and back; both show the same."""
    async with open_screen("main") as screen:
        await screen.press("f5", "f2")
        assert screen.app.current_mode == "top"
        assert screen.pane.grid.has_focus
        assert "└─ tool text.ask" in screen.text()
        await screen.press("f2")
        assert screen.app.current_mode == "main"
        await screen.press("f2", "q")
        assert screen.app.current_mode == "main"
        await screen.press("ctrl+b")
        assert not screen.pane.display
        await screen.press("ctrl+b", "tab")
        assert screen.pane.grid.has_focus


async def test_top_ends_with_q(open_screen) -> None:
    """`lingos top` was all there was."""
    async with open_screen("top") as screen:
        await screen.press("q")
        assert screen.app._exit


async def test_help_lists_every_key(open_screen) -> None:
    """F1 is made of the bindings themselves."""
    async with open_screen("top", size=(120, 60)) as screen:
        await screen.press("f1")
        await screen.until(lambda: "Esc closes" in screen.text())
        text = screen.text()
        for words in ("Find a row", "Send a signal", "Free the model", "Leave; the kernel"):
            assert words in text
        await screen.press("escape")
        assert len(screen.app.screen_stack) == 1


async def test_palette(open_screen) -> None:
    """Everything can be found by its name."""
    async with open_screen("main") as screen:
        await screen.press("ctrl+p", *"open scheduler")
        await screen.until(lambda: "The scheduler on the whole screen" in screen.text())
        await screen.press("enter")
        await screen.until(lambda: screen.app.current_mode == "top")


async def test_keys_can_be_changed(open_screen) -> None:
    """The settings give an action another key; the bar and the help say so."""
    keys = {"scheduler.tree": "x", "app.help": "f12"}
    async with open_screen("top", keys=keys) as screen:
        await screen.press("x")
        assert screen.app.scheduler.state.is_tree
        await screen.press("t")
        assert screen.app.scheduler.state.is_tree
        assert "F12 help" in screen.text()


async def test_plugins_add_panes(open_screen) -> None:
    """A plugin's widget has its screen; one that fails says why."""

    def broken(app: LingOSApp) -> Static:
        raise RuntimeError("out of cheese")

    panes = {"weather": lambda app: Static("sunny"), "broken": broken}
    async with open_screen("main", load_panes=lambda: panes) as screen:
        await screen.until(lambda: len(screen.app.plugin_panes) == 2)
        names = {command.title for command in screen.app.get_system_commands(screen.app.screen)}
        assert "Open weather" in names
        screen.app.action_open_screen("plugin.weather")
        await screen.until(lambda: "sunny" in screen.text())
        screen.app.action_open_screen("plugin.broken")
        await screen.until(lambda: "out of cheese" in screen.text())


@pytest.mark.parametrize("theme", [*(theme.name for theme in THEMES), ANSI_DARK])
async def test_themes(open_screen, theme: str) -> None:
    """Each draws the same words."""
    async with open_screen("top", theme=theme) as screen:
        assert "chat research" in screen.text()


async def test_without_colours_bars_have_glyphs(open_screen, monkeypatch) -> None:
    """NO_COLOR: each part of a bar is told by its shape."""
    monkeypatch.setenv("NO_COLOR", "1")
    async with open_screen("top") as screen:
        text = screen.text()
        assert "▓▒" in text
        assert "━" not in text


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (200, 50), (40, 12)])
@pytest.mark.parametrize("which", ["main", "top"])
async def test_sizes(open_screen, size, which: str) -> None:
    """Nothing is wider than the screen, and what matters is there."""
    async with open_screen(which, size=size) as screen:
        assert "LingOS" in screen.text()
        assert "F1 help" in screen.text()
        assert screen.pane.grid.size.height >= 1
        await screen.pilot.resize_terminal(120, 40)
        await screen.pilot.pause()
        assert "chat research" in screen.text()


def test_the_bar_keeps_what_matters() -> None:
    """In a narrow bar help, the scheduler, the palette and quitting stay."""
    names = ["app.help", "screen.top", "app.palette", "app.quit", "scheduler.filter"]
    entries = [(name, f"F{n}", "word", "act") for n, name in enumerate(names, start=1)]
    assert [entry[0] for entry in shown_keys(entries, 34)] == names[:4]
    assert len(shown_keys(entries, 200)) == 5
    assert len({entry.name for entry in SCREENS}) == len(SCREENS)
