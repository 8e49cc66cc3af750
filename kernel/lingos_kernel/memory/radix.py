"""The prefix tree: which runs of tokens already have their KV pages computed.

An edge is a run of whole pages; the children of a node differ in their first page of tokens.
Each namespace (a tenant) has a tree of its own, so nobody can probe what others have asked.
The tree holds one reference on each of its pages. A node that a sequence uses is locked, with
all nodes above it; only unlocked leaves are evicted, the least urgent and least recently used
first.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence

from lingos_kernel.memory.pages import PAGE_SLOTS, PagePool

Chunk = tuple[int, ...]
"""The tokens of one page."""


class RadixNode:
    """A run of pages below its parent; the root of a namespace has none."""

    __slots__ = (
        *("children", "chunks", "keys", "locks", "namespace", "pages", "parent", "priority"),
        *("stamp", "used"),
    )

    def __init__(self, parent: RadixNode | None, chunks: list[Chunk], pages: list[int]) -> None:
        self.parent = parent
        self.chunks = chunks
        self.pages = pages
        self.keys: list[bytes] = []
        """Those of the pages in the tiers below, once they are known (`memory.prefix_keys`)."""
        self.namespace = ""
        """Of a root."""
        self.children: dict[Chunk, RadixNode] = {}
        self.locks = 0
        self.priority = 0
        self.used = 0
        self.stamp = -1
        """Number of this node's valid entry in the eviction heap."""

    @property
    def is_evictable(self) -> bool:
        """An unlocked leaf that holds pages."""
        return not self.locks and not self.children and self.parent is not None


