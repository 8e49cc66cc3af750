"""Names of tenants' queues: one name means another queue for each of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.processes.job_desk import QUEUE
from lingos_kernel.queue.names import QueueName, as_seen_by, plain

TENANTS = st.text(max_size=8) | st.sampled_from(["", "*", "a/b", "a", "syscall:", "%2F"])
QUEUES = st.one_of(
    st.text(min_size=1, max_size=8), st.sampled_from(["b/q", "q", "*/q", "syscall:"])
)


@given(TENANTS, QUEUES, TENANTS, QUEUES, st.booleans(), st.booleans())
def test_no_two_queues_have_one_name(
    tenant: str, queue: str, other: str, another: str, is_shared: bool, is_other_shared: bool
) -> None:
    """Whatever tenants and queues are called; and none is the kernel's own."""
    one = QueueName(queue, tenant, is_shared)
    two = QueueName(another, other, is_other_shared)
    is_same = queue == another and is_shared == is_other_shared and (is_shared or tenant == other)
    assert (one.in_broker == two.in_broker) == is_same
    assert not one.in_broker.startswith(QUEUE)


@given(TENANTS, QUEUES, TENANTS)
def test_a_tenant_sees_its_own_queues_and_shared_ones(tenant: str, queue: str, other: str) -> None:
    """By the name that it gave; nobody sees the kernel's among them."""
    own = QueueName(queue, tenant).in_broker
    assert plain(own) == queue
    assert as_seen_by(tenant, own) == queue
    assert as_seen_by(other, own) == (queue if other == tenant else None)
    shared = QueueName(queue, tenant, is_shared=True).in_broker
    assert plain(shared) == queue
    assert as_seen_by(other, shared) == f"*/{queue}"
    assert as_seen_by(tenant, QUEUE + queue) is None
