"""Each key of the scheduler pane."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import msgspec
import pytest

from lingos_kernel.errors import NotPermitted
from lingos_kernel.syscalls.events import Result
from lingos_kernel.testing.sample_snapshot import CHAT, EMBEDDER, busy_snapshot, crowded_snapshot
from lingos_shell.tui.scheduler.keys import PANE_KEYS
from lingos_shell.tui.scheduler.model import SchedulerModel
from lingos_shell.tui.scheduler.orders import renice
from lingos_shell.tui.scheduler.pane import SchedulerPane

Open = Callable[..., AbstractAsyncContextManager]

BY_STATE = [12, 15, 21, 13, 31, 22, 1, 34]
"""Pids of the sample, ordered as the queue is."""


async def test_rows_are_ordered_as_the_queue_is(open_screen: Open) -> None:
    """Running ones first, then those that wait by their places."""
    async with open_screen() as screen:
        assert screen.pids == BY_STATE
        assert screen.selected == 12
        text = screen.text()
        for word in ("LingOS", CHAT, "3 running", "KV 49 %", "摘要", "סיכום", "F9 kill", "tok/s"):
            assert word in text


async def test_moving(open_screen: Open) -> None:
    """Arrows, pages, first and last."""
    async with open_screen() as screen:
        await screen.press("down", "down")
        assert screen.selected == 21
        await screen.press("up")
        assert screen.selected == 15
        await screen.press("end")
        assert screen.selected == 34
        await screen.press("home")
        assert screen.selected == 12
        await screen.press("pagedown")
        assert screen.selected == 34


async def test_the_cursor_stays_on_its_process(open_screen: Open) -> None:
    """A key that comes a moment too late hits what was selected, or what stands there instead."""
    async with open_screen() as screen:
        await screen.press("down")
        before = busy_snapshot()
        rows = tuple(reversed(before.processes))
        await screen.show(msgspec.structs.replace(before, processes=rows))
        assert screen.selected == 15
        await screen.show(
            msgspec.structs.replace(before, processes=tuple(p for p in rows if p.pid != 15))
        )
        assert screen.selected == 21


async def test_sorting(open_screen: Open) -> None:
    """F6 asks for the column; letters choose one; I turns the order round."""
    async with open_screen() as screen:
        await screen.press("N")
        assert screen.pids == sorted(BY_STATE)
        await screen.press("I")
        assert screen.pids == sorted(BY_STATE, reverse=True)
        await screen.press("P")
        assert screen.pids[:2] == [21, 12]
        await screen.press("M")
        assert screen.pids[0] == 21
        await screen.press("T")
        assert screen.pids[0] == 31
        await screen.press("f6")
        await screen.until(lambda: "Sort by" in screen.text())
        await screen.press("home", "enter")
        assert screen.app.scheduler.state.sort == "PID"
        await screen.press("greater_than_sign", "escape")
        assert screen.app.scheduler.state.sort == "PID"


async def test_tree(open_screen: Open) -> None:
    """F5 shows who started whom, and goes back."""
    async with open_screen() as screen:
        await screen.press("f5")
        assert screen.pids[:3] == [1, 12, 15]
        assert "└─ tool text.ask" in screen.text()
        await screen.press("t")
        assert screen.pids == BY_STATE
        await screen.press("3", "t")
        await screen.until(lambda: "only processes have a tree" in screen.told())


async def test_filter(open_screen: Open) -> None:
    """F4 filters while it is typed; Enter keeps the filter, Escape drops it."""
    async with open_screen() as screen:
        await screen.press("f4", "a", "n", "a")
        assert screen.pids == [12, 15]
        await screen.press("enter")
        assert screen.pids == [12, 15]
        assert "filter: ana" in screen.text()
        await screen.press("backslash", "z", "z", "z")
        assert screen.pids == []
        assert "nothing matches" in screen.text()
        await screen.press("escape")
        assert screen.pids == BY_STATE


async def test_search(open_screen: Open) -> None:
    """F3 goes to the first match while it is typed, and on to the next with each F3 or Enter."""
    async with open_screen() as screen:
        await screen.press("f3", "j", "o", "b")
        assert screen.selected in (13, 31) or "job" not in screen.text()
        await screen.press("escape", "slash", *"code")
        assert screen.selected == 31
        await screen.press("f3")
        assert screen.selected == 22
        await screen.press("enter")
        assert screen.selected == 31
        await screen.press("escape")
        assert screen.pane.grid.has_focus


async def test_tags(open_screen: Open) -> None:
    """Space tags and goes on; c takes a process's descendants too; U unties all."""
    async with open_screen() as screen:
        await screen.press("space", "space")
        assert screen.app.scheduler.state.tagged == {12, 15}
        assert "2 tagged" in screen.text()
        await screen.press("U")
        assert screen.app.scheduler.state.tagged == frozenset()
        await screen.press("home", "c")
        assert screen.app.scheduler.state.tagged == {12, 15}


