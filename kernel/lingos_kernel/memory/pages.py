"""The pages of a KV cache: who holds how many of them. Knows numbers only, no tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

PAGE_SLOTS = 16
"""KV slots (tokens) in one page."""


def pages_for(tokens: int, page_slots: int = PAGE_SLOTS) -> int:
    """The pages that hold this many tokens."""
    return -(-tokens // page_slots)


class PagePool:
    """A fixed number of pages with a reference count each; a page is free at count zero.

    Invariant: `free_pages` + pages with a count > 0 = `total_pages`.
    """

    def __init__(self, total_pages: int) -> None:
        self._references = [0] * total_pages
        # Taken from the end: low page numbers first, and the pages freed last again first.
        self._free = list(range(total_pages - 1, -1, -1))

    @property
    def total_pages(self) -> int:
        """All pages, free or held."""
        return len(self._references)

    @property
    def free_pages(self) -> int:
        """Pages that nobody holds."""
        return len(self._free)

    def references(self, page: int) -> int:
        """How many holders the page has."""
        return self._references[page]

    def can_allocate(self, count: int) -> bool:
        """Whether `allocate(count)` would succeed."""
        return count <= len(self._free)

    def allocate(self, count: int) -> list[int]:
        """Take pages out of the free ones, one reference each; check `can_allocate` first."""
        assert self.can_allocate(count), f"{count} pages wanted, {len(self._free)} free"
        pages = [self._free.pop() for _ in range(count)]
        for page in pages:
            self._references[page] = 1
        return pages

    def share(self, pages: Iterable[int]) -> None:
        """Add one reference to each page."""
        for page in pages:
            assert self._references[page] > 0, f"page {page} is free and cannot be shared"
            self._references[page] += 1

    def free(self, pages: Iterable[int]) -> None:
        """Drop one reference of each page; pages without any are free again."""
        for page in pages:
            assert self._references[page] > 0, f"page {page} is free already"
            self._references[page] -= 1
            if not self._references[page]:
                self._free.append(page)

    def check_integrity(self, holders: Iterable[Sequence[int]]) -> None:
        """Assert that the counts are exactly the holders' and that no page is lost or doubled."""
        held = Counter(page for pages in holders for page in pages)
        for page, count in enumerate(self._references):
            assert count == held[page], f"page {page}: count {count}, holders {held[page]}"
        free = set(self._free)
        assert len(free) == len(self._free), "a page is free twice"
        assert free == {page for page, count in enumerate(self._references) if not count}
