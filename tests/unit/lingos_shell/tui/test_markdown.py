"""Markdown as lines: what grows looks as if it had come at once."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.geometry import Offset
from textual.selection import Selection

from lingos_shell.tui.keyboard import ECHO_S, Keyboard
from lingos_shell.tui.markdown import MarkdownLines, look_of
from lingos_shell.tui.markdown_blocks import Look, block_lines, block_starts, blocks
from lingos_shell.tui.themes import DARK

LOOK = Look("blue", "cyan", "yellow", "magenta", "bright_black", "github-dark")
SAMPLE = """# Queues

A queue **grows** when work arrives *faster* than it is `done`, see [here](http://a.example).

- bound it
  - twice
- refuse what does not fit, with an error that says after how long it is worth to come again

1. put
2. take

> quoted

| name | n |
|---|--:|
| 列 | 12 |

```python
if depth >= bound:
    raise QueueFull
```

---

```
no language
```
"""


def drawn(text: str, width: int = 60) -> list[str]:
    """The lines of all blocks, a blank one between two."""
    found: list[str] = []
    for block in blocks(text):
        lines = ["".join(s.text for s in line).rstrip() for line in block_lines(block, width, LOOK)]
        found += ["", *lines] if found and lines else lines
    return found


class Page(App[None]):
    """An app with one Markdown."""

    def compose(self) -> ComposeResult:
        """The Markdown."""
        yield MarkdownLines()


def test_every_element_is_drawn() -> None:
    """Headings at the left, hanging indents, tables, code as it is."""
    lines = drawn(SAMPLE)
    assert lines[0] == "Queues"
    assert " • bound it" in lines
    assert "    • twice" in lines
    assert " 1 put" in lines
    assert "▌ quoted" in lines
    assert "     raise QueueFull" in lines
    assert " no language" in lines
    assert any(line.split() == ["列", "12"] for line in lines)
    assert all(len(line) <= 60 for line in lines)


def test_blocks_are_the_whole_text() -> None:
    """Nothing between two blocks is lost, and each begins where the last one ended."""
    assert "".join(blocks(SAMPLE)) == SAMPLE
    assert block_starts("") == []
    assert blocks("\n\n  text") == ["  text"]


async def test_what_grows_is_the_same_as_what_is_whole() -> None:
    """However the text is cut, the lines are those of the whole text."""
    async with Page().run_test(size=(60, 60)) as pilot:
        page = pilot.app.query_one(MarkdownLines)
        for size in (1, 7, 40, 1000):
            page.update("")
            for at in range(0, len(SAMPLE), size):
                await page.append(SAMPLE[at : at + size])
            assert page.lines == drawn(SAMPLE)
            assert page.source == SAMPLE


@settings(max_examples=30, deadline=None)
@given(st.text(alphabet="ab *`#->|\n1.[]()_~列", max_size=120), st.integers(1, 30))
def test_no_text_breaks_it(text: str, size: int) -> None:
    """Any text gives lines that fit, and growing by pieces keeps the blocks before the last."""
    for line in drawn(text, 30):
        assert "\n" not in line
    begin = 0
    for end in range(size, len(text), size):
        starts = block_starts(text[begin:end])
        begin += starts[-1] if starts else 0
    assert begin <= len(text)


async def test_marks_selection_and_width() -> None:
    """Searched places are marked, lines can be selected, another width makes other lines."""
    async with Page().run_test(size=(60, 60)) as pilot:
        page = pilot.app.query_one(MarkdownLines)
        page.update("one two two\n\nthree")
        await pilot.pause()
        page.mark("two")
        marked = [s.text for s in page.render_lines(page.region)[0] if s.style and s.style.reverse]
        assert marked == ["two", "two"]
        page.mark("")
        assert not any(s.style and s.style.reverse for s in page.render_lines(page.region)[0])
        assert page.get_selection(Selection(Offset(4, 0), Offset(2, 2)))[0] == "two two\n\nth"
        page.update("word " * 20)
        await pilot.resize_terminal(30, 20)
        await pilot.pause()
        assert all(len(line) <= 30 for line in page.lines)
        assert page.size.height == len(page.lines) == 4


def test_no_language_is_guessed() -> None:
    """Code without a language imports no lexer but the one for plain text."""
    code = (
        "import sys\n"
        "from lingos_shell.tui.markdown_blocks import Look, block_lines\n"
        "look = Look('blue', 'cyan', 'yellow', 'magenta', 'white', 'github-dark')\n"
        "block_lines('```\\nx = 1\\n```', 40, look)\n"
        "print(sum(name.startswith('pygments.lexers.') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 5


@pytest.mark.parametrize("background", ["#0d121c", "ansi_black"])
def test_the_look_follows_the_theme(background: str) -> None:
    """Our colours on a theme of colours, the terminal's own on one of sixteen."""
    look = look_of({"background": background, "primary": DARK.primary}, is_dark=True)
    assert look.heading == "#6cb2ff"
    assert look.code_style == ("ansi_dark" if background.startswith("ansi") else "github-dark")


async def test_keys_go_first() -> None:
    """Behind a key one waits for its echo, otherwise not at all."""
    now = 0.0
    keyboard = Keyboard(clock=lambda: now)
    assert not keyboard.is_in_use(1.0)
    keyboard.pressed()
    now = ECHO_S / 2
    assert keyboard.is_in_use(1.0)
    await keyboard.breathe()
    now = 5.0
    assert not keyboard.is_in_use(1.0)
