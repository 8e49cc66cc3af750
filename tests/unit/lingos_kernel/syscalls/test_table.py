"""The table: names, owners, collisions, and who may see what."""

from __future__ import annotations

from typing import Any

import pytest

from lingos_kernel import Principal, syscall
from lingos_kernel.errors import NameCollision, PluginError, UnknownSyscall
from lingos_kernel.syscalls.table import SyscallTable


def function(name: str | None = None, **options: Any) -> Any:
    """A new syscall of a name."""

    @syscall(name, **options)
    def go() -> None:
        """Go."""

    return go


def test_names() -> None:
    """A declared name stays; one without a room gets its owner's; odd ones are refused."""
    table = SyscallTable()
    assert table.register(function("room.verb"), "p").name == "room.verb"
    assert table.register(function(), "p").name == "p.go"
    assert table.register(function("verb"), "p").name == "p.verb"
    assert table.register(function(), "p", name="other.name").capability == "other.name"
    for bad in ("Room.verb", "room.", ".verb", "room verb", "room.ve-rb", "1.2"):
        with pytest.raises(PluginError, match="is not a syscall name"):
            table.register(function(bad), "p")
    with pytest.raises(PluginError, match="is not a syscall"):
        table.register(print, "p")
    assert len(table) == 4
    assert "room.verb" in table


def test_collision() -> None:
    """The first keeps the name; the error names both owners; the table is as before."""
    table = SyscallTable()
    table.register(function("a.b"), "first")
    with pytest.raises(NameCollision, match=r"a\.b of second is refused: first has it"):
        table.register(function("a.b"), "second")
    assert table.get("a.b").info.owner == "first"


def test_unknown() -> None:
    """A wrong name brings the near ones, also when only the room is missing."""
    table = SyscallTable()
    table.register(function("text.summarize"), "text")
    for wrong in ("text.sumarize", "summarize", "TEXT.summarize"):
        with pytest.raises(UnknownSyscall, match=r"did you mean text\.summarize"):
            table.get(wrong)
    with pytest.raises(UnknownSyscall, match="lingos syscalls"):
        table.get("zzz")


def test_infos_and_unregister() -> None:
    """A principal sees what it may call; an owner's syscalls go together."""
    table = SyscallTable()
    table.register(function("b.b"), "one")
    table.register(function("a.a", capability="*"), "one")
    assert table.add(function("c.c"), owner="two") == "c.c"
    assert [info.name for info in table.infos()] == ["a.a", "b.b", "c.c"]
    guest = Principal("g", capabilities=frozenset({"c.*"}))
    assert [info.name for info in table.infos(guest)] == ["a.a", "c.c"]
    assert sorted(table.remove_owner("one")) == ["a.a", "b.b"]
    assert [info.name for info in table.infos()] == ["c.c"]
