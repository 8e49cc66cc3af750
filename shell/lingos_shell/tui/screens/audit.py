"""Audit and logs: who called what and how it ended, live; the chain, verified; the kernel's log."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.widget import Widget

from lingos_kernel.errors import KernelUnavailable, LingOSError, from_wire
from lingos_kernel.syscalls.events import Failure, Item
from lingos_shell.tui.lines import SpanLines
from lingos_shell.tui.screens.audit_columns import AUDIT, LOG, Entry, log_entry
from lingos_shell.tui.screens.base import RoomScreen
from lingos_shell.tui.screens.listing import Listing
from lingos_shell.tui.spans import Line, Role, Span, clean, fit_line, width_of

if TYPE_CHECKING:
    from lingos_kernel.syscalls.events import AnyEvent

KEPT = 5_000
"""Lines of each table; older ones are in the files."""
FIRST = 500
DRAW_S = 0.25
PICTURES = "sys.snapshot"
"""What interfaces call four times a second."""


class AuditScreen(RoomScreen):
    """Two tables that grow at their ends: calls and the log."""

    HELP_TITLE = "Audit and logs"
    AUTO_FOCUS = "#audit-grid"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f5,v", "verify", "verify", id="audit.verify",
                tooltip="Check that no record was changed, removed or put in"),
        Binding("f7,1", "table('audit')", "audit", show=False, id="audit.calls",
                tooltip="The audit log: who called what"),
        Binding("f8,2", "table('log')", "log", show=False, id="audit.log",
                tooltip="The kernel's log"),
        Binding("left,right", "other_table", "other table", id="audit.other",
                tooltip="From the audit log to the kernel's log, and back"),
        Binding("f9,h", "pictures", "snapshots", id="audit.pictures",
                tooltip=f"Show or hide the calls of {PICTURES}, of which there are many"),
        Binding("F", "follow", "", show=False, id="audit.follow",
                tooltip="Go on with what comes: the last line stays selected"),
        Binding("enter", "details", "", show=False, id="audit.details",
                tooltip="The whole record"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    AuditScreen #tabs { padding: 1 1 0 1; }
    AuditScreen #verdict { padding: 0 1; display: none; }
    AuditScreen #verdict.told { display: block; }
    """

    def body(self) -> Iterable[Widget]:
        """Tabs, what verifying found, the tables."""
        yield SpanLines(id="tabs")
        yield SpanLines(id="verdict")
        yield Listing(AUDIT, id="audit", follows=True)
        log = Listing(LOG, id="log", follows=True)
        log.display = False
        yield log

    def on_mount(self) -> None:
        """Begin to follow both."""
        self._open = "audit"
        self._shows_pictures = False
        self._count = 0
        self._kept: dict[str, deque[Entry]] = {n: deque(maxlen=KEPT) for n in ("audit", "log")}
        self._is_new = True
        self.set_interval(DRAW_S, self._draw_news)
        self._draw()
        self._follow_audit()
        self._follow_log()

    @property
    def listing(self) -> Listing:
        """The open table."""
        return self.query_one(f"#{self._open}", Listing)

    # Following

    @work(group="audit", exclusive=True)
    async def _follow_audit(self) -> None:
        left_out = [] if self._shows_pictures else [PICTURES]
        await self._follow("audit", "audit.tail", without=left_out)

    @work(group="log")
    async def _follow_log(self) -> None:
        await self._follow("log", "sys.log")

    async def _follow(self, table: str, syscall: str, **arguments: Any) -> None:
        """Take what comes; begin anew with a kernel that came back."""
        while True:
            client = await self.host.kernel_client()
            restarts = self.host.link.status.restarts
            self._kept[table].clear()
            events = client.stream(syscall, limit=FIRST, follow=True, **arguments)
            try:
                await self._take(table, events)
            except KernelUnavailable:
                await self.host.link.another(restarts)
            except LingOSError as error:
                self.tell(syscall, error)
                return
            else:
                return

    async def _take(self, table: str, events: AsyncGenerator[AnyEvent, None]) -> None:
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Failure):
                    raise from_wire(event.error)
                if isinstance(event, Item):
                    self._count += 1
                    data = event.data
                    entry = data if table == "audit" else log_entry(str(data["text"]))
                    self._kept[table].append(Entry(self._count, entry))
                    self._is_new = True

    # Drawing

    def _draw_news(self) -> None:
        if self._is_new and self.is_current:
            self._draw()

    def _draw(self) -> None:
        self._is_new = False
        self.listing.put(tuple(self._kept[self._open]))
        self.query_one("#tabs", SpanLines).show(lambda width: [self._tabs(width)])

    def _tabs(self, width: int) -> Line:
        spans: list[Span] = []
        for name, title in (("audit", " 1 Audit "), ("log", " 2 Kernel log ")):
            role: Role = "chip" if name == self._open else "label"
            spans += [(title, role), (" ", "text")]
        notes = []
        if self._open == "audit" and not self._shows_pictures:
            notes.append(f"without {PICTURES}")
        if self.listing.state.filter:
            notes.append(f"filter: {self.listing.state.filter}")
        notes.append("following" if self.listing.follows else "held (F follows)")
        right = "  ".join(notes)
        gap = max(width - width_of(tuple(spans)) - len(right), 1)
        return fit_line((*spans, (" " * gap, "text"), (right, "accent")), width)

    @on(Listing.Chosen)
    @on(Listing.Changed)
    def _selected(self) -> None:
        self.query_one("#tabs", SpanLines).show(lambda width: [self._tabs(width)])

    def action_table(self, name: str) -> None:
        """Open a table."""
        self._open = name
        for each in ("audit", "log"):
            self.query_one(f"#{each}", Listing).display = each == name
        self._draw()
        self.listing.grid.focus()

    def action_other_table(self) -> None:
        """Open the one that is not open."""
        self.action_table("log" if self._open == "audit" else "audit")

    def action_pictures(self) -> None:
        """Show or hide what interfaces call all the time."""
        self._shows_pictures = not self._shows_pictures
        self._follow_audit()
        self._draw()

    def action_follow(self) -> None:
        """Select the last line from now on."""
        self.listing.follows = True
        self._draw()

    @work(group="ask", exclusive=True)
    async def action_details(self) -> None:
        """All fields of the record."""
        from lingos_shell.tui.dialogs import Page
        from lingos_shell.tui.screens.models import fact_lines

        entry = self.listing.selected
        if entry is not None:
            await self.app.push_screen_wait(Page("Record", fact_lines(entry.data)))

    # Verifying

    @work(exclusive=True, group="verify")
    async def action_verify(self) -> None:
        """Check the chain, and say what was found."""
        self._say((("verifying …", "dim"),))
        found = await self.order("audit.verify")
        self._say(verdict(found) if found is not None else ())

    def _say(self, line: Line) -> None:
        told = self.query_one("#verdict", SpanLines)
        told.set_class(bool(line), "told")
        told.show(lambda width: [fit_line(line, width)])


def verdict(found: Mapping[str, Any]) -> Line:
    """What verifying found, in one line."""
    head = f"  head {str(found['head'])[:16]}…"
    lost = f"  {found['lost_records']} records were lost" if found["lost_records"] else ""
    if not found["intact"]:
        where = f"{found['bad_file']} line {found['bad_line']}"
        return ((" BROKEN ", "alarm"), (f" {where}: {clean(str(found['reason']))}", "bad"))
    begin = "" if found["is_complete"] else "  (older files are gone)"
    return (
        ("intact ", "good"), (f"{found['records']} records", "text"), (head, "dim"),
        (begin, "label"), (lost, "warn"),
    )  # fmt: skip
