"""Getting a policy by its name."""

from __future__ import annotations

from typing import Any

import pytest

from lingos_kernel.errors import ConfigError
from lingos_kernel.scheduling.accounts import Fair
from lingos_kernel.scheduling.catalogue import POLICIES, make_policy
from lingos_kernel.scheduling.policies import Fifo


def test_each_policy_has_its_name() -> None:
    """What is asked for by name says that name of itself."""
    assert {name: make_policy(name).name for name in POLICIES} == {name: name for name in POLICIES}
    assert sorted(POLICIES) == [
        *("attained-service", "deadline", "fair", "fifo", "priority", "round-robin"),
    ]


def test_a_policy_is_fresh_each_time() -> None:
    """Two models share no books."""
    assert make_policy("fair") is not make_policy("fair")


def test_a_plugin_s_policy_comes_by_module_and_class() -> None:
    """The engine's process imports what the kernel names."""
    assert isinstance(make_policy(f"{Fifo.__module__}:{Fifo.__name__}"), Fifo)


@pytest.mark.parametrize("name", ["lottery", "no.such.module:Policy", "json:Policy", ":"])
def test_unknown_ones_are_refused_with_the_choices(name: str) -> None:
    """The hint lists the known ones."""
    with pytest.raises(ConfigError) as refused:
        make_policy(name)
    assert "fifo, priority" in refused.value.hint


def test_tenant_weights_reach_the_policy(item: Any) -> None:
    """A tenant of weight 3 is charged a third."""
    policy = make_policy("fair", {"a": 3.0})
    assert isinstance(policy, Fair)
    work = item("w", tenant="a")
    policy.on_joined(work)
    policy.on_served(work, 30)
    assert policy.rank(work)[1] == 10


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_are_above_zero(weight: float) -> None:
    """Nobody is due nothing, or less."""
    with pytest.raises(ConfigError, match="weight"):
        make_policy("fair", {"a": weight})
