"""The tensors behind the pages: keys and values of every layer."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lingos_kernel.memory.pages import PAGE_SLOTS


@dataclass(frozen=True, slots=True)
class LayerShape:
    """What one attention layer asks for; found by `engine.probe`."""

    index: int
    query_heads: int
    kv_heads: int
    key_dim: int
    value_dim: int
    dtype: torch.dtype
    scaling: float
    window: int | None = None
    """A query sees this many newest positions, itself included; None: all."""
    softcap: float | None = None
    has_sinks: bool = False


class LayerStore(Protocol):
    """How one layer keeps its keys and values, by page; one class for each format."""

    def __init__(self, shape: LayerShape, pages: int, device: torch.device) -> None: ...

    @staticmethod
    def slot_bytes(shape: LayerShape) -> int:
        """Bytes of one token's keys and values."""

    def write(self, slots: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store keys [T, kv_heads, key_dim] and values [T, kv_heads, value_dim] at slots [T].

        Returns them as they will be read, so that a token sees the same now and later.
        """

    def gather(self, pages: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """Keys and values of `rows` page lists of equal length, pages [rows * P] in one list.

        Returns [rows, kv_heads, P * slots, dim], which may share no memory with the cache.
        """

    def copy_page(self, source: int, target: int) -> None:
        """Copy a page within the cache (copy-on-write)."""

    @property
    def planes(self) -> tuple[Tensor, ...]:
        """All that a page consists of, as raw bytes: uint8 [pages, bytes] each, shared memory."""


class LayerCache:
    """Keys and values as the model computes them.

    `keys` is [pages, slots, kv_heads, key_dim], `values` [pages, slots, kv_heads, value_dim].
    """

    __slots__ = ("_key_pages", "_key_slots", "_value_pages", "_value_slots", "keys", "values")

    def __init__(self, shape: LayerShape, pages: int, device: torch.device) -> None:
        size = (pages, PAGE_SLOTS, shape.kv_heads)
        self.keys = zeros((*size, shape.key_dim), shape.dtype, device)
        self.values = zeros((*size, shape.value_dim), shape.dtype, device)
        self._key_pages = self.keys.view(pages, -1)
        self._value_pages = self.values.view(pages, -1)
        self._key_slots = self.keys.view(-1, shape.kv_heads, shape.key_dim)
        self._value_slots = self.values.view(-1, shape.kv_heads, shape.value_dim)

    @staticmethod
    def slot_bytes(shape: LayerShape) -> int:
        """Bytes of one token's keys and values."""
        return shape.kv_heads * (shape.key_dim + shape.value_dim) * shape.dtype.itemsize

    def write(self, slots: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store them; they are read as they are."""
        self._key_slots.index_copy_(0, slots, keys)
        self._value_slots.index_copy_(0, slots, values)
        return keys, values

    def gather(self, pages: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """As `LayerStore.gather`."""
        keys = self._key_pages.index_select(0, pages)
        values = self._value_pages.index_select(0, pages)
        return (
            keys.view(rows, -1, *self.keys.shape[2:]).transpose(1, 2),
            values.view(rows, -1, *self.values.shape[2:]).transpose(1, 2),
        )

    def copy_page(self, source: int, target: int) -> None:
        """As `LayerStore.copy_page`."""
        self._key_pages[target].copy_(self._key_pages[source])
        self._value_pages[target].copy_(self._value_pages[source])

    @property
    def planes(self) -> tuple[Tensor, ...]:
        """As `LayerStore.planes`."""
        return self._key_pages.view(torch.uint8), self._value_pages.view(torch.uint8)


class KvCache:
    """All layers of one model's KV cache."""

    def __init__(
        self,
        shapes: Sequence[LayerShape],
        pages: int,
        device: torch.device,
        store: type[LayerStore] = LayerCache,
    ) -> None:
        self.layers = [store(shape, pages, device) for shape in shapes]
        self._device = device
        self._planes = [plane for layer in self.layers for plane in layer.planes]

    @property
    def page_bytes(self) -> int:
        """Bytes of one page over all layers: the width of what `read_pages` gives."""
        return sum(plane.shape[1] for plane in self._planes)

    def copy_pages(self, copies: Iterable[tuple[int, int]]) -> None:
        """Copy pages (source, target) in every layer."""
        for source, target in copies:
            for layer in self.layers:
                layer.copy_page(source, target)

    def read_pages(self, pages: Sequence[int]) -> Tensor:
        """The raw bytes of pages over all layers: uint8 [len(pages), page_bytes] in host memory.

        Whatever is written to the pages from now on does not show in them. On a GPU they are
        gathered there, cross the bus in one copy, and lie in pinned memory.
        """
        index = torch.tensor(pages, dtype=torch.long, device=self._device)
        blob = torch.cat([plane.index_select(0, index) for plane in self._planes], dim=1)
        if blob.device.type != "cuda":
            return blob
        host = torch.empty(blob.shape, dtype=torch.uint8, pin_memory=True)
        return host.copy_(blob)

    def write_pages(self, pages: Sequence[int], blob: Tensor) -> None:
        """Put back what `read_pages` gave, uint8 [len(pages), page_bytes], into any pages.

        `blob` may be used otherwise as soon as this returns.
        """
        index = torch.tensor(pages, dtype=torch.long, device=self._device)
        widths = [plane.shape[1] for plane in self._planes]
        parts = torch.split(blob.to(self._device), widths, dim=1)
        for plane, part in zip(self._planes, parts, strict=True):
            plane.index_copy_(0, index, part)


def zeros(size: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros, because a masked slot must still be a finite number.

    On a CPU the operating system hands the memory out when it is first written, so that the
    unused part of a pool costs nothing; torch.zeros would write it all.
    """
    if device.type != "cpu":
        return torch.zeros(size, dtype=dtype, device=device)
    memory = mmap.mmap(-1, math.prod(size) * dtype.itemsize)
    return torch.frombuffer(memory, dtype=dtype).view(size)


def page_bytes(shapes: Sequence[LayerShape], store: type[LayerStore] = LayerCache) -> int:
    """Bytes of one page over all layers."""
    return PAGE_SLOTS * sum(store.slot_bytes(shape) for shape in shapes)
