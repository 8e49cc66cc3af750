"""Progress bars on stderr; nothing at all when stderr is not a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

from lingos_shell.output import is_terminal

if TYPE_CHECKING:
    import rich.progress

    from lingos_kernel.syscalls.events import Progress


class ProgressBars:
    """One bar per label of the `Progress` events of a call. Use with `with`."""

    def __init__(self) -> None:
        self._bars: rich.progress.Progress | None = None
        self._tasks: dict[str, rich.progress.TaskID] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.hide()

    def show(self, event: Progress) -> None:
        """Draw how far the call is."""
        if not is_terminal(sys.stderr):
            return
        if self._bars is None:
            self._bars = _new_bars(event.unit)
            self._bars.start()
        if event.label not in self._tasks:
            self._tasks[event.label] = self._bars.add_task(event.label or "working", total=None)
        self._bars.update(self._tasks[event.label], completed=event.done, total=event.total)

    def hide(self) -> None:
        """Take the bars off the screen, so that other output has the line."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
            self._tasks = {}


def _new_bars(unit: str) -> rich.progress.Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    amounts = (
        (DownloadColumn(binary_units=True), TransferSpeedColumn())
        if unit == "B"
        else (MofNCompleteColumn(),)
    )
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *amounts,
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
    )
