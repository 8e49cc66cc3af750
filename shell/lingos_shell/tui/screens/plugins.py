"""Plugins: what each provides and costs; turn them on and off, watch what they do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widget import Widget

from lingos_kernel.errors import LingOSError
from lingos_shell.tui.lines import SpanLines
from lingos_shell.tui.scheduler.columns import Column, Section
from lingos_shell.tui.screens.base import RoomScreen
from lingos_shell.tui.screens.listing import Listing
from lingos_shell.tui.spans import Line, Role, clean, fit_line
from lingos_shell.tui.units import seconds, short_count

Plugin = Mapping[str, Any]
"""A row of `plugin.list`."""
LOOK_S = 2.0
_ROLES: dict[str, Role] = {
    "loaded": "good", "failed": "bad", "timed_out": "bad", "available": "text", "disabled": "dim",
}  # fmt: skip


def _count(plugin: Plugin, kind: str) -> int:
    return len(plugin["provides"].get(kind, ()))


def _others(plugin: Plugin) -> str:
    kinds = (k for k in plugin["provides"] if k != "syscalls" and _count(plugin, k))
    return ", ".join(kinds) or "-"


PLUGINS: Section[Plugin] = Section(
    name="plugins",
    title="Plugins",
    columns=(
        Column("STATE", "loaded, available, disabled, failed or timed out", 9,
               lambda p: str(p["state"]).replace("_", " "), lambda p: p["state"], keep=90,
               role=lambda p: _ROLES.get(p["state"], "text")),
        Column("NEXT", "whether the next start loads it", 4,
               lambda p: "on" if p["enabled"] else "off", lambda p: p["enabled"], keep=50,
               role=lambda p: "text" if p["enabled"] else "warn"),
        Column("SYSC", "syscalls that it provides", 4, lambda p: str(_count(p, "syscalls") or "-"),
               lambda p: _count(p, "syscalls"), right=True, keep=70, is_descending=True),
        Column("CALLS", "calls of its hooks", 5, lambda p: short_count(p["hook_calls"]),
               lambda p: p["hook_calls"], right=True, keep=60, is_descending=True),
        Column("SPENT", "time spent in its hooks", 6, lambda p: seconds(p["hook_s"]),
               lambda p: p["hook_s"], right=True, keep=80, is_descending=True),
        Column("IMPORT", "time that its import took", 6, lambda p: seconds(p["import_s"]),
               lambda p: p["import_s"], right=True, keep=40, is_descending=True,
               role=lambda p: "warn" if p["slow"] else "text"),
        Column("ERRORS", "failures of its hooks", 6,
               lambda p: str(p["hook_errors"] or ("1" if p["error"] else "-")),
               lambda p: p["hook_errors"], right=True, keep=75, is_descending=True,
               role=lambda p: "bad" if p["error"] else "dim"),
        Column("PLUGIN", "name", 0, lambda p: str(p["name"]), lambda p: p["name"], keep=100,
               role=lambda p: "strong" if p["state"] == "loaded" else "text"),
        Column("VERSION", "version", 8, lambda p: p["version"] or "-", lambda p: p["version"],
               keep=30, role=lambda _: "dim"),
        Column("FROM", "the package that it came with", 16, lambda p: p["distribution"],
               lambda p: p["distribution"], keep=35, role=lambda _: "dim"),
        Column("ALSO", "what else it provides", 18, _others, _others, keep=20,
               role=lambda _: "dim"),
    ),
    items=lambda _: (),
    key=lambda p: (p["name"], p["distribution"]),
    words=lambda p: f"{p['name']} {p['state']} {p['distribution']} {p['error']}",
    sort="FROM",
    empty="waiting for the kernel …",
)  # fmt: skip


class PluginsScreen(RoomScreen):
    """The table of plugins; below it all about the selected one."""

    HELP_TITLE = "Plugins"
    AUTO_FOCUS = "#plugins-grid"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f5,e", "enable", "enable", id="plugins.enable",
                tooltip="Load the plugin, now and at each start"),
        Binding("f8,d", "disable", "disable", id="plugins.disable",
                tooltip="Turn the plugin off, now and at each start (asks first)"),
        Binding("f7,t", "trace", "trace", id="plugins.trace",
                tooltip="Watch its hooks and syscalls live"),
        Binding("r", "look", "", show=False, id="plugins.look", tooltip="Look again now"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    PluginsScreen Listing { margin-top: 1; }
    PluginsScreen #about {
        height: 40%; border-top: solid $border-blurred; padding: 0 2; scrollbar-size-vertical: 1;
    }
    """

    def body(self) -> Iterable[Widget]:
        """The plugins, and one of them in full."""
        yield Listing(PLUGINS, id="plugins")
        with VerticalScroll(id="about", can_focus=False):
            yield SpanLines(id="facts")

    def on_mount(self) -> None:
        """Look, and go on looking while the screen is open."""
        self._plugins: list[Plugin] = []
        self.query_one(Listing).put(())
        self.set_interval(LOOK_S, self._look_while_open)
        self.action_look()

    def on_screen_resume(self) -> None:
        """Open again: what is shown is old."""
        self.action_look()

    def _look_while_open(self) -> None:
        if self.is_current:
            self.action_look()

    @work(exclusive=True, group="look")
    async def action_look(self) -> None:
        """Ask the kernel."""
        client = await self.host.kernel_client()
        try:
            self._plugins = await client.call("plugin.list")
        except LingOSError as error:
            said = error.message
            self.query_one("#facts", SpanLines).show(lambda _: [((said, "bad"),)])
            return
        self.query_one(Listing).put(self._plugins)
        self._draw_facts()

    @on(Listing.Chosen)
    def _draw_facts(self) -> None:
        plugin = self.query_one(Listing).selected
        self.query_one("#facts", SpanLines).show(
            lambda width: [] if plugin is None else about_lines(plugin, width)
        )

    @work(group="order")
    async def action_enable(self) -> None:
        """Load it, now and later."""
        await self._turn("plugin.enable")

    @work(group="order")
    async def action_disable(self) -> None:
        """Turn it off, now and later."""
        await self._turn("plugin.disable", "Turn {} off? Its syscalls are gone at once.")

    async def _turn(self, syscall: str, question: str = "") -> None:
        plugin = self.query_one(Listing).selected
        if plugin is None or not self.may_act():
            return
        name = str(plugin["name"])
        if question and not await self.confirm(question.format(name)):
            return
        done = await self.order(syscall, name=name)
        if done is not None:
            is_failed = done["state"] not in ("loaded", "disabled", "available")
            self.notify(
                turned_text(done), severity="error" if is_failed else "information", markup=False
            )
            self.action_look()

    @work(group="ask", exclusive=True)
    async def action_trace(self) -> None:
        """Watch what it does."""
        from lingos_shell.tui.screens.following import FollowPanel, plugin_line_text

        plugin = self.query_one(Listing).selected
        if plugin is not None:
            client = await self.host.kernel_client()
            name = str(plugin["name"])
            events = client.stream("plugin.trace", name=name)
            title = f"Trace of the plugin {name}"
            await self.app.push_screen_wait(FollowPanel(title, events, plugin_line_text))


