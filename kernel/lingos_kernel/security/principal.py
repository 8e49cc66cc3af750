"""Who calls, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass, field
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

    def may(self, capability: str) -> bool:
        """Whether a grant covers the capability; `*` as capability is open to all."""
        return capability == "*" or any(
            fnmatchcase(capability, grant) for grant in self.capabilities
        )

    def restricted_to(self, grants: frozenset[str]) -> Principal:
        """The same caller with only those of `grants` that it already has (never more)."""
        kept = {g for g in grants if self.may(g)}
        kept |= {own for own in self.capabilities if any(fnmatchcase(own, g) for g in grants)}
        return Principal(self.name, self.tenant, frozenset(kept), self.kind)


def owner(name: str) -> Principal:
    """The machine's own user, who owns the kernel and may do everything."""
    return Principal(name, tenant=name, capabilities=frozenset({"*"}))
