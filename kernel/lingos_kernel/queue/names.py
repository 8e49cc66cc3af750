"""What brokers call the queues of tenants, so that one name means another queue for each of them.

    tenant/queue      a tenant's own
    */queue           one that all tenants share, since they asked for that
    syscall:queue     the kernel's own jobs, of all tenants

Pure. A tenant's part is quoted: no tenant's name can be mistaken for another, nor for these two.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

EVERYBODY = "*"


@dataclass(frozen=True, slots=True)
class QueueName:
    """A queue as its users name it, and whose it is."""

    queue: str
    tenant: str = ""
    is_shared: bool = False
    """All tenants who ask for the shared queue of this name mean this one."""

    @property
    def in_broker(self) -> str:
        """The name that no other queue has."""
        return f"{audience(self.tenant, is_shared=self.is_shared)}/{self.queue}"


def audience(tenant: str, *, is_shared: bool = False) -> str:
    """Who means the same by a name: one tenant, or all."""
    return EVERYBODY if is_shared else quoted(tenant)


def quoted(tenant: str) -> str:
    """A tenant's name without any of the marks that part it from what follows."""
    return quote(tenant, safe="")


def as_seen_by(tenant: str, in_broker: str) -> str | None:
    """How a tenant lists a queue of a broker; None when it is none of theirs."""
    whose, slash, queue = in_broker.partition("/")
    if not slash or whose not in (EVERYBODY, quoted(tenant)):
        return None
    return in_broker if whose == EVERYBODY else queue


def plain(in_broker: str) -> str:
    """The queue as its users name it."""
    return in_broker.partition("/")[2]
