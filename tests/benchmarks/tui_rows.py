"""What one update of the scheduler pane costs: `python tests/benchmarks/tui_rows.py`.

500 processes whose numbers change, on a screen of 200x50, for the pane's own table and for
Textual's DataTable (cells that changed are updated, rows are sorted), in interleaved rounds. The
time is that of the main thread from the snapshot's JSON to the written frame.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import DataTable

from lingos_kernel.telemetry.snapshot import Snapshot
from lingos_kernel.testing.sample_snapshot import crowded_snapshot
from lingos_shell.tui.lines import COMPONENTS
from lingos_shell.tui.scheduler.arrange import Arranger, TableState
from lingos_shell.tui.scheduler.columns import cells, lay_out
from lingos_shell.tui.scheduler.model import SchedulerModel
from lingos_shell.tui.scheduler.pane import SchedulerPane
from lingos_shell.tui.scheduler.processes import PROCESSES

BUDGET_S = 0.025
SIZE = (200, 50)
STEP_S = 0.25


class PaneApp(App[None]):
    """The whole pane, as `lingos top` shows it."""

    COMPONENT_CLASSES: ClassVar[set[str]] = set(COMPONENTS)

    def __init__(self) -> None:
        super().__init__()
        self.model = SchedulerModel()
        self.model.sort_by("TOK/S")

    def compose(self) -> ComposeResult:
        """The pane alone."""
        yield SchedulerPane(self.model)

    def take(self, snapshot: Snapshot) -> None:
        """Show the snapshot."""
        self.model.take(snapshot)
        self.query_one(SchedulerPane).redraw()


class TableApp(App[None]):
    """The table of processes alone, as a DataTable."""

    def compose(self) -> ComposeResult:
        """The table alone."""
        yield DataTable(cursor_type="row")

    def on_mount(self) -> None:
        """The same columns."""
        self.layout_of = lay_out(PROCESSES.columns, SIZE[0])
        self.arranger = Arranger(PROCESSES)
        self.state = TableState("TOK/S", is_descending=True)
        self.shown: dict[Any, list[str]] = {}
        for column, width in self.layout_of:
            self.query_one(DataTable).add_column(column.name, width=width, key=column.name)

    def take(self, snapshot: Snapshot) -> None:
        """Update the cells that changed, then order the rows."""
        table = self.query_one(DataTable)
        placed = self.arranger.arrange(PROCESSES.items(snapshot), self.state, snapshot.time_s)
        for row in placed:
            texts = [text for text, _ in cells(self.layout_of, row.item, {})]
            before = self.shown.get(row.key)
            if before is None:
                table.add_row(*texts, key=str(row.key))
            else:
                for (column, _), old, new in zip(self.layout_of, before, texts, strict=True):
                    if old != new:
                        table.update_cell(str(row.key), column.name, new)
            self.shown[row.key] = texts
        places = {str(row.key): place for place, row in enumerate(placed)}
        # DataTable gives a sort key the cells; the pid is the first.
        table.sort("PID", key=lambda pid: places[pid.strip()])


async def update_s(pilot: Pilot[None], take: Callable[[Snapshot], None], payload: bytes) -> float:
    """Seconds of CPU time of this thread from the JSON to the painted frame."""
    await pilot.pause()
    begun_s = time.thread_time()
    take(msgspec.convert(msgspec.json.decode(payload), Snapshot))
    await pilot.pause()
    return time.thread_time() - begun_s


async def measure(count: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each update with `count` rows, for the pane and for a DataTable."""
    found: dict[str, list[float]] = {"scheduler pane": [], "DataTable alone": []}
    pane, table = PaneApp(), TableApp()
    payloads = [msgspec.json.encode(crowded_snapshot(count, STEP_S * n)) for n in range(rounds + 2)]
    for name, app in (("scheduler pane", pane), ("DataTable alone", table)):
        async with app.run_test(size=SIZE) as pilot:
            for number, payload in enumerate(payloads):
                took_s = await update_s(pilot, app.take, payload)
                if number >= 2:  # the first ones fill the table
                    found[name].append(took_s)
    return found


def main() -> int:
    """Print the measurement; returns 1 when an update of the pane is over its budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=40)
    given = parser.parse_args()
    found: dict[str, list[float]] = {}
    for _ in range(2):
        for name, values in asyncio.run(measure(given.rows, given.rounds // 2)).items():
            found.setdefault(name, []).extend(values)
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {given.rows} rows")
    for name, values in found.items():
        middle, worst = statistics.median(values), max(values)
        print(f"{name:<16} median {middle * 1000:6.1f} ms  worst {worst * 1000:6.1f} ms per update")
    return 1 if statistics.median(found["scheduler pane"]) > BUDGET_S else 0


if __name__ == "__main__":
    raise SystemExit(main())
