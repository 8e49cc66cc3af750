"""Markdown as lines of styled text, a block at a time; no widget, no screen.

Rich draws each top-level block by itself, so that of a text that grows only the last block is
drawn again.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from markdown_it import MarkdownIt
from rich.console import Console
from rich.markdown import CodeBlock, Heading, Markdown
from rich.segment import Segment
from rich.style import Style
from rich.syntax import Syntax
from rich.text import Text
from rich.theme import Theme

StyledLine = list[Segment]


@dataclass(frozen=True, slots=True)
class Look:
    """What Markdown is drawn in: colours as Rich names them, and a Pygments style for code."""

    heading: str
    code: str
    mark: str
    """Of bullets and numbers."""
    link: str
    dim: str
    code_style: str
    code_ground: str = "default"


def block_starts(text: str) -> list[int]:
    """Where the top-level blocks begin, in characters."""
    lines = text.split("\n")
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line) + 1)
    tokens = MarkdownIt().enable("table").parse(text)
    return [
        offsets[token.map[0]]
        for token in tokens
        if token.level == 0 and token.nesting >= 0 and token.map
    ]


def blocks(text: str) -> list[str]:
    """The top-level blocks; joined they are the text from the first block on."""
    starts = block_starts(text)
    return [text[begin:end] for begin, end in pairwise([*starts, len(text)])]


def block_lines(block: str, width: int, look: Look) -> list[StyledLine]:
    """A block as lines of at most `width` cells, without blank ones at its ends."""
    console = _console(look)
    options = console.options.update(width=max(width, 8), no_wrap=False)
    markdown = _Markdown(block, code_theme=look.code_style, hyperlinks=False)
    markdown.code_ground = look.code_ground
    lines = console.render_lines(markdown, options, pad=False)
    while lines and _is_blank(lines[-1]):
        lines.pop()
    while lines and _is_blank(lines[0]):
        lines.pop(0)
    return lines


def _is_blank(line: StyledLine) -> bool:
    return not any(segment.text.strip() or (segment.style and segment.style.bgcolor)
                   for segment in line)  # fmt: skip


class _Code(CodeBlock):
    """Code on our ground; without a language it has no colours, and none is guessed."""

    def __init__(self, lexer_name: str, theme: str, ground: str) -> None:
        super().__init__(lexer_name, theme)
        self._ground = ground

    @classmethod
    def create(cls, markdown: Markdown, token: object) -> _Code:
        made = CodeBlock.create(markdown, token)  # type: ignore[arg-type]
        ground = markdown.code_ground if isinstance(markdown, _Markdown) else "default"
        return cls(made.lexer_name, made.theme, ground)

    def __rich_console__(self, console: Console, options: object) -> object:  # type: ignore[override]
        """The code, wrapped."""
        yield Syntax(
            str(self.text).rstrip(), self.lexer_name, theme=self.theme, word_wrap=True,
            padding=(0, 1), background_color=self._ground,
        )  # fmt: skip


class _Heading(Heading):
    """All headings stand at the left."""

    def __rich_console__(self, console: Console, options: object) -> object:  # type: ignore[override]
        """The heading."""
        text: Text = self.text.copy()
        text.justify = "left"
        yield text


class _Markdown(Markdown):
    elements = {**Markdown.elements, "fence": _Code, "code_block": _Code, "heading_open": _Heading}  # noqa: RUF012  # as Rich declares it
    code_ground = "default"


@cache
def _console(look: Look) -> Console:
    """A console that writes nowhere and knows our styles."""
    heading = Style.parse(f"bold {look.heading}")
    styles = {
        "markdown.h1": heading + Style(underline=True),
        **{f"markdown.h{level}": heading for level in range(2, 7)},
        "markdown.code": Style.parse(look.code),
        "markdown.code_block": Style.parse(look.code),
        "markdown.block_quote": Style.parse(f"italic {look.dim}"),
        "markdown.item.bullet": Style.parse(look.mark),
        "markdown.item.number": Style.parse(look.mark),
        "markdown.hr": Style.parse(look.dim),
        "markdown.link": Style.parse(f"underline {look.link}"),
        "markdown.link_url": Style.parse(look.link),
        "markdown.table.border": Style.parse(look.dim),
        "markdown.table.header": Style.parse(f"bold {look.heading}"),
    }
    return Console(
        file=io.StringIO(), force_terminal=True, color_system="truecolor", legacy_windows=False,
        theme=Theme(styles), emoji=False, markup=False,
    )  # fmt: skip
