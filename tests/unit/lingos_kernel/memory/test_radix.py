"""The prefix tree."""

from __future__ import annotations

from lingos_kernel.memory.pages import PagePool
from lingos_kernel.memory.radix import RadixNode, RadixTree


class Cache:
    """A tree of pages of two tokens, filled as sequences that end would fill it."""

    def __init__(self, pages: int = 32) -> None:
        self.pool = PagePool(pages)
        self.tree = RadixTree(self.pool, page_slots=2)

    def put(self, tokens: str, *, tenant: str = "", priority: int = 0) -> list[int]:
        """Cache the whole pages of a text, one letter a token; the pages that hold it now."""
        root = self.tree.root(tenant)
        self.tree.lock(root)
        pages = self.pool.allocate(len(tokens) // 2)
        end, kept = self.tree.extend(root, _ids(tokens), pages)
        self.pool.free(pages)
        self.tree.unlock(end, priority=priority)
        self.tree.check_integrity()
        return kept

    def get(self, tokens: str, *, tenant: str = "") -> list[int]:
        """The cached pages of a text's beginning."""
        peeked, _ = self.tree.peek(tenant, _ids(tokens))
        _, pages = self.tree.match(tenant, _ids(tokens))
        self.tree.check_integrity()
        assert peeked == len(pages)
        return pages

    def use(self, tokens: str) -> RadixNode:
        """Lock the cached beginning of a text."""
        node, _ = self.tree.match("", _ids(tokens))
        self.tree.lock(node)
        return node


def _ids(tokens: str) -> list[int]:
    return [ord(letter) for letter in tokens]


def test_finds_the_longest_beginning_in_whole_pages() -> None:
    """A match ends where texts part, rounded down to a page."""
    cache = Cache()
    pages = cache.put("abcdef")
    assert cache.get("abcdef") == pages
    assert cache.get("abcdXY") == pages[:2]
    assert cache.get("abcXYZ") == pages[:1]
    assert cache.get("aXYZ") == []


def test_texts_share_the_pages_of_their_common_beginning() -> None:
    """The second text adds only what differs, and its duplicates are free again."""
    cache = Cache()
    first = cache.put("abcdef")
    second = cache.put("abcdXYZW")
    assert second[:2] == first[:2]
    assert cache.tree.cached_pages == 5
    assert cache.pool.free_pages == 32 - 5


def test_tenants_do_not_see_each_other() -> None:
    """The same text under another namespace is not found."""
    cache = Cache()
    cache.put("abcd", tenant="red")
    assert cache.get("abcd", tenant="blue") == []
    assert len(cache.get("abcd", tenant="red")) == 2


def test_evicts_the_least_recently_used_first() -> None:
    """What was used again stays, what was not goes."""
    cache = Cache()
    cache.put("aabb")
    cache.put("ccdd")
    cache.tree.unlock(cache.use("aabb"))
    assert cache.tree.evict(2) == 2
    assert cache.get("ccdd") == []
    assert len(cache.get("aabb")) == 2


def test_evicts_less_urgent_work_before_recency_counts() -> None:
    """A batch job's pages go before those of an interactive session, though they are newer."""
    cache = Cache()
    cache.put("aabb", priority=0)
    cache.put("ccdd", priority=19)
    cache.tree.evict(1)
    assert len(cache.get("aabb")) == 2
    assert len(cache.get("ccdd")) == 1


def test_never_evicts_what_is_locked() -> None:
    """A running sequence's prefix stays, with everything above it."""
    cache = Cache()
    cache.put("aabbcc")
    node = cache.use("aabb")
    assert cache.tree.evictable_pages == 1
    assert cache.tree.evict(10) == 1
    assert len(cache.get("aabbcc")) == 2
    cache.tree.unlock(node)
    assert cache.tree.evict(10) == 2
    assert cache.pool.free_pages == 32


def test_eviction_takes_no_more_than_it_must() -> None:
    """A long run loses its end, not all of it."""
    cache = Cache()
    cache.put("aabbccdd")
    assert cache.tree.evict(1) == 1
    assert len(cache.get("aabbccdd")) == 3


def test_a_lock_survives_a_split_of_its_node() -> None:
    """A text that branches off in the middle of a locked run leaves both halves locked."""
    cache = Cache()
    cache.put("aabbcc")
    node = cache.use("aabbcc")
    cache.put("aaXX")
    assert cache.tree.evictable_pages == 1
    cache.tree.unlock(node)
    assert cache.tree.evictable_pages == 4


def test_the_eviction_heap_does_not_grow_with_use() -> None:
    """Using one prefix ten thousand times leaves a heap of the tree's own size."""
    cache = Cache()
    cache.put("aabb")
    for _ in range(10_000):
        cache.tree.unlock(cache.use("aabb"))
    assert len(cache.tree._heap) < 100
