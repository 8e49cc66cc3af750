"""Writes docs/images/demo.svg, an animated demonstration: `python docs/demonstration.py`.

The program itself draws the frames, from the sample snapshots and scripted answers of
`screenshots.py`; nothing is recorded by hand. Each line of the screen is kept once and shown while
it stands there, so that the file stays small.
"""

from __future__ import annotations

import asyncio
import runpy
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from rich.color import Color, ColorType
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import DIMMED_MONOKAI

from lingos_kernel.testing.sample_snapshot import busy_snapshot
from lingos_shell.tui.app import LingOSApp

FILE = Path(__file__).parent / "images" / "demo.svg"
SIZE = (110, 30)
CELL_W, CELL_H, TOP = 8.4, 18.0, 8.0
FONT = "'Fira Code','DejaVu Sans Mono',Menlo,Consolas,monospace"
BACK, FORE = "#0d121c", "#d8dfeb"
QUESTION = "Why does a queue grow without bound?"

Strip = tuple[tuple[str, str, str, str], ...]
"""Runs of one line: text, colour, background, `b` for bold and `i` for italic."""


@dataclass(frozen=True)
class Frame:
    """What the screen shows, and for how long."""

    lines: tuple[Strip, ...]
    seconds: float


@dataclass(frozen=True)
class Step:
    """Keys to press, what to wait for, and how long to look at it."""

    keys: tuple[str, ...]
    until: str
    look_s: float
    each_s: float = 0.0
    """More than 0: a frame after each key, this long."""


STEPS = (
    Step((), "F1 help", 1.2),
    Step(tuple(QUESTION), QUESTION[-9:], 0.6, each_s=0.05),
    Step(("enter",), "in all", 3.0),
    Step(("f2",), "1 Processes", 2.5),
    Step(("f5",), "└─", 1.8),
    Step(("f11",), "/llm.chat", 1.0),
    Step(("f3", *"summarize"), "/text.summarize", 0.8, each_s=0.08),
    Step(("enter", *"@@a long text"), "@@a long text", 0.6, each_s=0.05),
    Step(("f5",), "done in", 2.5),
    Step(("f12", "f5"), "intact", 2.5),
    Step(("f10",), "in memory", 2.0),
)


async def record() -> list[Frame]:
    """Run the program and keep what it shows."""
    pictures = runpy.run_path(str(Path(__file__).parent / "screenshots.py"), run_name="pictures")
    pictures["set_the_scene"]()

    async def connect(_may_start: bool) -> Any:
        return pictures["ScriptedClient"]()

    app = LingOSApp(connect, period_s=3600.0)
    for second in range(4 * pictures["SECONDS"]):
        app.scheduler.take(busy_snapshot(second / 4))
    app.scheduler.latest = None
    frames: list[Frame] = []
    async with app.run_test(size=SIZE) as pilot:
        await pictures["_until"](pilot, lambda: app.scheduler.latest)
        for widget in app.screen.query("#prompt, #ask"):
            widget.cursor_blink = False  # type: ignore[attr-defined]

        def is_shown(words: str) -> bool:
            return words in pictures["screen_text"](app)

        for step in STEPS:
            for key in step.keys:
                await pilot.press(key)
                if step.each_s:
                    pictures["hold_cursors"](app)
                    await pilot.pause()
                    frames.append(Frame(screen_lines(app), step.each_s))
            await pictures["_until"](pilot, partial(is_shown, step.until))
            app.clear_notifications()
            await pictures["_settled"](pilot)
            frames.append(Frame(screen_lines(app), step.look_s))
    return frames


def screen_lines(app: LingOSApp) -> tuple[Strip, ...]:
    """The lines on the screen now."""
    return tuple(runs(strip) for strip in app.screen._compositor.render_strips())


def runs(segments: Iterable[Segment]) -> Strip:
    """Segments with their colours; neighbours that look alike are one."""
    found: list[tuple[str, str, str, str]] = []
    for text, style, _ in segments:
        look = look_of(style or Style())
        if found and found[-1][1:] == look:
            found[-1] = (found[-1][0] + text, *look)
        else:
            found.append((text, *look))
    return tuple(found)