class RadixTree:
    """Prefix tree over the pages of one pool.

    Invariants: locks(parent) >= sum of locks(children); `cached_pages` counts every page of the
    tree, `evictable_pages` those of unlocked nodes (an unlocked node has no locked descendant,
    so all of them can be had by evicting leaves repeatedly).
    """

    def __init__(
        self,
        pool: PagePool,
        *,
        page_slots: int = PAGE_SLOTS,
        on_evict: Callable[[RadixNode, int], None] | None = None,
    ) -> None:
        """`on_evict` is told which node loses its pages, from which index on, before they go."""
        self._pool = pool
        self._page_slots = page_slots
        self._on_evict = on_evict
        self._roots: dict[str, RadixNode] = {}
        self._heap: list[tuple[int, int, int, RadixNode]] = []
        self._tick = 0
        self._nodes = 0
        self.cached_pages = 0
        self.evictable_pages = 0

    def root(self, namespace: str) -> RadixNode:
        """The root of a namespace, where a prefix of no pages ends."""
        if namespace not in self._roots:
            self._roots[namespace] = RadixNode(None, [], [])
            self._roots[namespace].namespace = namespace
        return self._roots[namespace]

    def peek(self, namespace: str, tokens: Sequence[int]) -> tuple[int, int]:
        """Pages that `match` would find, and how many of them are evictable; changes nothing."""
        matched = evictable = 0
        node = self._roots.get(namespace)
        chunks = self._chunks(tokens)
        while node is not None and matched < len(chunks):
            node = node.children.get(chunks[matched])
            if node is None:
                break
            common = _common_run(node.chunks, chunks, matched)
            matched += common
            evictable += 0 if node.locks else common
            if common < len(node.chunks):
                break
        return matched, evictable

    def match(self, namespace: str, tokens: Sequence[int]) -> tuple[RadixNode, list[int]]:
        """The longest cached prefix: the node where it ends (not locked yet) and its pages."""
        node, pages, chunks = self.root(namespace), list[int](), self._chunks(tokens)
        while len(pages) < len(chunks):
            child = node.children.get(chunks[len(pages)])
            if child is None:
                break
            common = _common_run(child.chunks, chunks, len(pages))
            node = child if common == len(child.chunks) else self._split(child, common)
            pages += node.pages
        return node, pages

    def lock(self, node: RadixNode) -> None:
        """Keep the path to the node from being evicted."""
        step: RadixNode | None = node
        while step is not None:
            if not step.locks:
                self.evictable_pages -= len(step.pages)
            step.locks += 1
            step = step.parent

    def unlock(self, node: RadixNode, *, priority: int = 0) -> None:
        """Undo one `lock`; the path counts as just used, by work of this priority."""
        self._tick += 1
        step: RadixNode | None = node
        while step is not None:
            assert step.locks > 0, "unlock without lock"
            step.locks -= 1
            step.used, step.priority = self._tick, priority
            if not step.locks:
                self.evictable_pages += len(step.pages)
                self._offer(step)
            step = step.parent

    def extend(
        self, node: RadixNode, tokens: Sequence[int], pages: Sequence[int]
    ) -> tuple[RadixNode, list[int]]:
        """Add a run of full pages below a locked node; moves the lock to the run's end.

        Where the tree already holds the same tokens, its own pages stay. Returns the end node and
        the tree's pages for the run, which the caller must use from here on; the references of
        the caller's own pages are unchanged.
        """
        assert node.locks > 0, "extend below an unlocked node"
        chunks = self._chunks(tokens)
        assert len(chunks) == len(pages), "a run has one page for each full chunk"
        end, kept = node, list[int]()
        while len(kept) < len(chunks):
            child = end.children.get(chunks[len(kept)])
            if child is None:
                end = self._add(end, chunks[len(kept) :], list(pages[len(kept) :]))
                kept += end.pages
                break
            common = _common_run(child.chunks, chunks, len(kept))
            end = child if common == len(child.chunks) else self._split(child, common)
            kept += end.pages
        if end is not node:
            self.lock(end)
            self.unlock(node, priority=node.priority)
        return end, kept

    def evict(self, count: int) -> int:
        """Drop evictable pages until `count` are gone; returns how many were."""
        evicted = 0
        while evicted < count and self._heap:
            _, _, stamp, leaf = heapq.heappop(self._heap)
            if leaf.stamp == stamp and leaf.is_evictable:
                evicted += self._trim(leaf, count - evicted)
        return evicted

    def nodes(self) -> Iterator[RadixNode]:
        """All nodes, roots included."""
        stack = list(self._roots.values())
        while stack:
            node = stack.pop()
            yield node
            stack.extend(node.children.values())

    def check_integrity(self) -> None:
        """Assert the invariants of the tree and its counters."""
        cached = evictable = nodes = 0
        for node in self.nodes():
            nodes += node.parent is not None
            assert len(node.chunks) == len(node.pages)
            assert node.pages or node.parent is None
            assert node.locks >= sum(child.locks for child in node.children.values())
            for first, child in node.children.items():
                assert child.parent is node
                assert child.chunks[0] == first
            cached += len(node.pages)
            evictable += 0 if node.locks else len(node.pages)
        assert nodes == self._nodes
        assert cached == self.cached_pages, f"{cached} pages cached, {self.cached_pages} counted"
        assert evictable == self.evictable_pages, f"{evictable} != {self.evictable_pages}"

    def _chunks(self, tokens: Sequence[int]) -> list[Chunk]:
        return chunks_of(tokens, self._page_slots)

    def _add(self, parent: RadixNode, chunks: list[Chunk], pages: list[int]) -> RadixNode:
        node = RadixNode(parent, chunks, pages)
        node.priority = parent.priority
        parent.children[chunks[0]] = node
        self._nodes += 1
        self._pool.share(pages)
        self.cached_pages += len(pages)
        self.evictable_pages += len(pages)  # until the caller locks it, at once
        return node

    def _split(self, node: RadixNode, at: int) -> RadixNode:
        """Cut a run in two; returns the new upper part. The lower part keeps its identity."""
        assert node.parent is not None
        upper = RadixNode(node.parent, node.chunks[:at], node.pages[:at])
        upper.locks, upper.priority, upper.used = node.locks, node.priority, node.used
        upper.keys, node.keys = node.keys[:at], node.keys[at:]
        node.parent.children[upper.chunks[0]] = upper
        self._nodes += 1
        node.chunks, node.pages, node.parent = node.chunks[at:], node.pages[at:], upper
        upper.children[node.chunks[0]] = node
        return upper

    def _offer(self, node: RadixNode) -> None:
        """Enter the node into the eviction heap if it may be evicted; older entries expire."""
        if node.is_evictable:
            self._tick += 1
            node.stamp = self._tick
            heapq.heappush(self._heap, (-node.priority, node.used, node.stamp, node))
            if len(self._heap) > 2 * self._nodes + 64:
                self._forget_expired()

    def _forget_expired(self) -> None:
        self._heap = [entry for entry in self._heap if entry[2] == entry[3].stamp]
        heapq.heapify(self._heap)

    def _trim(self, leaf: RadixNode, count: int) -> int:
        """Evict up to `count` pages from the end of a leaf."""
        keep = max(len(leaf.pages) - count, 0)
        if self._on_evict:
            self._on_evict(leaf, keep)
        gone = leaf.pages[keep:]
        leaf.chunks, leaf.pages = leaf.chunks[:keep] or leaf.chunks[:1], leaf.pages[:keep]
        leaf.keys = leaf.keys[:keep]
        self._pool.free(gone)
        self.cached_pages -= len(gone)
        self.evictable_pages -= len(gone)
        if keep:
            self._offer(leaf)
        else:
            self._remove(leaf)
        return len(gone)

    def _remove(self, leaf: RadixNode) -> None:
        assert leaf.parent is not None
        del leaf.parent.children[leaf.chunks[0]]
        self._nodes -= 1
        leaf.stamp = -1
        self._offer(leaf.parent)
        leaf.parent = None


def chunks_of(tokens: Sequence[int], size: int) -> list[Chunk]:
    """The tokens of each full page."""
    return [tuple(tokens[at : at + size]) for at in range(0, len(tokens) - size + 1, size)]


def _common_run(run: list[Chunk], chunks: list[Chunk], start: int) -> int:
    """How many chunks of the run equal the chunks from `start` on."""
    length = min(len(run), len(chunks) - start)
    for index in range(length):
        if run[index] != chunks[start + index]:
            return index
    return length
