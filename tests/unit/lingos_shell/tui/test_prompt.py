"""Tests of the prompt."""

from __future__ import annotations

from textual import events
from textual.app import App, ComposeResult

from lingos_shell.tui.sessions.prompt import Prompt


class PromptApp(App[None]):
    """A prompt alone, and what it sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str] = []

    def compose(self) -> ComposeResult:
        """The prompt."""
        yield Prompt()

    def on_prompt_sent(self, message: Prompt.Sent) -> None:
        """Keep what was sent."""
        self.sent.append(message.text)


async def test_fast_typing_is_sent_whole() -> None:
    """Enter comes behind the characters before it, however fast they come."""
    app = PromptApp()
    async with app.run_test() as pilot:
        for character in "What is it?":
            app.post_message(events.Key(character, character))
        app.post_message(events.Key("enter", "\r"))
        await pilot.pause()
        await pilot.press("x")
        assert app.sent == ["What is it?"]
        assert app.query_one(Prompt).text == "x"


async def test_a_new_line_is_no_end() -> None:
    """Ctrl+J begins a line; Enter sends all of them, and Up brings them back."""
    app = PromptApp()
    async with app.run_test() as pilot:
        await pilot.press("a", "ctrl+j", "b", "enter", "up")
        assert app.sent == ["a\nb"]
        assert app.query_one(Prompt).text == "a\nb"