def look_of(style: Style) -> tuple[str, str, str]:
    """Colour, background and weight of a style."""
    fore, back = _hex(style.color, FORE), _hex(style.bgcolor, BACK)
    if style.reverse:
        fore, back = back, fore
    return fore, back, f"{'b' * bool(style.bold)}{'i' * bool(style.italic)}"


def _hex(color: Color | None, default: str) -> str:
    if color is None or color.type is ColorType.DEFAULT:
        return default
    return color.get_truecolor(DIMMED_MONOKAI).hex


def animated(frames: Sequence[Frame]) -> str:
    """The SVG: each line that was ever shown, with the times at which it is."""
    total = sum(frame.seconds for frame in frames)
    starts = [sum(frame.seconds for frame in frames[:n]) for n in range(len(frames))]
    shown: dict[tuple[int, Strip], list[tuple[float, float]]] = {}
    for begin, frame in zip(starts, frames, strict=True):
        for y, line in enumerate(frame.lines):
            spans = shown.setdefault((y, line), [])
            end = begin + frame.seconds
            if spans and abs(spans[-1][1] - begin) < 1e-9:
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((begin, end))
    width, height = SIZE[0] * CELL_W + 2 * TOP, SIZE[1] * CELL_H + 2 * TOP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}">',
        "<title>LingOS in the terminal: a question, the scheduler, a syscall's form, the audit log,"
        " models</title>",
        f"<style>text{{font:14px {FONT};white-space:pre}}.b{{font-weight:bold}}"
        ".i{font-style:italic}</style>",
        f'<rect width="100%" height="100%" rx="8" fill="{BACK}"/>',
    ]
    for (y, line), spans in shown.items():
        attribute, animation = _visible(spans, total)
        parts.append(f"<g{attribute}>{animation}{_drawn(line, y)}</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _visible(spans: Sequence[tuple[float, float]], total: float) -> tuple[str, str]:
    """Attribute and animation of a line that is shown at these times."""
    if len(spans) == 1 and spans[0][0] == 0 and abs(spans[0][1] - total) < 1e-9:
        return "", ""
    times, values = ["0"], ["visible" if spans[0][0] == 0 else "hidden"]
    for begin, end in spans:
        for at, value in ((begin, "visible"), (end, "hidden")):
            if 0 < at < total - 1e-9:
                times.append(f"{at / total:.5f}")
                values.append(value)
    animation = (
        f'<animate attributeName="visibility" dur="{total:g}s" repeatCount="indefinite"'
        f' calcMode="discrete" keyTimes="{";".join(times)}" values="{";".join(values)}"/>'
    )
    return f' visibility="{values[0]}"', animation


def _drawn(line: Strip, y: int) -> str:
    from rich.cells import cell_len

    boxes, texts, x = [], [], 0
    top = TOP + y * CELL_H
    for text, fore, back, weight in line:
        cells = cell_len(text)
        left, size = TOP + x * CELL_W, cells * CELL_W
        if back != BACK:
            boxes.append(
                f'<rect x="{left:.1f}" y="{top:g}" width="{size + 0.3:.1f}" height="{CELL_H:g}"'
                f' fill="{back}"/>'
            )
        bare = text.strip()
        if bare:
            skip = cell_len(text[: len(text) - len(text.lstrip())])
            kind = f' class="{" ".join(weight)}"' if weight else ""
            texts.append(
                f'<text x="{left + skip * CELL_W:.1f}" y="{top + 13.5:g}"{kind} fill="{fore}"'
                f' textLength="{cell_len(bare) * CELL_W:.1f}" lengthAdjust="spacingAndGlyphs">'
                f"{escape(bare)}</text>"
            )
        x += cells
    return "".join(boxes + texts)


def main(arguments: list[str]) -> int:
    """Write the file, or with `--check` say whether it is out of date."""
    drawn = animated(asyncio.run(record()))
    is_stale = not FILE.exists() or FILE.read_text(encoding="utf-8") != drawn
    if "--check" in arguments:
        print("out of date" if is_stale else "up to date")
        return int(is_stale)
    FILE.write_text(drawn, encoding="utf-8")
    print(f"{FILE.name}: {len(drawn.encode()) // 1000} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
