"""Markdown as Textual draws it, but for what would hold up the keyboard."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Markdown
from textual.widgets._markdown import MarkdownBlock, MarkdownFence


class Fence(MarkdownFence):
    """Code in the colours of the language that it names; without a name it has none.

    Textual guesses the language, for which Pygments imports all of its lexers: about a second
    during which no key is taken.
    """

    @classmethod
    def highlight(cls, code: str, language: str, ansi: bool = False, dark: bool = False) -> Content:
        """The coloured code."""
        return super().highlight(code, language or "text", ansi, dark)


class QuickMarkdown(Markdown):
    """Markdown with our fences."""

    BLOCKS: dict[str, type[MarkdownBlock]] = {  # noqa: RUF012  # as Textual declares it
        **Markdown.BLOCKS, "fence": Fence, "code_block": Fence,
    }  # fmt: skip
