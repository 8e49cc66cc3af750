"""Where the queries of a batch find their keys, cut into segments that begin at fixed positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lingos_kernel.engine.batch import Chunk, PackedBatch, Part
from lingos_kernel.engine.step_index import group_by_length, shared_pages, visible_pages
from lingos_kernel.memory.pages import PAGE_SLOTS

SEGMENT_PAGES = 8
SEGMENT_SLOTS = SEGMENT_PAGES * PAGE_SLOTS
"""A sum over so many keys is one run of additions; from about 200 on, libraries split it in two."""
QUERY_ROWS = 4
"""Products of fewer rows than this are summed in another order; numbers of rows are multiples."""


@dataclass(frozen=True, slots=True)
class SegmentGroup:
    """Consecutive rows of one token each whose histories are of similar length."""

    first: int
    rows: int
    prefix: Tensor | None
    """[K]: pages that all rows begin with, in whole segments; None: they share none."""
    pages: Tensor
    """[rows * P]: P pages for each row after those; short rows are filled up with their last."""
    segments: int
    """How many segments P pages are."""
    mask: Tensor | None
    """float [rows * segments, 1, 1, slots], added to the scores; None: all is visible."""
    unseen: Tensor | None
    """float [segments, rows, 1, 1], -inf where a row sees nothing of a segment; None: nowhere."""


@dataclass(frozen=True, slots=True)
class SpanSegment:
    """One segment as the queries of a run see it."""

    first: int
    """The first slot, counted from the run's first page."""
    slots: int
    begin: int
    """Queries before this one see nothing of it."""
    end: int
    """Queries from this one on see nothing of it."""
    mask: Tensor | None
    """bool [end - begin, slots], True where visible; None: all is."""


@dataclass(frozen=True, slots=True)
class SegmentSpan:
    """A run of tokens of one sequence."""

    offset: int
    length: int
    pages: Tensor
    segments: tuple[SpanSegment, ...]


@dataclass(frozen=True, slots=True)
class SegmentIndex:
    """Pages and masks of a batch for layers of one window."""

    groups: tuple[SegmentGroup, ...]
    spans: tuple[SegmentSpan, ...]

    @classmethod
    def of(cls, batch: PackedBatch, window: int | None) -> SegmentIndex:
        """Index a batch; `window` None sees everything."""
        tables = [visible_pages(part, window, SEGMENT_PAGES) for part in batch.singles]
        starts = [pages[0] for _, pages in tables]
        bounds = group_by_length([len(pages) for _, pages in tables], starts)
        return cls(
            tuple(_group(batch.singles[a:b], tables[a:b], a, window) for a, b in bounds),
            tuple(_span(chunk, window) for chunk in batch.chunks),
        )


def _group(
    parts: Sequence[Part], tables: Sequence[tuple[int, list[int]]], first: int, window: int | None
) -> SegmentGroup:
    common = shared_pages(parts) if window is None and len(parts) > 1 else 0
    common -= common % SEGMENT_PAGES
    width = max(len(pages) for _, pages in tables) - common
    if width > SEGMENT_PAGES:
        width += -width % SEGMENT_PAGES
    segments = -(-width // SEGMENT_PAGES)
    flat: list[int] = []
    for _, pages in tables:
        own = pages[common:]
        # Filled up with a page of its own: whatever is there never meets another sequence.
        flat += own + own[-1:] * (width - len(own))
    bases = [(begin + common) * PAGE_SLOTS for begin, _ in tables]
    newest = [part.start - base for part, base in zip(parts, bases, strict=True)]
    oldest = [0] * len(parts)
    if window is not None:
        oldest = [max(last + 1 - window, 0) for last in newest]
    visible = _visible(oldest, newest, width * PAGE_SLOTS).view(len(parts), segments, -1)
    is_whole = bool(visible.all())
    seen = visible.any(-1)
    return SegmentGroup(
        first=first,
        rows=len(parts),
        prefix=torch.tensor(parts[0].pages[:common]) if common else None,
        pages=torch.tensor(flat),
        segments=segments,
        mask=None if is_whole else _additive(visible).view(len(parts) * segments, 1, 1, -1),
        unseen=None if bool(seen.all()) else _additive(seen.T[:, :, None, None]),
    )


def _visible(oldest: list[int], newest: list[int], slots: int) -> Tensor:
    """bool [rows, slots]: from the oldest to the newest slot of each row."""
    bounds = torch.tensor([oldest, newest])[:, :, None]
    positions = torch.arange(slots)
    return (positions >= bounds[0]) & (positions <= bounds[1])


def _additive(visible: Tensor) -> Tensor:
    """0 where True, -inf where False."""
    return torch.zeros(visible.shape).masked_fill_(~visible, -torch.inf)


def _span(chunk: Chunk, window: int | None) -> SegmentSpan:
    part, length = chunk.part, len(chunk.part.token_ids)
    first, pages = visible_pages(part, window, SEGMENT_PAGES)
    start = part.start - first * PAGE_SLOTS
    slots = len(pages) * PAGE_SLOTS
    segments = [
        _segment(begin, min(SEGMENT_SLOTS, slots - begin), start, length, window)
        for begin in range(0, slots, SEGMENT_SLOTS)
    ]
    return SegmentSpan(chunk.offset, length, torch.tensor(pages), tuple(segments))


def _segment(first: int, slots: int, start: int, length: int, window: int | None) -> SpanSegment:
    """What `length` queries from slot `start` on see of the slots from `first` on."""
    begin = max(first - start, 0)
    end = length if window is None else min(first + slots - 1 + window - start, length)
    positions = range(start + begin, start + end)
    is_whole = positions[0] >= first + slots - 1
    if window is not None:
        is_whole = is_whole and positions[-1] - window < first
    mask = None
    if not is_whole:
        newest = [position - first for position in positions]
        oldest = [0 if window is None else max(last + 1 - window, 0) for last in newest]
        mask = _visible(oldest, newest, slots)
    return SpanSegment(first, slots, begin, end, mask)
