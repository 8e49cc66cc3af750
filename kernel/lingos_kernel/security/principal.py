"""Who calls, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Literal

CallerKind = Literal["human", "code", "notebook", "http", "model", "plugin", "kernel"]


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller: a name, a tenant and the capabilities granted to it.

    A capability is a dotted name (`llm.chat`); a grant may be a pattern (`llm.*`, `*`).
    """

    name: str
    tenant: str = ""
    capabilities: frozenset[str] = field(default_factory=frozenset)
    kind: CallerKind = "code"
    within: tuple[frozenset[str], ...] = ()
    """Sets of grants that each must cover a capability too: restrictions put on the way."""
    prefix_share: str = ""
    """Tenants that agreed on a name here use each other's cached prompt beginnings; empty: the
    tenant's stay its own."""

    def may(self, capability: str) -> bool:
        """Whether the grants cover the capability; `*` as capability is open to all."""
        return capability == "*" or all(
            _covers(grants, capability) for grants in (self.capabilities, *self.within)
        )

    def restricted_to(self, grants: frozenset[str]) -> Principal:
        """The same caller, who may only what `grants` cover too (never more than before)."""
        return replace(self, within=(*self.within, grants))


def _covers(grants: frozenset[str], capability: str) -> bool:
    return any(fnmatchcase(capability, grant) for grant in grants)


def owner(name: str) -> Principal:
    """The machine's own user, who owns the kernel and may do everything."""
    return Principal(name, tenant=name, capabilities=frozenset({"*"}))
