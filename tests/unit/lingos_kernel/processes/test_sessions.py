"""Processes that outlive the kernel: all that is known of them comes back."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from lingos_kernel.processes import Limits, Process, ProcessTable, Signal
from lingos_kernel.processes.sessions import Sessions
from lingos_kernel.security.principal import Principal, owner

ME = owner("me")
ANN = Principal("ann", "a", frozenset({"llm.*"}), within=(frozenset({"llm.chat"}),))


class Life:
    """One kernel's table with what keeps it."""

    def __init__(self, path: Path, now_s: float = 0.0) -> None:
        self.table = ProcessTable(ME, clock=lambda: now_s)
        self.sessions = Sessions(path, self.table, clock=lambda: now_s, wall=lambda: 5_000 + now_s)

    def facts(self) -> list[dict[str, Any]]:
        """What is known of each process but the kernel."""
        names = [item.name for item in fields(Process) if item.name != "calls"]
        rows = [{name: getattr(p, name) for name in names} for p in self.table.processes()[1:]]
        for row in rows:
            row["used"] = replace(row["used"], pages=0)
        return rows


async def test_everything_comes_back(tmp_path: Path) -> None:
    """Limits, use, priority, parent, context and the stop of a process are there again."""
    before = Life(tmp_path / "p.db")
    await before.sessions.restore()
    table = before.table
    top = table.open(ANN, "top", kind="agent", limits=Limits(tokens=9), is_durable=True)
    low = table.open(ANN, "low", parent=top.pid, priority=7, on_parent_end="end", is_durable=True)
    low.context = "talk"
    table.charge(low.pid, tokens=5, seconds=1.5, tool_calls=2, pages=3)
    table.signal(low.pid, Signal.STOP, by=ANN)
    table.open(ANN, "belongs to a connection")
    await before.sessions.flush()
    after = Life(tmp_path / "p.db")
    assert await after.sessions.restore() == 2
    assert after.facts() == before.facts()[:2]
    assert after.table.get(low.pid).state == "stopped"
    assert after.table.remaining(low.pid).tokens == 4
    assert after.table.open(ANN, "new").pid == table.last_pid + 1
    await before.sessions.close()
    await after.sessions.close()


async def test_stopped_sessions_are_kept_while_they_are(tmp_path: Path) -> None:
    """A session of a connection is kept once it is stopped, and no longer when it goes on."""
    life = Life(tmp_path / "p.db")
    await life.sessions.restore()
    session, job = life.table.open(ANN, "sh"), life.table.open(ANN, "x", kind="job")
    for process in (session, job):
        life.table.signal(process.pid, Signal.STOP, by=ANN)
    await life.sessions.close()
    life = Life(tmp_path / "p.db")
    assert await life.sessions.restore() == 1
    assert life.facts()[0]["command"] == "sh"
    life.table.signal(session.pid, Signal.CONT, by=ANN)
    await life.sessions.close()
    life = Life(tmp_path / "p.db")
    assert await life.sessions.restore() == 0
    await life.sessions.close()


async def test_a_kernel_that_does_not_lead_writes_nothing(tmp_path: Path) -> None:
    """Without `restore` nothing is read or written."""
    life = Life(tmp_path / "p.db")
    life.table.open(ANN, "x", is_durable=True)
    await life.sessions.flush()
    await life.sessions.close()
    life = Life(tmp_path / "p.db")
    assert await life.sessions.restore() == 0
    await life.sessions.close()


async def test_age_is_kept(tmp_path: Path) -> None:
    """A process is as old as the time that has passed, whatever the new kernel's clock shows."""
    life = Life(tmp_path / "p.db", now_s=100.0)
    await life.sessions.restore()
    life.table.open(ANN, "x", is_durable=True)
    await life.sessions.close()
    later = Life(tmp_path / "p.db", now_s=160.0)
    await later.sessions.restore()
    assert later.table.processes()[1].created_s == pytest.approx(100.0)
    await later.sessions.close()


async def test_a_damaged_row_keeps_no_other_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told in the log."""
    life = Life(tmp_path / "p.db")
    await life.sessions.restore()
    for name in ("a", "b"):
        life.table.open(ANN, name, is_durable=True)
    await life.sessions.close()
    connection = sqlite3.connect(tmp_path / "p.db")
    connection.execute("UPDATE processes SET facts = x'00' WHERE pid = 2")
    connection.commit()
    connection.close()
    life = Life(tmp_path / "p.db")
    assert await life.sessions.restore() == 1
    assert "process 2 cannot be read" in caplog.text
    await life.sessions.close()


async def test_use_is_written_down_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody needs to say so: what changes is on disk soon."""
    monkeypatch.setattr("lingos_kernel.processes.sessions.FLUSH_S", 0.01)
    life = Life(tmp_path / "p.db")
    await life.sessions.restore()
    process = life.table.open(ANN, "x", is_durable=True)
    life.table.charge(process.pid, tokens=5)
    connection = sqlite3.connect(tmp_path / "p.db")
    rows: list[Any] = []
    while not rows:
        await asyncio.sleep(0)
        rows = connection.execute("SELECT facts FROM processes").fetchall()
    assert b'"tokens":5' in rows[0][0]
    connection.close()
    await life.sessions.close()


class Restarts(RuleBasedStateMachine):
    """Random lives of processes over many kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.life = self.runner.run(self.boot())

    async def boot(self) -> Life:
        """A new kernel."""
        life = Life(Path(self.folder.name) / "p.db")
        await life.sessions.restore()
        return life

    def teardown(self) -> None:
        """Leave nothing."""
        self.runner.run(self.life.sessions.close())
        self.runner.close()
        self.folder.cleanup()

    def live(self) -> list[Process]:
        """Processes that can be acted on."""
        return self.life.table.processes()[1:]

    @rule(data=st.data(), durable=st.booleans(), how=st.sampled_from(["reparent", "end"]))
    def open(self, data: st.DataObject, durable: bool, how: Any) -> None:
        """Open one below any."""
        parent = data.draw(st.sampled_from([1, *(p.pid for p in self.live())]))
        self.life.table.open(ME, "x", parent=parent, is_durable=durable, on_parent_end=how)

    @precondition(lambda self: self.live())
    @rule(data=st.data(), signal=st.sampled_from(["STOP", "CONT", "KILL"]))
    def signal(self, data: st.DataObject, signal: str) -> None:
        """Send one a signal."""
        pid = data.draw(st.sampled_from(self.live())).pid
        self.life.table.signal(pid, Signal[signal], by=ME)

    @precondition(lambda self: self.live())
    @rule(data=st.data(), tokens=st.integers(0, 9))
    def charge(self, data: st.DataObject, tokens: int) -> None:
        """Let one use something."""
        pid = data.draw(st.sampled_from(self.live())).pid
        self.life.table.charge(pid, tokens=tokens)

    @rule()
    def restart(self) -> None:
        """The kept ones are there again, as they were, below a parent that is there too."""
        before, last_pid = self.life.facts(), self.life.table.last_pid
        self.runner.run(self.life.sessions.close())
        self.life = self.runner.run(self.boot())
        kept: list[dict[str, Any]] = []
        for row in before:
            is_orphan = row["parent"] not in {1, *(other["pid"] for other in kept)}
            if is_orphan:
                row["parent"] = 1
            ends = is_orphan and row["on_parent_end"] == "end"
            if (row["is_durable"] or row["stopped"]) and not ends:
                kept.append(row)
        assert self.life.facts() == kept
        assert self.life.table.last_pid == last_pid


TestRestarts = Restarts.TestCase
TestRestarts.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
