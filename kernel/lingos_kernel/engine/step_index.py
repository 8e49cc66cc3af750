"""Where the queries of a batch find their keys: pages and masks, built once for all layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from lingos_kernel.engine.batch import Chunk, PackedBatch, Part
from lingos_kernel.memory.pages import PAGE_SLOTS

T = TypeVar("T")
SHARED_PAGES = 8
"""Rows that have fewer pages in common read them each for themselves."""


@dataclass(frozen=True, slots=True)
class DecodeGroup:
    """Consecutive rows of one token each whose histories are of similar length."""

    first: int
    rows: int
    prefix: Tensor | None
    """[K]: pages that all rows begin with, all of which they see; None: they share none."""
    pages: Tensor
    """[rows * P]: P pages for each row, short rows filled up with their own last page."""
    mask: Tensor | None
    """[rows, 1, 1, P * slots], True where visible; None: all is."""


@dataclass(frozen=True, slots=True)
class ChunkSpan:
    """A run of tokens of one sequence."""

    offset: int
    length: int
    pages: Tensor | None
    """None: no key lies before this run."""
    mask: Tensor | None
    """[1, 1, length, L], True where visible; None: causal within the run."""


@dataclass(frozen=True, slots=True)
class StepIndex:
    """Pages and masks of a batch for layers of one window."""

    groups: tuple[DecodeGroup, ...]
    spans: tuple[ChunkSpan, ...]

    @classmethod
    def of(cls, batch: PackedBatch, window: int | None) -> StepIndex:
        """Index a batch; `window` None sees everything."""
        device = batch.slots.device
        tables = [visible_pages(part, window) for part in batch.singles]
        starts = [pages[0] for _, pages in tables]
        bounds = group_by_length([len(pages) for _, pages in tables], starts)
        groups = [
            _group(batch.singles, tables, first, end, window, device) for first, end in bounds
        ]
        spans = [_span(chunk, window, device) for chunk in batch.chunks]
        return cls(tuple(groups), tuple(spans))


def group_by_length(lengths: list[int], starts: list[int] | None = None) -> list[tuple[int, int]]:
    """Cut rows into runs (first, end) so that padding to a run's longest wastes at most half.

    Rows that begin with the same page stay apart from the others, so that they can share it.
    Cuts are only as good as the order: that of `in_order`.
    """
    families = _families(starts or [])
    bounds: list[tuple[int, int]] = []
    first, shortest, longest = 0, 0, 0
    for row, length in enumerate(lengths):
        low, high = min(shortest or length, length), max(longest, length)
        is_cut = bool(families) and families[row] != families[first]
        if row > first and (is_cut or high > 2 * low + 4):
            bounds.append((first, row))
            first, low, high = row, length, length
        shortest, longest = low, high
    if lengths:
        bounds.append((first, len(lengths)))
    return bounds


def in_order(parts: Sequence[tuple[T, Part]]) -> list[tuple[T, Part]]:
    """Parts of one token first: those that begin alike together, then by length; chunks last."""
    singles = [item for item in parts if len(item[1].token_ids) == 1]
    families = _families([part.pages[0] for _, part in singles])
    order = sorted(range(len(singles)), key=lambda row: (families[row], singles[row][1].end))
    return [singles[row] for row in order] + [p for p in parts if len(p[1].token_ids) > 1]


def _families(starts: list[int]) -> list[int]:
    """For each row its first page, when others begin with it too; else -1."""
    counts = Counter(starts)
    return [start if counts[start] > 1 else -1 for start in starts]


def causal_mask(
    length: int, window: int | None, device: torch.device, *, always: bool = False
) -> Tensor | None:
    """[1, 1, length, length], True where visible; None when plain causality says it all."""
    if not always and (window is None or window >= length):
        return None
    return _mask(range(length), 0, length, window, device)


def visible_pages(part: Part, window: int | None, align: int = 1) -> tuple[int, list[int]]:
    """Number of the first page that the part's first query sees, and the pages from there on.

    The number is rounded down to a multiple of `align`.
    """
    oldest = 0 if window is None else max(part.start + 1 - window, 0)
    first = oldest // PAGE_SLOTS // align * align
    return first, list(part.pages[first : (part.end - 1) // PAGE_SLOTS + 1])


def _group(
    parts: tuple[Part, ...],
    tables: list[tuple[int, list[int]]],
    first: int,
    end: int,
    window: int | None,
    device: torch.device,
) -> DecodeGroup:
    shared = shared_pages(parts[first:end]) if window is None and end - first > 1 else 0
    prefix = list(parts[first].pages[:shared])
    width = max(len(pages) for _, pages in tables[first:end]) - shared
    flat: list[int] = []
    oldest: list[int] = []
    newest: list[int] = []
    for part, (begin, seen) in zip(parts[first:end], tables[first:end], strict=True):
        start, pages = begin + shared, seen[shared:]
        # Filled up with a page of its own: whatever is there never meets another sequence.
        flat += pages + pages[-1:] * (width - len(pages))
        base = start * PAGE_SLOTS
        newest.append(part.start - base)
        oldest.append(0 if window is None else max(part.start + 1 - window - base, 0))
    return DecodeGroup(
        first=first,
        rows=end - first,
        prefix=torch.tensor(prefix, dtype=torch.int64).to(device) if prefix else None,
        pages=torch.tensor(flat, dtype=torch.int64).to(device),
        mask=_row_mask(oldest, newest, width * PAGE_SLOTS, device),
    )


def shared_pages(parts: Sequence[Part]) -> int:
    """How many pages all rows begin with, if they are enough; none of them is written to."""
    most = min(part.start for part in parts) // PAGE_SLOTS
    leader, shared = parts[0].pages, most
    for part in parts[1:]:
        pages = part.pages
        shared = next((i for i in range(shared) if pages[i] != leader[i]), shared)
    return shared if shared >= SHARED_PAGES else 0


def _row_mask(
    oldest: list[int], newest: list[int], length: int, device: torch.device
) -> Tensor | None:
    if min(newest) == length - 1 and max(oldest) == 0:
        return None
    bounds = torch.tensor([oldest, newest], dtype=torch.int64).to(device)
    slots = torch.arange(length, device=device)
    visible = (slots <= bounds[1][:, None]) & (slots >= bounds[0][:, None])
    return visible[:, None, None, :]


def _span(chunk: Chunk, window: int | None, device: torch.device) -> ChunkSpan:
    part, length = chunk.part, len(chunk.part.token_ids)
    if part.start == 0:
        mask = causal_mask(length, window, device)
        return ChunkSpan(chunk.offset, length, None, mask)
    first, pages = visible_pages(part, window)
    mask = _mask(
        range(part.start, part.end), first * PAGE_SLOTS, len(pages) * PAGE_SLOTS, window, device
    )
    return ChunkSpan(chunk.offset, length, torch.tensor(pages, dtype=torch.int64).to(device), mask)


def _mask(
    queries: range, base: int, length: int, window: int | None, device: torch.device
) -> Tensor:
    """Visibility of `length` slots from position `base` on, for queries at these positions."""
    slots = torch.arange(base, base + length, device=device)
    positions = torch.arange(queries.start, queries.stop, device=device)[:, None]
    visible = slots <= positions
    if window is not None:
        visible &= slots > positions - window
    return visible[None, None]
