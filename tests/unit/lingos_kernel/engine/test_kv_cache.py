"""Pages as raw bytes: what goes out comes back, bit for bit, into any pages."""

from __future__ import annotations

import pytest
import torch

from lingos_kernel.engine.kv_cache import KvCache, LayerShape, page_bytes

PAGES = 9


def shapes(dtype: torch.dtype) -> list[LayerShape]:
    """Two layers of different shape."""
    return [
        LayerShape(0, 4, 2, 8, 8, dtype, 1.0),
        LayerShape(1, 4, 1, 4, 12, dtype, 1.0, window=8),
    ]


def filled(dtype: torch.dtype, seed: int) -> KvCache:
    """A cache with random contents."""
    cache = KvCache(shapes(dtype), PAGES, torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    for layer in cache.layers:
        for tensor in (layer.keys, layer.values):
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return cache


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pages_come_back_bit_for_bit(dtype: torch.dtype) -> None:
    """Pages read from one cache and written to other pages of another one are the same."""
    source, target = filled(dtype, 1), filled(dtype, 2)
    blob = source.read_pages([7, 0, 3])
    assert blob.shape == (3, source.page_bytes)
    assert blob.dtype == torch.uint8
    assert source.page_bytes == page_bytes(shapes(dtype))
    target.write_pages([1, 8, 4], blob)
    for layer, other in zip(source.layers, target.layers, strict=True):
        for ours, theirs in ((layer.keys, other.keys), (layer.values, other.values)):
            assert torch.equal(ours[[7, 0, 3]], theirs[[1, 8, 4]])
    assert torch.equal(target.read_pages([1, 8, 4]), blob)


def test_what_was_read_stays_as_it_was() -> None:
    """Writing to the pages later does not change the bytes read before, nor other pages."""
    cache = filled(torch.float32, 3)
    blob, others = cache.read_pages([2]), cache.read_pages([0, 1, 3])
    kept = blob.clone()
    cache.write_pages([2], torch.zeros_like(blob))
    assert torch.equal(blob, kept)
    assert not cache.read_pages([2]).any()
    assert torch.equal(cache.read_pages([0, 1, 3]), others)


def test_part_of_a_blob_can_be_written() -> None:
    """Rows of a larger tensor, and no rows at all, go in as well."""
    cache = filled(torch.float32, 4)
    blob = cache.read_pages([0, 1, 2, 3])
    cache.write_pages([5, 6], blob[1:3])
    assert torch.equal(cache.read_pages([5, 6]), blob[1:3])
    cache.write_pages([], blob[:0])
    assert cache.read_pages([]).shape == (0, cache.page_bytes)
