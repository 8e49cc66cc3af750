"""Principals: what grants cover, and that nothing ever widens them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lingos_kernel.security.principal import Principal, owner

GRANTS = st.frozensets(
    st.sampled_from(["*", "llm.*", "llm.chat", "proc.*", "proc.admin", "model.pull", "?lm.chat"])
)
CAPABILITIES = st.sampled_from(["llm.chat", "llm.embed", "proc.admin", "model.pull", "x.y"])


def test_grants() -> None:
    """A grant covers its own name or what its pattern matches; `*` as a need is open to all."""
    guest = Principal("g", capabilities=frozenset({"llm.*", "proc.list"}))
    assert guest.may("llm.chat")
    assert guest.may("proc.list")
    assert guest.may("*")
    assert not guest.may("proc.kill")
    assert not guest.may("LLM.chat")
    assert owner("me").may("anything.at.all")


@settings(deadline=None)
@given(own=GRANTS, grants=GRANTS, capability=CAPABILITIES)
def test_restriction_is_the_intersection(
    own: frozenset[str], grants: frozenset[str], capability: str
) -> None:
    """A restricted principal may only what the principal and the grants both allow."""
    before = Principal("p", capabilities=own)
    after = before.restricted_to(grants)
    both = before.may(capability) and Principal("q", capabilities=grants).may(capability)
    assert after.may(capability) == both
    assert after.restricted_to(own).may(capability) == both
