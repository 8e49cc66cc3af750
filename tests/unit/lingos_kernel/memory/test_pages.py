"""The page pool."""

from __future__ import annotations

import pytest

from lingos_kernel.memory.pages import PagePool, pages_for


@pytest.mark.parametrize(("tokens", "pages"), [(0, 0), (1, 1), (16, 1), (17, 2), (8192, 512)])
def test_pages_for(tokens: int, pages: int) -> None:
    """A started page counts as a whole one."""
    assert pages_for(tokens) == pages


def test_a_page_is_free_when_its_last_holder_lets_go() -> None:
    """Sharing adds a reference, freeing drops one; the page returns at zero."""
    pool = PagePool(4)
    pages = pool.allocate(3)
    pool.share(pages[:1])
    pool.free(pages)
    assert pool.free_pages == 3
    assert pool.references(pages[0]) == 1
    pool.check_integrity([pages[:1]])
    pool.free(pages[:1])
    assert pool.free_pages == 4


def test_allocate_is_paired_with_can_allocate() -> None:
    """What can be allocated is allocated; what cannot is a broken promise of the caller."""
    pool = PagePool(2)
    assert pool.can_allocate(2)
    assert not pool.can_allocate(3)
    with pytest.raises(AssertionError):
        pool.allocate(3)


def test_freeing_or_sharing_a_free_page_is_noticed() -> None:
    """A page that nobody holds can be neither freed nor shared."""
    pool = PagePool(1)
    with pytest.raises(AssertionError):
        pool.free([0])
    with pytest.raises(AssertionError):
        pool.share([0])


def test_integrity_notices_a_lost_page() -> None:
    """A page that is held by nobody who is known is a leak."""
    pool = PagePool(2)
    pool.allocate(1)
    with pytest.raises(AssertionError):
        pool.check_integrity([])
