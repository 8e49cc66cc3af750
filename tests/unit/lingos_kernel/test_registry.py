"""Registries: the first keeps a name, both owners are told."""

from __future__ import annotations

import pytest

from lingos_kernel.errors import NameCollision, PluginError
from lingos_kernel.registry import Registry


class Command:
    """Something with a name of its own."""

    name = "hello"


def test_names_and_owners() -> None:
    """A given name wins over the item's own, over a function's."""
    registry = Registry("command")
    command = Command()
    assert registry.add(command, owner="one") == "hello"
    assert registry.add(command, owner="one", name="hi") == "hi"
    assert registry.add(test_names_and_owners, owner="two") == "test_names_and_owners"
    with pytest.raises(PluginError, match="has no name"):
        registry.add(object(), owner="two")
    assert registry.items["hello"] is command
    assert registry.owner_of("hi") == "one"
    assert registry.remove_owner("one") == ["hello", "hi"]
    assert list(registry.items) == ["test_names_and_owners"]


def test_collision() -> None:
    """The second owner of a name is refused, and both are named."""
    registry = Registry("policy")
    registry.add(1, owner="one", name="fair")
    with pytest.raises(NameCollision, match="the policy fair of two is refused: one has it"):
        registry.add(2, owner="two", name="fair")
    assert registry.items == {"fair": 1}
