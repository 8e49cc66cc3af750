"""What holds of every screen: it fits, says how to leave, and needs no colour."""

from __future__ import annotations

import pytest
from rich.style import Style
from textual.widgets import Input

from lingos_shell.tui.registry import SCREENS
from lingos_shell.tui.spans import width_of

NAMES = ("", *(entry.name for entry in SCREENS if entry.name != "main"))
"""The first is the one with the sessions."""
TEXTS = (
    "\u4f60\u597d\uff0c\u7b80\u77ed\u56de\u7b54",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "\U0001f469\u200d\U0001f4bb e\u0301 \u200b",
    "x" * 3_000,
)
"""Chinese, right to left, joined and combining, very long."""


def is_grey(style: Style | None) -> bool:
    """Whether the style has no colour of its own."""
    colors = [c for c in (style.color, style.bgcolor) if c is not None] if style else []
    triplets = [c.get_truecolor() for c in colors if not c.is_default]
    return all(max(t) - min(t) <= 2 for t in triplets)


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
@pytest.mark.parametrize("name", NAMES)
async def test_it_fits(stage, name: str, size: tuple[int, int]) -> None:
    """Every line is as wide as the terminal, and the last one has the keys."""
    async with stage(name, size=size) as s:
        await s.sees("F1 help", "^Q quit")
        await s.client.call("proc.open", command=" ".join(TEXTS))
        await s.pilot.pause(0.1)
        lines = [strip.text for strip in s.app.screen._compositor.render_strips()]
        assert len(lines) == size[1]
        assert {width_of(((line, "text"),)) for line in lines} == {size[0]}
        assert "F1 help" in lines[-1]
        assert name in ("", "top") or "q back" in lines[-1]


@pytest.mark.parametrize("name", NAMES)
async def test_without_colours(stage, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`NO_COLOR`: all is grey, and what is selected is still marked."""
    monkeypatch.setenv("NO_COLOR", "1")
    async with stage(name) as s:
        await s.sees("F1 help")
        strips = s.app.screen._compositor.render_strips()
        filters = [f for f in s.app._filters if f.enabled]
        shown = [
            strip.apply_filter(f, s.app.screen.styles.background)
            for strip in strips
            for f in filters
        ]
        assert shown
        assert all(is_grey(segment.style) for strip in shown for segment in strip)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("", "top")])
@pytest.mark.parametrize("key", ["q", "escape"])
async def test_it_is_left(stage, name: str, key: str) -> None:
    """`q` and `Esc` lead back to the conversations."""
    async with stage(name) as s:
        if name == "syscalls":
            await s.sees("audit")
        await s.press(key)
        await s.until(lambda: s.app.current_mode == "main")


@pytest.mark.parametrize("name", ["models", "plugins", "audit", "syscalls"])
async def test_its_keys_can_be_changed(stage, name: str) -> None:
    """Other keys do it, are shown, and those of before do nothing."""
    keys = {"screen.leave": "x", "list.filter": "z", "syscalls.search": "z"}
    async with stage(name, keys=keys) as s:
        await s.sees("x back", "z search" if name == "syscalls" else "z filter")
        await s.press("q")
        assert s.app.current_mode == name
        await s.press("z")
        await s.until(lambda: isinstance(s.app.screen.focused, Input))
        await s.press("escape")
        await s.until(lambda: not isinstance(s.app.screen.focused, Input))
        await s.press("x")
        await s.until(lambda: s.app.current_mode == "main")


@pytest.mark.parametrize("text", TEXTS)
async def test_a_form_takes_any_text(stage, text: str) -> None:
    """What is typed into a form reaches the syscall, and its result fits."""
    async with stage("syscalls", size=(80, 24)) as s:
        await s.press("f3", *"llm.tokenize", "enter")
        await s.sees("/llm.tokenize")
        s.app.screen.focused.insert(text)  # type: ignore[union-attr]
        await s.press("f5")
        await s.sees("done in")
        lines = [strip.text for strip in s.app.screen._compositor.render_strips()]
        assert {width_of(((line, "text"),)) for line in lines} == {80}
