"""The policies that come with LingOS, and how to get one by name."""

from __future__ import annotations

import math
import pkgutil
from collections.abc import Callable, Mapping

from lingos_kernel.errors import ConfigError
from lingos_kernel.scheduling.accounts import AttainedService, Fair
from lingos_kernel.scheduling.policies import Deadline, Fifo, Priority, RoundRobin
from lingos_kernel.scheduling.policy import Policy

POLICIES: dict[str, Callable[[], Policy]] = {
    AttainedService.name: AttainedService,
    Deadline.name: Deadline,
    Fair.name: Fair,
    Fifo.name: Fifo,
    Priority.name: Priority,
    RoundRobin.name: RoundRobin,
}
"""The policies that come with LingOS, by name."""


def make_policy(name: str, tenant_weights: Mapping[str, float] | None = None) -> Policy:
    """A fresh policy of a name, or the one of a plugin as MODULE:CLASS.

    The name comes from who may have any code run; a caller's goes through `policy_reference`.
    Raises `ConfigError` on an unknown one, and on weights that are not numbers above zero.
    """
    policy = _find(name)()
    weights = tenant_weights or {}
    for tenant, weight in weights.items():
        if not 0 < weight < math.inf:
            raise ConfigError(
                f"the tenant {tenant!r} has the weight {weight}", hint="weights are above zero"
            )
    policy.weigh_tenants(weights)
    return policy


def _find(name: str) -> Callable[[], Policy]:
    if name in POLICIES:
        return POLICIES[name]
    hint = f"a scheduling policy is one of: {', '.join(sorted(POLICIES))}, or of a plugin"
    if ":" not in name:
        raise ConfigError(f"no scheduling policy is called {name!r}", hint=hint)
    try:
        found: Callable[[], Policy] = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"the scheduling policy {name!r} cannot be imported: {error}", hint=hint
        ) from error
    return found
