"""The ledger of KV pages: what each sequence holds, what is cached, what can be had.

Joins the page pool and the prefix tree. Every change to who holds which page goes through here,
which is why nothing can leak: open, grow, fork, commit, close.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lingos_kernel.memory.pages import PAGE_SLOTS, PagePool, pages_for
from lingos_kernel.memory.prefix_keys import PrefixKeys
from lingos_kernel.memory.radix import RadixNode, RadixTree, chunks_of
from lingos_kernel.memory.tiers import LowerTiers


class Holding:
    """The pages of one sequence, in order.

    Invariant: pages[:cached_pages] are those of the locked path to `node` in the prefix tree.
    """

    __slots__ = ("cached_pages", "is_tail_shared", "node", "pages", "priority")

    def __init__(self, node: RadixNode, pages: list[int], priority: int) -> None:
        self.node = node
        self.pages = pages
        self.cached_pages = len(pages)
        self.is_tail_shared = False
        """The partly filled last page may have other holders: copy it before writing."""
        self.priority = priority


@dataclass(frozen=True, slots=True)
class CachedRun:
    """Consecutive pages of the prefix tree, with their keys in the tiers."""

    keys: list[bytes]
    pages: list[int]
    priority: int


class PageLedger:
    """All pages of one model's KV cache and their holders."""

    def __init__(
        self,
        total_pages: int,
        *,
        page_slots: int = PAGE_SLOTS,
        keys: PrefixKeys | None = None,
        tiers: LowerTiers | None = None,
    ) -> None:
        """`tiers` take in what is evicted, under `keys`; without them it is lost."""
        self.page_slots = page_slots
        self.pool = PagePool(total_pages)
        self.tree = RadixTree(self.pool, page_slots=page_slots, on_evict=self._lower)
        self.tiers = tiers
        self._keys = keys or PrefixKeys("")

    @property
    def available_pages(self) -> int:
        """Pages that an allocation could get: free ones, and cached ones nobody uses."""
        return self.pool.free_pages + self.tree.evictable_pages

    @property
    def used_pages(self) -> int:
        """Pages held by sequences, shared ones once."""
        return self.pool.total_pages - self.available_pages

    def can_open(self, namespace: str, tokens: Sequence[int], needed_tokens: int) -> bool:
        """Whether a holding for `needed_tokens` tokens can be had, given what is cached."""
        return self.cost(namespace, tokens, needed_tokens) <= self.available_pages

    def cost(self, namespace: str, tokens: Sequence[int], needed_tokens: int) -> int:
        """What `open` takes out of `available_pages`."""
        matched, evictable = self.tree.peek(namespace, self._matchable(tokens))
        return pages_for(needed_tokens, self.page_slots) - matched + evictable

    def open(
        self, namespace: str, tokens: Sequence[int], needed_tokens: int, *, priority: int = 0
    ) -> Holding:
        """Pages for `needed_tokens` tokens, beginning with the longest cached prefix of `tokens`.

        What the tree lacks of it may come from the tiers below. The last token is never taken
        from the cache: computing it gives the first output.
        """
        node, pages = self.tree.match(namespace, self._matchable(tokens))
        self.tree.lock(node)
        self.pool.share(pages)
        holding = Holding(node, pages, priority)
        self._restore(holding, self._matchable(tokens))
        self.grow(holding, pages_for(needed_tokens, self.page_slots) - len(holding.pages))
        return holding

    def can_grow(self, count: int) -> bool:
        """Whether `grow` by this many pages would succeed."""
        return count <= self.available_pages

    def grow(self, holding: Holding, count: int) -> None:
        """Append fresh pages, evicting cached ones if it must; check `can_grow` first."""
        holding.pages += self._allocate(count)

    def fork(self, holding: Holding, tokens: int) -> Holding:
        """A second holding of the pages that hold the first `tokens` tokens.

        A partly filled tail page is shared until one of the two writes (`unshare_tail`).
        """
        pages = holding.pages[: pages_for(tokens, self.page_slots)]
        self.tree.lock(holding.node)
        self.pool.share(pages)
        twin = Holding(holding.node, pages, holding.priority)
        twin.cached_pages = holding.cached_pages
        if tokens % self.page_slots:
            holding.is_tail_shared = twin.is_tail_shared = True
        return twin

    def unshare_tail(self, holding: Holding, tokens: int) -> tuple[int, int] | None:
        """Make the page of slot `tokens` the holding's own: (from, to) to copy, or None.

        May take one page; check `can_grow(1)` first.
        """
        holding.is_tail_shared = False
        index = tokens // self.page_slots
        source = holding.pages[index]
        if self.pool.references(source) == 1:
            return None
        (target,) = self._allocate(1)
        self.pool.free((source,))
        holding.pages[index] = target
        return source, target

    def commit(self, holding: Holding, tokens: Sequence[int], computed: int) -> None:
        """Enter the full pages of the first `computed` tokens into the prefix tree.

        Pages whose tokens the tree already holds are exchanged for the tree's.
        """
        done, full = holding.cached_pages, computed // self.page_slots
        if full <= done:
            return
        own = holding.pages[done:full]
        run = tokens[done * self.page_slots : full * self.page_slots]
        holding.node, kept = self.tree.extend(holding.node, run, own)
        self.pool.share(kept)
        self.pool.free(own)
        holding.pages[done:full] = kept
        holding.cached_pages = full

    def close(self, holding: Holding) -> None:
        """Give all pages back; those in the prefix tree stay cached, as evictable."""
        self.tree.unlock(holding.node, priority=holding.priority)
        self.pool.free(holding.pages)
        holding.pages = []
        holding.cached_pages = 0

    def drop_cache(self) -> None:
        """Forget every cached prefix that no sequence uses, and all that lies in the tiers."""
        tiers, self.tiers = self.tiers, None
        self.tree.evict(self.tree.evictable_pages)
        self.tiers = tiers
        if tiers:
            tiers.clear()

    def runs(self) -> list[CachedRun]:
        """All that the tree holds, the most urgent and most recently used first.

        What continues a run comes after it.
        """
        nodes = sorted(self.tree.nodes(), key=lambda node: (node.priority, -node.used))
        return [CachedRun(self._keys.of(n), n.pages, n.priority) for n in nodes if n.parent]

    def check_integrity(self, holdings: Iterable[Holding]) -> None:
        """Assert that every page is accounted for: pool, tree and holdings agree."""
        holdings = list(holdings)
        self.tree.check_integrity()
        self.pool.check_integrity(
            [node.pages for node in self.tree.nodes()] + [holding.pages for holding in holdings]
        )
        locks = sum(node.locks for node in self.tree.nodes() if node.parent is None)
        assert locks == len(holdings), f"{locks} locks for {len(holdings)} holdings"
        for holding in holdings:
            assert holding.pages[: holding.cached_pages] == _path(holding.node)
        if self.tiers:
            self.tiers.check_integrity()

    def _matchable(self, tokens: Sequence[int]) -> Sequence[int]:
        return tokens[: len(tokens) - 1]

    def _restore(self, holding: Holding, tokens: Sequence[int]) -> None:
        """Fill pages of a fresh holding from the tiers, and enter them into the tree."""
        done, full = len(holding.pages), len(tokens) // self.page_slots
        if self.tiers is None or done == full:
            return
        keys = self._keys.below(holding.node, chunks_of(tokens, self.page_slots)[done:])
        found = self.tiers.find(keys, holding.priority)
        if found:
            holding.pages += self._allocate(found)
            read = self.tiers.restore(keys[:found], holding.pages[done:])
            self.commit(holding, tokens, (done + read) * self.page_slots)

    def _lower(self, node: RadixNode, start: int) -> None:
        """Let the tiers have a node's pages from the index on."""
        if self.tiers and len(node.pages) > start:
            keys = self._keys.of(node)[start:]
            self.tiers.lower(keys, node.pages[start:], node.priority)

    def _allocate(self, count: int) -> list[int]:
        missing = count - self.pool.free_pages
        if missing > 0:
            self.tree.evict(missing)
        return self.pool.allocate(count)


def _path(node: RadixNode) -> list[int]:
    """The pages from the root to the end of the node."""
    runs: list[list[int]] = []
    step: RadixNode | None = node
    while step is not None:
        runs.append(step.pages)
        step = step.parent
    return [page for run in reversed(runs) for page in run]
