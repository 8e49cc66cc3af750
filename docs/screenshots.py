"""Writes docs/images/*.svg, the pictures of the terminal interface: `python docs/screenshots.py`.

The program itself draws them, from a sample snapshot and a scripted conversation, the same each
time. With `--check` nothing is written; it fails when a picture is out of date. The tests do that,
so these pictures are also the snapshot tests of the screens.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from textual.pilot import Pilot

from lingos_kernel.syscalls.events import Accepted, AnyEvent, Item, Progress, Result
from lingos_kernel.syscalls.spec import SyscallInfo
from lingos_kernel.testing import sample_screens
from lingos_kernel.testing.sample_snapshot import CHAT, busy_snapshot
from lingos_shell.tui.app import LingOSApp, TopApp
from lingos_shell.tui.screens.syscalls import SyscallsScreen

IMAGES = Path(__file__).parent / "images"
SECONDS = 90
"""Of samples in the graphs."""
QUESTION = "Why does a queue grow without bound? 简短回答"
ANSWER = """A queue grows when work **arrives faster** than it is done.

| load | mean length |
|-----:|------------:|
| 0.5  | 1 |
| 0.9  | 9 |
| 0.99 | 99 |

So bound it, and refuse what does not fit:

```python
if queue.depth >= bound:
    raise QueueFull(queue.name)
```
"""


NOW_S, DAY_S = time.time(), 86400.0
CONTEXTS: dict[str, Any] = {
    "proc.open": {"pid": 12, "priority": 0},
    "ctx.create": {},
    "ctx.list": [
        {
            "name": name,
            "tokens": tokens,
            "model": CHAT,
            "owner": "ana",
            "shared": False,
            "forked_from": parent,
            "created_s": age,
            "updated_s": time.time() - 10 * age,
        }
        for name, tokens, parent, age in (
            ("research", 412, "", 1.0),
            ("research:2", 298, "research", 2.0),
            ("报告", 1280, "", 3.0),
        )
    ],
    "model.list": [{"name": CHAT, "kind": "causal"}, {"name": "qwen3-0.6b", "kind": "causal"}],
}
"""What is answered about contexts and models."""


def _said(question: str, *answer: dict[str, Any]) -> list[dict[str, Any]]:
    messages = [
        {"role": "user", "content": "Which of our queues can grow without bound?"},
        {"role": "assistant", "content": "<think>They want names.</think>`work` and `mail`."},
        {"role": "user", "content": question},
        *answer,
    ]
    return [{**message, "end": 40 * n, "whole": True} for n, message in enumerate(messages, 1)]


SHOWN = {
    "research": _said("And why?", {"role": "assistant", "content": "Nothing limits them."}),
    "research:2": _said(
        "How long are they now?",
        {"role": "assistant", "content": "",
         "tool_calls": [{"function": {"name": "mq.list", "arguments": {"pattern": "*"}}}]},
        {"role": "tool", "name": "mq.list", "content": "work 1280, mail 12"},
        {"role": "assistant", "content": ANSWER},
    ),
    "报告": _said("简短回答", {"role": "assistant", "content": "好的。"}),
}  # fmt: skip


SCREENS: dict[str, Any] = {
    "plugin.list": sample_screens.PLUGINS,
    "audit.verify": sample_screens.VERIFIED,
}
TAILS: dict[str, list[dict[str, Any]]] = {
    "audit.tail": sample_screens.audit_records(),
    "sys.log": [{"text": line} for line in sample_screens.LOG],
}
SUMMARY = """**Queues grow** when work comes faster than it is done.