def turned_text(done: Mapping[str, Any]) -> str:
    """How turning a plugin on or off went, and what is left to do."""
    said = [f"{done['name']}: {str(done['state']).replace('_', ' ')}"]
    if done["error"]:
        said.append(str(done["error"]))
    if waits := done["after_restart"]:
        said.append(f"{' and '.join(waits)} change when the kernel is restarted")
    if fronts := done["in_front_ends"]:
        said.append(f"{' and '.join(fronts)} change when `lingos` is started again")
    return "\n".join(said)


def about_lines(plugin: Plugin, width: int) -> list[Line]:
    """Everything about one plugin: errors first, then what it provides, then what it costs."""
    lines: list[Line] = [
        ((f"{plugin['name']} {plugin['version']}", "strong"),
         (f"  {plugin['module']}", "dim")),
    ]  # fmt: skip
    if plugin["error"]:
        lines += [((text, "bad"),) for text in _wrapped(str(plugin["error"]), width)]
    for kind, names in plugin["provides"].items():
        if names:
            wrapped = _wrapped(", ".join(names), width - 12)
            lines.append(((f"{kind:<12}", "label"), (wrapped[0], "text")))
            lines += [((" " * 12, "text"), (text, "text")) for text in wrapped[1:]]
    for hook in plugin["hooks"]:
        each_s = hook["seconds"] / hook["calls"] if hook["calls"] else 0.0
        failed = f"  {hook['errors']} failed" if hook["errors"] else ""
        lines.append(
            (
                (f"{hook['hook'].removeprefix('lingos_'):<22}", "label"),
                (f"{short_count(hook['calls']):>6} calls  {seconds(hook['seconds']):>6}", "text"),
                (f"  {each_s * 1e6:,.0f} µs each".replace(",", " "), "dim"),
                (failed, "bad"),
            )
        )
    return [fit_line(line, width) for line in lines]


def _wrapped(text: str, width: int) -> list[str]:
    from textwrap import wrap

    return wrap(clean(text), max(width, 20)) or [""]
