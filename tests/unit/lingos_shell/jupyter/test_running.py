"""Tests of who an interrupt stops."""

from __future__ import annotations

from lingos_shell.jupyter.running import MAIN, RunningWork


def test_an_interrupt_stops_what_the_main_shell_does() -> None:
    """While the main shell runs a cell, an interrupt without a name means that one alone."""
    work, stopped = RunningWork(), list[str]()
    with (
        work.cell(MAIN),
        work.cell("sub"),
        work.stoppable(MAIN, lambda: stopped.append("main")),
        work.stoppable("sub", lambda: stopped.append("sub")),
    ):
        assert work.interrupt()
        assert stopped == ["main"]
        assert work.interrupt("sub")
        assert stopped == ["main", "sub"]
    assert not work.interrupt()


def test_an_interrupt_of_an_idle_main_shell_stops_subshells() -> None:
    """With one button for all, an idle main shell passes the interrupt on to the subshells."""
    work, stopped = RunningWork(), list[str]()
    with work.cell("a"), work.stoppable("a", lambda: stopped.append("a")):
        assert work.interrupt()
    assert stopped == ["a"]


def test_plain_python_in_the_main_shell_is_left_to_the_signal() -> None:
    """A busy main shell with nothing to stop leaves subshells alone and says so."""
    work, stopped = RunningWork(), list[str]()
    with work.cell(MAIN), work.cell("a"), work.stoppable("a", lambda: stopped.append("a")):
        assert not work.interrupt()
    assert stopped == []
