"""Models: what is in the store and in memory; pull, load, pin, unload, remove."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.worker import Worker

from lingos_kernel.errors import LingOSError, from_wire
from lingos_kernel.syscalls.events import Failure, Progress
from lingos_shell.tui.lines import SpanLines
from lingos_shell.tui.scheduler.sections import MODELS
from lingos_shell.tui.screens.base import RoomScreen
from lingos_shell.tui.screens.listing import Listing
from lingos_shell.tui.screens.pulling import Pulling, pull_line
from lingos_shell.tui.spans import Line, clean
from lingos_shell.tui.units import short_bytes

NAME_FIRST = replace(
    MODELS, columns=(replace(MODELS.column("MODEL"), width=30), *MODELS.columns[:-1])
)
"""As the scheduler's table, which has less room."""


class ModelsScreen(RoomScreen):
    """The table of models, and the downloads below it."""

    HELP_TITLE = "Models"
    AUTO_FOCUS = "#models-grid"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f5,a", "pull", "pull", id="models.pull", tooltip="Fetch a model into the store"),
        Binding("f7,l", "load", "load", id="models.load",
                tooltip="Bring the model into memory"),
        Binding("f8,p", "pin", "pin", id="models.pin",
                tooltip="Keep the model in memory, or let it go"),
        Binding("f9,u", "unload", "unload", id="models.unload",
                tooltip="Free the model's memory (asks first)"),
        Binding("delete,d", "remove", "remove", id="models.remove",
                tooltip="Remove the model from the store (asks first)"),
        Binding("enter", "details", "details", show=False, id="models.details",
                tooltip="Everything known about the model"),
        Binding("escape", "cancel_pull", "cancel", show=False, id="models.cancel",
                tooltip="End the last download that was begun (what is there stays); else go back"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    ModelsScreen #sum { padding: 1 1 1 1; }
    ModelsScreen #pulls { padding: 0 1; }
    """

    def body(self) -> Iterable[Widget]:
        """What the models take, the models, and what is being fetched."""
        yield SpanLines(id="sum")
        yield Listing(NAME_FIRST, id="models")
        yield SpanLines(id="pulls")

    def on_mount(self) -> None:
        """Show what is known."""
        self._pulls: dict[Worker[None], Pulling] = {}
        self.redraw()

    def redraw(self) -> None:
        """Draw the models of the last snapshot."""
        if not self.query("#sum"):
            return
        snapshot = self.host.scheduler.latest
        models = () if snapshot is None else snapshot.models
        self.query_one(Listing).put(models)
        line: Line
        if snapshot is None:
            line = (("waiting for the kernel …", "dim"),)
        else:
            in_memory = [m for m in models if m.state not in ("stored", "waiting")]
            weights = sum(model.weight_bytes for model in in_memory)
            kv = sum(model.kv_bytes for model in in_memory)
            budget = sum(device.budget_bytes for device in snapshot.devices)
            line = (
                (f"{len(models)} models", "strong"), (f"   {len(in_memory)} in memory: ", "label"),
                (f"weights {short_bytes(weights)}", "weights"), ("   ", "text"),
                (f"KV {short_bytes(kv)}", "kv"), ("   of ", "label"),
                (short_bytes(budget), "text"),
            )  # fmt: skip
        self.query_one("#sum", SpanLines).show(lambda _: [line])

    @property
    def _picked(self) -> str:
        """The selected model; empty, and said so, when there is none."""
        model = self.query_one(Listing).selected
        if model is None:
            self.notify("no model is selected", severity="warning")
        return "" if model is None else str(model.name)

    # Fetching

    @work(group="ask", exclusive=True)
    async def action_pull(self) -> None:
        """Ask which model, and begin."""
        from lingos_kernel.models.catalogue import DEFAULTS
        from lingos_shell.tui.screens.ask import AskText

        if not self.may_act():
            return
        about = "A catalogue name, hf:ORG/NAME[@REV], a folder or a .gguf file."
        source = await self.app.push_screen_wait(AskText("Pull a model", about, sorted(DEFAULTS)))
        if source:
            self._pulls[self._pull(source)] = Pulling(source)
            self._draw_pulls()

    @work(group="pull")
    async def _pull(self, source: str) -> None:
        try:
            client = await self.host.kernel_client()
            async with aclosing(client.stream("model.pull", source=source)) as events:
                async for event in events:
                    if isinstance(event, Progress):
                        self._told(source, event)
                    elif isinstance(event, Failure):
                        raise from_wire(event.error)
            self.notify(f"{source} is in the store", markup=False)
        except LingOSError as error:
            self.tell(f"pull {source}", error)

    def _told(self, source: str, event: Progress) -> None:
        for pulling in self._pulls.values():
            if pulling.source == source:
                pulling.take(event)
        self._draw_pulls()

    @on(Worker.StateChanged)
    def _pull_ended(self, event: Worker.StateChanged) -> None:
        if event.worker.is_finished and event.worker in self._pulls:
            del self._pulls[event.worker]
            self._draw_pulls()

    def action_cancel_pull(self) -> None:
        """End the last download; when there is none, go back."""
        if not self._pulls:
            self.action_leave()
            return
        worker, pulling = list(self._pulls.items())[-1]
        worker.cancel()
        self.notify(f"{pulling.source}: cancelled; a later pull goes on from there", markup=False)

    def _draw_pulls(self) -> None:
        mono = self.app.no_color
        pulls = list(self._pulls.values())
        self.query_one("#pulls", SpanLines).show(
            lambda width: [pull_line(pulling, width, mono=mono) for pulling in pulls]
        )

    # Acting on the selected model

    def action_load(self) -> None:
        """Bring it into memory."""
        self._act("model.load", "loaded")

    def action_pin(self) -> None:
        """Pin it, or let it go."""
        model = self.query_one(Listing).selected
        is_pinned = model is not None and model.pinned
        self._act(
            "model.unpin" if is_pinned else "model.pin", "unpinned" if is_pinned else "pinned"
        )

    def action_unload(self) -> None:
        """Free its memory."""
        self._act("model.unload", "unloaded", "Free the memory of {}?")

    def action_remove(self) -> None:
        """Remove it from the store."""
        self._act("model.remove", "removed", "Remove {} from the store? It has to be pulled again.")

    @work(group="order")
    async def _act(self, syscall: str, done: str, question: str = "") -> None:
        name = self._picked
        if not name or not self.may_act():
            return
        if question and not await self.confirm(question.format(name)):
            return
        if await self.order(syscall, name=name) is not None:
            self.notify(f"{name}: {done}", markup=False)

    @on(Listing.Opened)
    def _open_row(self) -> None:
        self.action_details()

    @work(group="ask", exclusive=True)
    async def action_details(self) -> None:
        """Everything about it."""
        from lingos_shell.tui.dialogs import Page

        if name := self._picked:
            shown = await self.order("model.show", name=name)
            if shown is not None:
                await self.app.push_screen_wait(Page(name, fact_lines(shown)))


LABEL = 18


def fact_lines(facts: Mapping[str, Any], indent: str = "") -> list[Line]:
    """Facts, one a line; those in facts below their name."""
    lines: list[Line] = []
    for key, value in facts.items():
        name = f"{indent}{key.replace('_', ' ')}"
        if isinstance(value, Mapping) and value:
            lines += [((name, "accent"),), *fact_lines(value, indent + "  ")]
            continue
        is_size = key.endswith("bytes") or key.startswith("bytes_")
        told = short_bytes(value) if is_size and isinstance(value, int) else _told(value)
        lines.append(((f"{name:<{LABEL}} ", "label"), (clean(told), "text")))
    return lines


def _told(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value in (None, "", {}) else str(value)