async def test_follow_keeps_the_row_in_sight(open_screen: Open, clock) -> None:
    """However far the row moves."""
    async with open_screen(size=(120, 24)) as screen:
        await screen.show(crowded_snapshot(200))
        await screen.press("N", "home", "F")
        assert "follow" in screen.text()
        await screen.press("I")
        assert screen.selected == 100
        assert screen.pane.grid.scroll_offset.y > 100


async def test_freeze(open_screen: Open) -> None:
    """Z holds the picture."""
    async with open_screen() as screen:
        await screen.press("Z")
        await screen.show(crowded_snapshot(5))
        assert screen.pids == BY_STATE
        assert "frozen" in screen.text()
        await screen.press("Z")
        assert len(screen.pids) == 5


async def test_renice(open_screen: Open) -> None:
    """F7 and F8 change the priority of the tagged rows, within the bounds."""
    async with open_screen() as screen:
        await screen.press("f7")
        await screen.until(lambda: screen.kernel.calls)
        assert screen.kernel.calls == [("proc.nice", {"pid": 12, "priority": -1})]
        screen.kernel.calls.clear()
        await screen.press("space", "space", "right_square_bracket")
        await screen.until(lambda: len(screen.kernel.calls) == 2)
        assert screen.kernel.calls == [
            ("proc.nice", {"pid": 12, "priority": 1}),
            ("proc.nice", {"pid": 15, "priority": 1}),
        ]
        assert renice([(1, -20)], -1).calls == (("proc.nice", {"pid": 1, "priority": -20}),)
        assert renice([(1, 19)], 1).calls == (("proc.nice", {"pid": 1, "priority": 19}),)


@pytest.mark.parametrize("key", ["f9", "k"])
async def test_kill_asks_for_the_signal(open_screen: Open, key: str) -> None:
    """The list of signals names the processes; Escape sends nothing."""
    async with open_screen() as screen:
        await screen.press(key)
        await screen.until(lambda: "Send signal" in screen.text())
        assert "12  chat research" in screen.text()
        await screen.press("escape")
        assert screen.kernel.calls == []
        await screen.press(key)
        await screen.until(lambda: "Send signal" in screen.text())
        await screen.press("down", "enter")
        await screen.until(lambda: screen.kernel.calls)
        assert screen.kernel.calls == [("proc.kill", {"pid": 12, "signal": "KILL"})]
        await screen.until(lambda: "sent KILL to process 12" in screen.told())


async def test_stop_and_continue(open_screen: Open) -> None:
    """S stops what runs and lets go on what is stopped."""
    async with open_screen() as screen:
        await screen.press("S")
        await screen.until(lambda: screen.kernel.calls)
        assert screen.kernel.calls.pop() == ("proc.kill", {"pid": 12, "signal": "STOP"})
        await screen.press("N", "I", "f3", *"22", "escape", "S")
        await screen.until(lambda: screen.kernel.calls)
        assert screen.kernel.calls.pop() == ("proc.kill", {"pid": 22, "signal": "CONT"})


async def test_pin_and_unload(open_screen: Open) -> None:
    """p pins or lets go, u asks before it unloads."""
    async with open_screen() as screen:
        await screen.press("5", "f3", *"mini", "escape", "p")
        await screen.until(lambda: screen.kernel.calls)
        assert screen.kernel.calls.pop() == ("model.pin", {"name": EMBEDDER})
        await screen.press("home", "p")
        await screen.until(lambda: screen.kernel.calls)
        assert screen.kernel.calls.pop() == ("model.unpin", {"name": CHAT})
        await screen.press("u")
        await screen.until(lambda: "Are you sure?" in screen.text())
        await screen.press("n")
        assert screen.kernel.calls == []
        await screen.press("u")
        await screen.until(lambda: "Are you sure?" in screen.text())
        await screen.press("y")
        await screen.until(lambda: screen.kernel.calls)
        assert screen.kernel.calls.pop() == ("model.unload", {"name": CHAT})


async def test_what_fails_is_told(open_screen: Open) -> None:
    """The kernel's message and hint come up; the program goes on."""

    def refuse(**_: object) -> None:
        raise NotPermitted("process 12 is not yours", hint="ask ana")

    async with open_screen() as screen:
        screen.kernel.answers["proc.nice"] = refuse
        await screen.press("f8")
        await screen.until(lambda: "process 12 is not yours" in screen.told())
        assert "ask ana" in screen.told()


async def test_readonly_changes_nothing(open_screen: Open) -> None:
    """Every key that would act says why it does not."""
    async with open_screen(is_readonly=True) as screen:
        assert "read-only" in screen.text()
        for key in [key for key in PANE_KEYS if key.is_act]:
            await screen.press("1", key.letters or key.function_key)
        await screen.until(lambda: "started with --readonly" in screen.told())
        assert screen.kernel.calls == []
        assert len(screen.app.screen_stack) == 1