- bound each queue
- refuse what does not fit
- measure the *oldest* item, not the length alone
"""


class ScriptedClient:
    """A client that knows one snapshot and one answer."""

    async def __aexit__(self, *exc: object) -> None:
        return None

    def with_options(self, **_: Any) -> ScriptedClient:
        """The same."""
        return self

    async def open_process(self, command: str, **_: Any) -> int:  # noqa: ARG002
        """A pid."""
        return 40

    async def syscalls(self) -> list[SyscallInfo]:
        """A few."""
        return sample_screens.SYSCALLS

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """The snapshot, what a session asks for, or a process's limits."""
        if name == "sys.snapshot":
            return msgspec.to_builtins(busy_snapshot(SECONDS))
        if name == "ctx.show":
            return {"name": arguments["name"], "messages": SHOWN.get(arguments["name"], [])}
        if name in CONTEXTS:
            return CONTEXTS[name]
        if name in SCREENS:
            return SCREENS[name]
        return {"limits": {"tokens": 4000, "seconds": None}, "children": [15], "program": 12}

    async def stream(self, name: str, /, **arguments: Any) -> AsyncGenerator[AnyEvent, None]:  # noqa: ARG002
        """The answer."""
        yield Accepted("call-1", 40)
        if name in TAILS:
            for line in TAILS[name]:
                yield Item(line)
            await asyncio.Event().wait()
        if name == "model.pull":
            yield Progress(5.5e8, 1.2e9, "B", "download qwen3-0.6b")
            await asyncio.Event().wait()
        if name == "text.summarize":
            yield Item({"text": SUMMARY})
            yield Result({"text": SUMMARY, "usage": {"output_tokens": 42}})
            return
        yield Item({"text": ANSWER})
        usage = {"output_tokens": 96, "first_token_s": 0.11, "total_s": 2.4}
        yield Result({"text": ANSWER, "model": CHAT, "usage": usage})


@dataclass(frozen=True)
class Picture:
    """One picture: which program, how large, which keys, and what to wait for."""

    name: str
    kind: type[LingOSApp] = TopApp
    size: tuple[int, int] = (120, 34)
    keys: tuple[str, ...] = ()
    until: str | tuple[str, ...] = "chat research"
    options: dict[str, Any] = field(default_factory=dict)
    dies: bool = False


ASKED = (*QUESTION, "enter")
TOUR = ("ctrl+r", *"ch:2", "enter")
RUN = ("f11", "f3", *"summarize", "enter", *"@@a long text")
PICTURES = (
    Picture("main", LingOSApp, (160, 45), ASKED, "in all"),
    Picture("main-200x50", LingOSApp, (200, 50), ASKED, "in all"),
    Picture("main-80x24", LingOSApp, (80, 24)),
    Picture("main-light", LingOSApp, (160, 45), ASKED, "in all", {"theme": "lingos-light"}),
    Picture("main-session", LingOSApp, (160, 45), TOUR, "branch 2/2"),
    Picture("main-80x24-session", LingOSApp, (80, 24), ASKED, "in all"),
    Picture("main-settings", LingOSApp, (120, 34), ("ctrl+l",), "temperature"),
    Picture("main-lost", LingOSApp, (120, 34), ASKED, "went away", dies=True),
    Picture("top", keys=("space", "down", "space")),
    Picture("top-200x50", size=(200, 50)),
    Picture("top-80x24", size=(80, 24)),
    Picture("top-ansi", options={"theme": "ansi-dark"}),
    Picture("top-tree", keys=("f5",)),
    Picture("top-queue", keys=("2",), until="prefill"),
    Picture("top-threads", keys=("3",), until="locks.py"),
    Picture("top-locks", keys=("4",), until="downloads"),
    Picture("top-models", keys=("5",), until="qwen3"),
    Picture("top-kill", keys=("space", "space", "f9"), until="Send signal"),
    Picture("top-sort", keys=("f6",), until="Sort by"),
    Picture("top-filter", keys=("f4", *"ana"), until="filter: ana"),
    Picture("top-details", keys=("enter",), until="tokens 4000"),
    Picture("top-help", keys=("f1",), until="Esc closes"),
    Picture("top-readonly", keys=("k",), options={"is_readonly": True}, until="read-only"),
    Picture("models", LingOSApp, keys=("f10", "f5", *"qwen3-0.6b", "enter"), until="46 %"),
    Picture("syscalls", LingOSApp, keys=(*RUN, "f5"), until="done in"),
    Picture("audit", LingOSApp, keys=("f12", "f5"), until=("intact", "a1e3-1")),
    Picture("log", LingOSApp, keys=("f12", "right"), until="sequences go on"),
    Picture("plugins", LingOSApp, keys=("alt+p", *["down"] * 4), until="before_syscall"),
    Picture("models-80x24", LingOSApp, (80, 24), ("f10",), "qwen3"),
    Picture("syscalls-80x24", LingOSApp, (80, 24), RUN, "/text.summarize"),
    Picture("audit-200x50", LingOSApp, (200, 50), ("f12",), "llm.classify"),
    Picture(
        "plugins-ansi", LingOSApp, keys=("alt+p",), until="weather", options={"theme": "ansi-dark"}
    ),
)


