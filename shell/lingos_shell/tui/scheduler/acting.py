"""What the pane's keys do: choose rows, ask, and send syscalls. A half of `SchedulerPane`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from textual import work
from textual.widget import Widget

from lingos_kernel.errors import LingOSError
from lingos_shell.tui.scheduler import orders
from lingos_shell.tui.scheduler.details import detail_lines
from lingos_shell.tui.scheduler.model import SchedulerModel

if TYPE_CHECKING:
    from collections.abc import Hashable

    from lingos_kernel.client.protocol import KernelClient
    from lingos_shell.tui.scheduler.arrange import Placed
    from lingos_shell.tui.scheduler.grid import Grid
    from lingos_shell.tui.scheduler.processes import ProcessItem


class Host(Protocol):
    """What the pane needs of the program around it."""

    is_readonly: bool

    async def kernel_client(self) -> KernelClient:
        """The client, as soon as it is attached."""


class Acting(Widget):
    """The actions; the pane gives the model, the table and `redraw`."""

    model: SchedulerModel

    @property
    def grid(self) -> Grid:
        """The open table."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Draw the model's picture."""
        raise NotImplementedError

    # Looking

    def action_tree(self) -> None:
        """Processes below their parents, or flat."""
        if self.model.section.parent is None:
            self.notify("only processes have a tree")
            return
        self.model.change(is_tree=not self.model.state.is_tree)
        self.redraw()

    @work(exclusive=True, group="ask")
    async def action_sort(self) -> None:
        """Ask for the column that orders."""
        from lingos_shell.tui.dialogs import Pick

        options = [(column.name, column.about) for column in self.model.section.columns]
        chosen = self.model.state.sort
        name = await self.app.push_screen_wait(Pick("Sort by", options, chosen=chosen))
        if name is not None:
            self._sort(name)

    def _sort(self, name: str) -> None:
        if any(column.name == name for column in self.model.section.columns):
            self.model.sort_by(name)
            self.redraw()

    def action_sort_pid(self) -> None:
        """Order by pid."""
        self._sort("PID")

    def action_sort_rate(self) -> None:
        """Order by tokens per second."""
        self._sort("TOK/S")

    def action_sort_memory(self) -> None:
        """Order by memory."""
        self._sort("MEM" if self.model.open_name == "processes" else "WEIGHT")

    def action_sort_time(self) -> None:
        """Order by age."""
        self._sort("TIME")

    def action_invert(self) -> None:
        """Turn the order round."""
        self.model.change(is_descending=not self.model.state.is_descending)
        self.redraw()

    def action_follow(self) -> None:
        """Keep the selected row in sight."""
        self.model.change(is_following=not self.model.state.is_following)
        self.redraw()

    def action_freeze(self) -> None:
        """Hold the picture, or let it go on."""
        self.model.toggle_freeze()
        self.redraw()

    def action_tag(self) -> None:
        """Tag the selected row and go on to the next."""
        if self.grid.selected is not None:
            self.model.toggle_tags([self.grid.selected.key])
            self.redraw()
            self.grid.action_move(1)

    def action_tag_branch(self) -> None:
        """Tag the process and all below it."""
        if self.grid.selected is not None:
            self.model.toggle_tags(self.model.below(self.grid.selected.key))
            self.redraw()

    def action_untag(self) -> None:
        """Take all tags away."""
        self.model.change(tagged=frozenset())
        self.redraw()

    @work(exclusive=True, group="ask")
    async def action_details(self) -> None:
        """Everything known about the row; of a process its limits too."""
        from lingos_shell.tui.dialogs import Page

        row = self.grid.selected
        if row is None:
            return
        more: dict[str, Any] = {}
        if self.model.open_name == "processes":
            try:
                client = await self._host.kernel_client()
                more = await client.call("proc.show", pid=row.key)
            except LingOSError as error:  # it may have ended meanwhile: the row still tells
                more = {"note": error.message}
        title = f"{self.model.section.title}: {row.key}"
        await self.app.push_screen_wait(Page(title, detail_lines(self.model.section, row, more)))

    @work(exclusive=True, group="ask")
    async def action_trace(self) -> None:
        """Watch the syscalls of the selected process."""
        from lingos_shell.tui.scheduler.trace import TracePanel

        pids = self._pids()
        if pids:
            client = await self._host.kernel_client()
            await self.app.push_screen_wait(TracePanel(client, pids[0]))

    # Acting

    def action_renice_up(self) -> None:
        """More urgent by one."""
        self._renice(-1)

    def action_renice_down(self) -> None:
        """Less urgent by one."""
        self._renice(1)

    def _renice(self, by: int) -> None:
        items = self._processes()
        priorities = [(item.row.pid, item.row.priority) for item in items]
        if priorities and self._may_act():
            self._carry_out(orders.renice(priorities, by))

    @work(exclusive=True, group="ask")
    async def action_kill(self) -> None:
        """Ask for a signal and send it."""
        from lingos_shell.tui.dialogs import Pick

        pids = self._pids()
        if not pids or not self._may_act():
            return
        names = {item.row.pid: item.row.command for item in self._processes()}
        about = "\n".join(f"{pid}  {names.get(pid, '')[:60]}" for pid in pids[:8])
        about += f"\nand {len(pids) - 8} more" if len(pids) > 8 else ""
        signal = await self.app.push_screen_wait(Pick("Send signal", orders.SIGNALS, about=about))
        if signal is not None:
            self._carry_out(orders.signal_processes(pids, cast(orders.SignalName, signal)))

    def action_stop_continue(self) -> None:
        """Stop what runs; let go on what is stopped."""
        items = self._processes()
        if not items or not self._may_act():
            return
        all_stopped = all(item.row.state == "stopped" for item in items)
        pids = [item.row.pid for item in items]
        self._carry_out(orders.signal_processes(pids, "CONT" if all_stopped else "STOP"))

    def action_pin(self) -> None:
        """Pin the models, or let them go."""
        snapshot = self.model.shown
        names = self._models()
        if snapshot is None or not names or not self._may_act():
            return
        pinned = {model.name: model.pinned for model in snapshot.models}
        self._carry_out(orders.pin([(name, pinned.get(name, False)) for name in names]))

    def action_unload(self) -> None:
        """Free the models' memory."""
        names = self._models()
        if names and self._may_act():
            self._carry_out(orders.unload(names))

    # Behind them

    @property
    def _host(self) -> Host:
        return cast(Host, self.app)

    def _may_act(self) -> bool:
        if self._host.is_readonly:
            self.notify("read-only: started with --readonly", severity="warning")
        return not self._host.is_readonly

    def _targets(self) -> list[Placed]:
        keys: tuple[Hashable, ...] = self.model.state.targets()
        return [row for row in self.grid.rows if row.key in keys]

    def _processes(self) -> list[ProcessItem]:
        if self.model.open_name != "processes":
            pids = self._pids()
            if self.model.shown is None:
                return []
            from lingos_shell.tui.scheduler.processes import process_items

            return [item for item in process_items(self.model.shown) if item.row.pid in pids]
        return [row.item for row in self._targets()]

    def _pids(self) -> list[int]:
        """Processes that the chosen rows stand for; says so when they stand for none."""
        match self.model.open_name:
            case "processes":
                pids = [row.item.row.pid for row in self._targets()]
            case "locks":
                pids = [pid for row in self._targets() for pid in row.item.holders]
            case "models":
                pids = []
            case _:
                pids = [row.item.pid for row in self._targets() if row.item.pid]
        if not pids:
            self.notify("no process is selected", severity="warning")
        return list(dict.fromkeys(pids))

    def _models(self) -> list[str]:
        """Models that the chosen rows stand for; says so when they stand for none."""
        match self.model.open_name:
            case "models":
                names = [row.item.name for row in self._targets()]
            case "processes":
                names = [row.item.row.model for row in self._targets() if row.item.row.model]
            case _:
                names = []
        if not names:
            self.notify("no model is selected", severity="warning")
        return list(dict.fromkeys(names))

    @work(group="order")
    async def _carry_out(self, order: orders.Order) -> None:
        """Make the calls, one after another; tell how it went."""
        from lingos_shell.tui.dialogs import Confirm

        if order.question and not await self.app.push_screen_wait(Confirm(order.question)):
            return
        client = await self._host.kernel_client()
        for name, arguments in order.calls:
            try:
                await client.call(name, **arguments)
            except LingOSError as error:
                told = f"{error.message}\n{error.hint}" if error.hint else error.message
                self.notify(told, title=name, severity="error", markup=False)
                return
        self.notify(order.done, markup=False)