async def test_details(open_screen: Open) -> None:
    """Enter shows every column with its meaning, and the limits that only the kernel knows."""
    async with open_screen(size=(160, 50)) as screen:
        screen.kernel.answers["proc.show"] = lambda pid: {
            "limits": {"tokens": 1000, "seconds": None}, "used": {"tokens": 12.5}, "children": [15],
        }  # fmt: skip
        await screen.press("enter")
        await screen.until(lambda: "tokens 1000" in screen.text())
        text = screen.text()
        assert "seconds no limit" in text
        assert "time to the first token" in text
        await screen.press("escape")
        assert len(screen.app.screen_stack) == 1


async def test_trace(open_screen: Open) -> None:
    """s follows the process's syscalls in a panel."""
    async with open_screen() as screen:
        line = {"event": "begin", "pid": 12, "depth": 0, "syscall": "llm.chat", "arguments": ["n"]}
        screen.kernel.answers["proc.trace"] = lambda **_: [line, None]
        await screen.press("s")
        await screen.until(lambda: "12 llm.chat(n=?)" in screen.text())
        await screen.until(lambda: "the process has ended" in screen.text())
        assert screen.kernel.calls == [("proc.trace", {"pid": 12, "follow": True})]
        await screen.press("escape")
        assert len(screen.app.screen_stack) == 1


async def test_a_trace_that_is_closed_ends(open_screen: Open) -> None:
    """Leaving the panel closes the stream, which cancels the call in the kernel."""
    import asyncio

    ended = asyncio.Event()

    async def forever(**_: object):
        try:
            yield {"event": "dropped", "count": 1}
            await asyncio.Event().wait()
            yield Result(None)
        finally:
            ended.set()

    async with open_screen() as screen:
        screen.kernel.answers["proc.trace"] = forever
        await screen.press("s")
        await screen.until(lambda: "1 lines were dropped" in screen.text())
        await screen.press("escape")
        await screen.until(ended.is_set)


async def test_each_table(open_screen: Open) -> None:
    """Numbers and arrows open the tables; each remembers its order and cursor."""
    async with open_screen() as screen:
        for key, word in (
            ("2", "prefill 57 % of 9.0k"),
            ("3", "locks.py:88 wait"),
            ("4", "downloads"),
            ("5", "qwen3-0.6b"),
            ("1", "chat research"),
        ):
            await screen.press(key)
            assert word in screen.text(), key
        await screen.press("right")
        assert screen.app.scheduler.open_name == "queue"
        await screen.press("left", "left")
        assert screen.app.scheduler.open_name == "models"


async def test_mouse(open_screen: Open) -> None:
    """A click selects, on a head it orders, on a tab it opens the table, twice opens the row."""
    async with open_screen() as screen:
        screen.kernel.answers["proc.show"] = lambda pid: {"children": []}
        grid = screen.pane.grid
        await screen.pilot.click(grid, offset=(8, 3))
        assert screen.selected == 21
        await screen.pilot.click(grid, offset=(4, 0))
        await screen.pilot.pause()
        assert screen.app.scheduler.state.sort == "PID"
        await screen.pilot.click("#tabs", offset=(20, 0))
        assert screen.app.scheduler.open_name == "queue"
        await screen.press("1")
        await screen.pilot.click(grid, offset=(8, 2), times=2)
        await screen.until(lambda: len(screen.app.screen_stack) == 2)
        await screen.press("escape")
        bar = screen.text().splitlines()[-1]
        await screen.pilot.click("#keys", offset=(bar.index("F5") + 1, 0))
        await screen.pilot.pause()
        assert screen.app.scheduler.state.is_tree


async def test_only_changed_lines_are_painted(open_screen: Open, monkeypatch) -> None:
    """The same snapshot again asks for no repaint of the table."""
    async with open_screen() as screen:
        await screen.show(busy_snapshot())
        asked = []
        grid = screen.pane.grid
        monkeypatch.setattr(
            type(grid), "refresh", lambda self, *regions, **_: asked.extend(regions)
        )
        await screen.show(busy_snapshot())
        assert asked == []
        before = busy_snapshot()
        rows = tuple(
            msgspec.structs.replace(p, tokens_per_s=99.0) if p.pid == 21 else p
            for p in before.processes
        )
        await screen.show(msgspec.structs.replace(before, processes=rows))
        (region,) = asked
        assert region.height == 1
        assert region.width == 5  # the cell TOK/S alone


async def test_a_pane_that_is_put_together_draws_nothing(open_screen: Open) -> None:
    """A snapshot may come between opening the screen and the lines being there."""
    async with open_screen() as screen:
        model = SchedulerModel()
        model.take(busy_snapshot(1.0))
        pane = SchedulerPane(model)
        mounted = screen.app.screen.mount(pane)
        assert pane.is_attached
        pane.redraw()
        await mounted
        assert pane.query("#headline")
