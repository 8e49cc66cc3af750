"""Which waiting work had better let others compute the beginning of its prompt first.

Pure. Requests that come together often begin alike (a system prompt, a few examples). Admitted in
one step, each would compute that beginning for itself; when all but the first wait until the first
has computed it, they find it in the prefix tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

MIN_SHARED_PAGES = 2
"""Who has less in common does not wait: that would cost a step and save hardly any time."""


class PromptWork(Protocol):
    """Work whose prompt may begin like another's."""

    @property
    def priority(self) -> int:
        """Lower is more urgent."""

    @property
    def namespace(self) -> str:
        """Pages are shared within a namespace only: a tenant's, as a rule."""

    @property
    def tokens(self) -> Sequence[int]:
        """All that it will have computed before its next output token."""

    @property
    def matchable(self) -> Sequence[int]:
        """Those that it could take from others, and one more."""


P = TypeVar("P", bound=PromptWork)


def should_follow(
    work: P, leaders: Iterable[P], *, page_slots: int, cached_pages: Callable[[P], int]
) -> bool:
    """Whether waiting work saves computing by letting one of `leaders` go ahead.

    `leaders` compute their prompts now, or will from this step on. A less urgent one leads
    nobody: it would be slower than its follower. `cached_pages` tells how many pages of the work's
    beginning are there already; it is asked only when there is a leader.
    """
    most = max((shared_pages(work, leader, page_slots) for leader in leaders), default=0)
    return most >= MIN_SHARED_PAGES and most > cached_pages(work)


def shared_pages(work: PromptWork, leader: PromptWork, page_slots: int) -> int:
    """Whole pages at the beginning that `leader` computes and `work` could take over."""
    if leader.namespace != work.namespace or leader.priority > work.priority:
        return 0
    mine, its = work.matchable, leader.tokens
    if mine[:page_slots] != its[:page_slots]:
        return 0
    # The last token of a prompt is always computed, since it gives the first output.
    return common_pages(mine, its, min(len(mine) - 1, len(its)) // page_slots, page_slots)


def common_pages(first: Sequence[int], second: Sequence[int], most: int, page_slots: int) -> int:
    """How many of the first `most` pages of tokens are equal, from the beginning on."""
    equal, differs = 0, most + 1
    while differs - equal > 1:
        middle = most if differs > most else (equal + differs) // 2
        here = slice(equal * page_slots, middle * page_slots)
        if first[here] == second[here]:
            equal = middle
        else:
            differs = middle
    return equal
