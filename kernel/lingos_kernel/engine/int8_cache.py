"""Keys and values in eight bits: a scale for each token and head."""

from __future__ import annotations

import torch
from torch import Tensor

from lingos_kernel.engine.kv_cache import LayerShape, zeros
from lingos_kernel.memory.pages import PAGE_SLOTS

_STEPS = 127
_SCALE = torch.float32


class Int8LayerCache:
    """Keys and values of one layer by page, as levels and scales.

    A token is rounded once, when it is written, by its own numbers alone. So its slot holds the
    same whatever else the page holds, and a page may be shared, copied and spilled like any other.
    """

    __slots__ = ("_dtype", "_keys", "_values")

    def __init__(self, shape: LayerShape, pages: int, device: torch.device) -> None:
        self._dtype = shape.dtype
        self._keys = _Levels(pages, shape.kv_heads, shape.key_dim, device)
        self._values = _Levels(pages, shape.kv_heads, shape.value_dim, device)

    @staticmethod
    def slot_bytes(shape: LayerShape) -> int:
        """Bytes of one token's keys and values."""
        return shape.kv_heads * (shape.key_dim + shape.value_dim + 2 * _SCALE.itemsize)

    def write(self, slots: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store keys [T, kv_heads, key_dim] and values [T, kv_heads, value_dim] at slots [T].

        Returns them as they will be read, so that a token sees the same now and later.
        """
        return (
            self._keys.write(slots, keys).to(self._dtype),
            self._values.write(slots, values).to(self._dtype),
        )

    def gather(self, pages: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """As `LayerCache.gather`, in the dtype that the layer computes in."""
        return (
            self._keys.gather(pages, rows).to(self._dtype),
            self._values.gather(pages, rows).to(self._dtype),
        )

    def copy_page(self, source: int, target: int) -> None:
        """Copy a page within the cache (copy-on-write)."""
        for plane in self.planes:
            plane[target].copy_(plane[source])

    @property
    def planes(self) -> tuple[Tensor, ...]:
        """All that a page consists of, as raw bytes: uint8 [pages, bytes] each, shared memory."""
        return (*self._keys.planes, *self._values.planes)


class _Levels:
    """Vectors by page: `levels` int8 [pages, slots, heads, dim], `scales` [pages, slots, heads]."""

    __slots__ = ("_levels", "_pages", "_scales", "_shape")

    def __init__(self, pages: int, heads: int, dim: int, device: torch.device) -> None:
        self._pages = pages
        self._shape = (heads, dim)
        self._levels = zeros((pages, PAGE_SLOTS, heads, dim), torch.int8, device)
        self._scales = zeros((pages, PAGE_SLOTS, heads), _SCALE, device)

    def write(self, slots: Tensor, vectors: Tensor) -> Tensor:
        """Store vectors [T, heads, dim] at slots [T]; returns what was stored, widened."""
        wide = vectors.to(_SCALE)
        scales = wide.abs().amax(-1).div_(_STEPS).clamp_min_(torch.finfo(_SCALE).tiny)
        levels = (wide / scales[..., None]).round_()
        self._levels.view(-1, *self._shape).index_copy_(0, slots, levels.to(torch.int8))
        self._scales.view(-1, self._shape[0]).index_copy_(0, slots, scales)
        return levels.mul_(scales[..., None])

    def gather(self, pages: Tensor, rows: int) -> Tensor:
        """[rows, heads, P * slots, dim], widened."""
        levels = self._levels.view(self._pages, -1).index_select(0, pages)
        scales = self._scales.view(self._pages, -1).index_select(0, pages)
        wide = levels.view(rows, -1, *self._shape).to(_SCALE)
        wide *= scales.view(rows, -1, self._shape[0], 1)
        return wide.transpose(1, 2)

    @property
    def planes(self) -> tuple[Tensor, Tensor]:
        """Levels and scales as bytes."""
        return (
            self._levels.view(self._pages, -1).view(torch.uint8),
            self._scales.view(self._pages, -1).view(torch.uint8),
        )
