"""Keys and values in eight bits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.engine.int8_cache import Int8LayerCache
from lingos_kernel.engine.kv_cache import KvCache, LayerShape, page_bytes
from lingos_kernel.memory.pages import PAGE_SLOTS

CPU = torch.device("cpu")
PAGES = 6


def shape(dtype: torch.dtype = torch.float32) -> LayerShape:
    """Keys and values of different width."""
    return LayerShape(0, 4, 2, 8, 12, dtype, 1.0)


def filled(seed: int) -> KvCache:
    """Two layers with random contents."""
    cache = KvCache([shape(), shape()], PAGES, CPU, Int8LayerCache)
    generator = torch.Generator().manual_seed(seed)
    slots = torch.arange(PAGES * PAGE_SLOTS)
    for layer in cache.layers:
        layer.write(
            slots,
            torch.randn(len(slots), 2, 8, generator=generator),
            torch.randn(len(slots), 2, 12, generator=generator),
        )
    return cache


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_written_is_read_and_near(dtype: torch.dtype) -> None:
    """Both the answer to a write and a later gather give the same, near the original."""
    layer = Int8LayerCache(shape(dtype), PAGES, CPU)
    keys = (torch.randn(32, 2, 8) * torch.logspace(-4, 4, 32)[:, None, None]).to(dtype)
    values = torch.randn(32, 2, 12).to(dtype)
    seen = layer.write(torch.arange(32) + PAGE_SLOTS, keys, values)
    read = layer.gather(torch.tensor([1, 2]), 1)
    for wrote, now, later in zip((keys, values), seen, read, strict=True):
        assert now.dtype == later.dtype == dtype
        assert torch.equal(now, later[0].transpose(0, 1))
        step = wrote.float().abs().amax(-1, keepdim=True) / 100
        assert bool(((now - wrote).float().abs() <= step).all())


@given(order=st.permutations(range(8)), size=st.integers(1, 8))
def test_a_slot_holds_the_same_whatever_it_is_written_with(order: list[int], size: int) -> None:
    """Tokens in any order, in chunks of any length, leave the same bytes."""
    keys = torch.randn(8, 2, 8, generator=torch.Generator().manual_seed(1))
    values = torch.randn(8, 2, 12, generator=torch.Generator().manual_seed(2))
    at_once, piecewise = (KvCache([shape()], 1, CPU, Int8LayerCache) for _ in range(2))
    at_once.layers[0].write(torch.arange(8), keys, values)
    for at in range(0, 8, size):
        some = torch.tensor(order[at : at + size])
        piecewise.layers[0].write(some, keys[some], values[some])
    assert torch.equal(at_once.read_pages([0]), piecewise.read_pages([0]))


def test_pages_go_down_and_come_back_bit_for_bit() -> None:
    """Raw bytes of pages, written to other pages of another cache, are read the same."""
    source, target = filled(1), filled(2)
    blob = source.read_pages([4, 0])
    assert blob.shape == (2, source.page_bytes)
    assert source.page_bytes == page_bytes([shape(), shape()], Int8LayerCache)
    target.write_pages([1, 5], blob)
    for one, other in zip(source.layers, target.layers, strict=True):
        ours, theirs = one.gather(torch.tensor([4, 0]), 2), other.gather(torch.tensor([1, 5]), 2)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_copied_page_is_a_page_of_its_own() -> None:
    """Copy-on-write: levels and scales are copied, later writes stay apart."""
    cache = filled(3)
    cache.copy_pages([(2, 5)])
    before = cache.read_pages([2])
    assert torch.equal(cache.read_pages([5]), before)
    cache.layers[0].write(torch.tensor([5 * PAGE_SLOTS]), torch.ones(1, 2, 8), torch.ones(1, 2, 12))
    assert torch.equal(cache.read_pages([2]), before)
    assert not torch.equal(cache.read_pages([5]), before)


def test_an_unwritten_slot_is_a_finite_number() -> None:
    """Masked slots must not spoil sums."""
    layer = Int8LayerCache(shape(), PAGES, CPU)
    keys, values = layer.gather(torch.tensor([0, 3]), 1)
    assert not keys.any()
    assert not values.any()


def test_bytes_of_a_token() -> None:
    """A byte for each number and four for each scale."""
    assert Int8LayerCache.slot_bytes(shape()) == 2 * (8 + 12 + 8)