def set_the_scene() -> None:
    """Take away what differs from run to run and from place to place."""
    os.environ.pop("NO_COLOR", None)
    os.environ["TZ"] = "UTC"
    time.tzset()
    ticks = count()
    SyscallsScreen.now = staticmethod(lambda: 0.7 * next(ticks))


def hold_cursors(app: LingOSApp) -> None:
    """No cursor blinks in a picture."""
    for widget in app.screen.query("Input, TextArea"):
        widget.cursor_blink = False  # type: ignore[attr-defined]


async def draw(picture: Picture) -> str:
    """The SVG of a picture."""

    async def connect(_may_start: bool) -> Any:
        return ScriptedClient()

    set_the_scene()
    app = picture.kind(connect, period_s=3600.0, **picture.options)
    for second in range(4 * SECONDS):
        app.scheduler.take(busy_snapshot(second / 4))
    app.scheduler.latest = None
    async with app.run_test(size=picture.size) as pilot:
        await _until(pilot, lambda: app.link.status.state == "attached" and app.scheduler.latest)
        for widget in app.screen.query("#prompt, #ask"):
            widget.cursor_blink = False  # type: ignore[attr-defined]
        if picture.dies:
            app.link._tell("lost", "the kernel went away; starting it again …")
        for key in picture.keys:
            await pilot.press(key)
        wanted = (picture.until,) if isinstance(picture.until, str) else picture.until
        await _until(pilot, lambda: all(text in screen_text(app) for text in wanted))
        app.clear_notifications()
        await pilot.pause()
        await _settled(pilot)
        return normalised(app.export_screenshot(title=picture.name), picture.name)


def screen_text(app: LingOSApp) -> str:
    """What is on the screen, as plain text."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


async def _until(pilot: Pilot[Any], condition: Callable[[], Any]) -> None:
    for _ in range(1000):
        if condition():
            return
        await pilot.pause(0.01)
    raise TimeoutError(f"it did not come to be:\n{screen_text(pilot.app)}")  # type: ignore[arg-type]


async def _settled(pilot: Pilot[Any]) -> None:
    """Wait until two looks at the screen are the same."""
    before = ""
    hold_cursors(pilot.app)  # type: ignore[arg-type]
    for _ in range(100):
        await pilot.pause(0.05)
        now = screen_text(pilot.app)  # type: ignore[arg-type]
        if now == before:
            return
        before = now


def normalised(svg: str, name: str) -> str:
    """The picture without what differs from run to run: the ids of its styles."""
    return re.sub(r"terminal-\d+", f"lingos-{name}", svg).rstrip() + "\n"


def main(arguments: list[str]) -> int:
    """Write the pictures (those named, or all), or with `--check` say which are out of date."""
    checks = "--check" in arguments
    wanted = {argument for argument in arguments if not argument.startswith("-")}
    stale = []
    IMAGES.mkdir(exist_ok=True)
    for picture in PICTURES:
        if wanted and picture.name not in wanted:
            continue
        svg = asyncio.run(draw(picture))
        path = IMAGES / f"{picture.name}.svg"
        if not path.exists() or path.read_text(encoding="utf-8") != svg:
            stale.append(picture.name)
            if not checks:
                path.write_text(svg, encoding="utf-8")
    print(f"{'out of date' if checks else 'written'}: {', '.join(stale) or 'none'}")
    return 1 if checks and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
