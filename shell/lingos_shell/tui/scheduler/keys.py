"""The keys of the scheduler pane: one list that bindings, footer, help and docs are made of."""

from __future__ import annotations

from dataclasses import dataclass

from textual.binding import Binding


@dataclass(frozen=True, slots=True)
class PaneKey:
    """One action of the pane and its keys."""

    action: str
    """`SchedulerPane.action_...`"""
    function_key: str
    """Works wherever the keyboard is, even while a message is typed; may be empty."""
    letters: str
    """Work while the pane has the keyboard; comma between them."""
    label: str
    """In the footer."""
    about: str
    is_act: bool = False
    """Changes something in the kernel: off with --readonly."""

    @property
    def id(self) -> str:
        """The name under which `[shell.keys]` gives it other keys."""
        return f"scheduler.{self.action}"

    def binding(self, *, typing: bool) -> Binding | None:
        """The binding for the pane, or (typing) for a screen where letters are text."""
        keys = [self.function_key] if typing else [self.function_key, *self.letters.split(",")]
        wanted = ",".join(key for key in keys if key)
        if not wanted:
            return None
        action = f"pane('{self.action}')" if typing else self.action
        return Binding(
            wanted, action, self.label, show=bool(self.function_key and self.label),
            tooltip=self.about, id=self.id, priority=typing,
        )  # fmt: skip


PANE_KEYS: tuple[PaneKey, ...] = (
    PaneKey("search", "f3", "slash", "search", "Find a row; again: the next one"),
    PaneKey("filter", "f4", "backslash", "filter", "Show only rows that hold a text"),
    PaneKey("tree", "f5", "t", "tree", "Show processes below their parents, or flat"),
    PaneKey("sort", "f6", "greater_than_sign,less_than_sign", "sort", "Choose the order"),
    PaneKey("renice_up", "f7", "left_square_bracket", "nice -", "More urgent: priority less one",
            is_act=True),
    PaneKey("renice_down", "f8", "right_square_bracket", "nice +", "Less urgent: priority plus one",
            is_act=True),
    PaneKey("kill", "f9", "k", "kill", "Send a signal, chosen from a list", is_act=True),
    PaneKey("stop_continue", "", "S", "", "Stop at the next token, or let it go on", is_act=True),
    PaneKey("trace", "", "s", "", "Watch the syscalls of a process live"),
    PaneKey("details", "", "enter", "", "Everything known about the row"),
    PaneKey("tag", "", "space", "", "Tag the row: actions act on all tagged rows"),
    PaneKey("tag_branch", "", "c", "", "Tag the process and all below it"),
    PaneKey("untag", "", "U", "", "Take all tags away"),
    PaneKey("follow", "", "F", "", "Keep the selected row in sight, wherever it goes"),
    PaneKey("freeze", "", "Z", "", "Hold the picture; the kernel goes on"),
    PaneKey("invert", "", "I", "", "Turn the order round"),
    PaneKey("sort_pid", "", "N", "", "Order by pid"),
    PaneKey("sort_rate", "", "P", "", "Order by tokens per second"),
    PaneKey("sort_memory", "", "M", "", "Order by memory"),
    PaneKey("sort_time", "", "T", "", "Order by age"),
    PaneKey("pin", "", "p", "", "Pin the model in memory, or let it go", is_act=True),
    PaneKey("unload", "", "u", "", "Free the model's memory (asks first)", is_act=True),
    PaneKey("next_section", "", "right", "", "Open the next table"),
    PaneKey("previous_section", "", "left", "", "Open the table before"),
    PaneKey("section(0)", "", "1", "", "Processes"),
    PaneKey("section(1)", "", "2", "", "Queue"),
    PaneKey("section(2)", "", "3", "", "Threads"),
    PaneKey("section(3)", "", "4", "", "Locks"),
    PaneKey("section(4)", "", "5", "", "Models"),
)  # fmt: skip


def pane_bindings(*, typing: bool) -> list[Binding]:
    """The bindings of the pane itself, or of a screen with the pane beside an input."""
    made = (key.binding(typing=typing) for key in PANE_KEYS)
    return [binding for binding in made if binding is not None]
