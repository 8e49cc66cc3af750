"""KV pages in numbers: who holds how many, and which prefixes are still there."""

from __future__ import annotations

from collections import OrderedDict

from lingos_kernel.memory.pages import PAGE_SLOTS, pages_for
from lingos_kernel.simulation.request import SimSequence


class PageBook:
    """Pages held, and pages cached after their sequence left; the cached longest ago go first.

    What a sequence computed stays cached under its own key, where it finds it when it was
    preempted, and where the request that follows it does.
    """

    def __init__(self, total_pages: int) -> None:
        self.total_pages = total_pages
        self.held_pages = 0
        self.cached_pages = 0
        self._cached: OrderedDict[str, int] = OrderedDict()

    @property
    def available_pages(self) -> int:
        """Free ones and cached ones."""
        return self.total_pages - self.held_pages

    def open(self, sequence: SimSequence) -> None:
        """Give it the pages of all its known tokens; the cached ones are computed already."""
        request = sequence.request
        found = self._take(sequence.key, sequence.length - 1)
        if not found and request.follows:
            found = self._take(request.follows, min(request.shared_tokens, sequence.length - 1))
        sequence.computed = found
        sequence.held_pages = sequence.needed_pages
        self._hold(sequence.held_pages)

    def grow(self, sequence: SimSequence) -> None:
        """Give it the page of its next token, if it lacks one."""
        wanted = sequence.wanted_pages
        sequence.held_pages += wanted
        self._hold(wanted)

    def close(self, sequence: SimSequence) -> None:
        """Take its pages; the full ones of what it computed stay cached."""
        self.held_pages -= sequence.held_pages
        self._cached[sequence.key] = sequence.computed // PAGE_SLOTS
        self.cached_pages += self._cached[sequence.key]
        sequence.held_pages = sequence.computed = 0
        self._evict()

    def _take(self, key: str, most_tokens: int) -> int:
        """The tokens of a cached prefix, in whole pages, which leave the cache."""
        pages = self._cached.pop(key, 0)
        self.cached_pages -= pages
        return min(pages, most_tokens // PAGE_SLOTS) * PAGE_SLOTS

    def _hold(self, pages: int) -> None:
        self.held_pages += pages
        assert self.held_pages <= self.total_pages, "more pages are held than there are"
        self._evict()

    def _evict(self) -> None:
        while self.cached_pages > self.available_pages:
            _, pages = self._cached.popitem(last=False)
            self.cached_pages -= pages


def fits(sequence: SimSequence, total_pages: int) -> bool:
    """Whether it could run to its end with nobody beside it."""
    request = sequence.request
    return pages_for(request.prompt_tokens + request.output_tokens) <= total_pages
